// SPDX-License-Identifier: Apache-2.0
// RedisCluster: which node has which slot, connections to the nodes, and redirections. A single server is a
// cluster of one node that has every slot.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "control/repository/redis_connection.h"

namespace keyrail {

/// A command about one key, which is its second word.
struct RedisQuestion {
    RedisCommand command;
    RedisReply reply;
};

/// Who has which keys: first slot -> last slot, node.
using RedisSlots = std::map<uint16_t, std::pair<uint16_t, HostPort>>;

/// What `asked` says to CLUSTER SLOTS; nullopt: it makes no sense.
std::optional<RedisSlots> slots_in(const redisReply& reply, const HostPort& asked);

class RedisCluster {
  public:
    RedisCluster(std::vector<HostPort> nodes, RedisAccess access)
        : known_(std::move(nodes)), access_(std::move(access)) {}

    /// Asks the nodes that have the keys, all that one node has at once, and follows where a cluster sends us
    /// (MOVED, ASK). A question that Redis refuses has the refusal as its reply.
    Result<void> ask(std::span<RedisQuestion> questions);
    /// Every node that has slots.
    Result<std::set<HostPort>> nodes();
    /// Asks this one.
    Result<std::vector<RedisReply>> run(const HostPort& node, std::span<const RedisCommand> commands);

  private:
    Result<void> learn();
    Result<void> learn_from(const HostPort& node);
    [[nodiscard]] const HostPort* node_of(uint16_t slot) const;
    Result<void> redirect(RedisQuestion& question, bool& moved);

    std::vector<HostPort> known_;  // as configured
    RedisAccess access_;
    RedisSlots slots_;  // empty: to be learned
    std::map<HostPort, std::unique_ptr<RedisConnection>> connections_;
};

/// "MOVED 3999 127.0.0.1:6381" or "ASK …": where to; nullopt for any other reply.
struct RedisRedirection {
    bool ask = false;
    HostPort to;
};
std::optional<RedisRedirection> redirection_in(const redisReply& reply);

}  // namespace keyrail
