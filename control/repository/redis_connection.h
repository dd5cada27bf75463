// SPDX-License-Identifier: Apache-2.0
// One connection to one Redis server: hiredis speaks the protocol (RESP), OpenSSL's BIOs carry it, in TLS or
// in the clear. (Debian's hiredis, 0.14, has no TLS of its own.) Calls block, at most kRedisTimeout.
#pragma once

#include <hiredis/hiredis.h>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/protocol/openssl_ptr.h"
#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

inline constexpr std::chrono::milliseconds kRedisTimeout{500};

struct RedisAccess {
    std::shared_ptr<SSL_CTX> tls;  // nullptr: in the clear
    std::string user, password;    // empty: none is asked for
};

using RedisCommand = std::vector<std::string>;
struct FreeReply {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeReply>;

std::string_view text_of(const redisReply& reply);
bool is_error(const redisReply& reply, std::string_view prefix = "");

class RedisConnection {
  public:
    /// Connected, and let in with the password when there is one.
    static Result<std::unique_ptr<RedisConnection>> open(const HostPort& to, const RedisAccess& access);

    /// Sends all commands at once, then reads a reply to each. An error ends the connection: close it. A
    /// refusal by Redis is a reply.
    Result<std::vector<RedisReply>> run(std::span<const RedisCommand> commands);

  private:
    struct FreeReader {
        void operator()(redisReader* reader) const { redisReaderFree(reader); }
    };
    explicit RedisConnection(std::string to) : to_(std::move(to)), reader_(redisReaderCreate()) {}
    Result<void> connect(const HostPort& to, const RedisAccess& access);
    Result<void> handshake(const HostPort& to, SSL_CTX* tls);
    Result<void> authenticate(const RedisAccess& access);
    Result<RedisReply> read_reply();

    std::string to_;  // for messages
    BioPtr stream_;
    std::unique_ptr<redisReader, FreeReader> reader_;
};

}  // namespace keyrail
