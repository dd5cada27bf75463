// SPDX-License-Identifier: Apache-2.0
#include "control/repository/redis_repository.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "control/protocol/file.h"
#include "control/protocol/tls_context.h"
#include "control/repository/redis_cluster.h"
#include "dataplane/common/hex.h"

namespace keyrail {

namespace {

constexpr size_t kMaxPassword = 512;

class RedisRepository final : public Repository {
  public:
    RedisRepository(const RedisOptions& options, RedisAccess access)
        : prefix_("keyrail:" + options.chassis + ":"), cluster_(options.nodes, std::move(access)) {}

    Result<void> apply(std::span<const RepositoryChange> changes) override;
    Result<std::optional<std::string>> take(const SessionName& name, uint64_t now_ms) override;
    Result<void> sweep(uint64_t now_ms) override;
    Result<void> clear() override;
    Result<void> remove_if(const Which& which) override;

  private:
    [[nodiscard]] std::string key(const SessionName& name) const {
        return prefix_ + to_hex({reinterpret_cast<const char*>(name.data()), name.size()});
    }
    Result<void> clear_node(const HostPort& node, const Which& which);
    Result<void> choose(const HostPort& node, const Which& which, std::vector<std::string>& keys);

    const std::string prefix_;
    RedisCluster cluster_;
};

Result<void> RedisRepository::apply(std::span<const RepositoryChange> changes) {
    std::vector<RedisQuestion> questions;
    for (const RepositoryChange& change : changes) {
        if (change.sealed.empty())
            questions.push_back({{"UNLINK", key(change.name)}, nullptr});
        else
            questions.push_back(
                {{"SET", key(change.name), change.sealed, "PXAT", std::to_string(change.expires_ms)},
                 nullptr});
    }
    if (auto asked = cluster_.ask(questions); !asked) return asked;
    for (const RedisQuestion& question : questions)
        if (is_error(*question.reply)) return fail("redis: {}", text_of(*question.reply));
    return {};
}

Result<std::optional<std::string>> RedisRepository::take(const SessionName& name, uint64_t) {
    RedisQuestion question{{"GETDEL", key(name)}, nullptr};
    if (auto asked = cluster_.ask({&question, 1}); !asked) return tl::make_unexpected(asked.error());
    if (question.reply->type == REDIS_REPLY_NIL) return std::nullopt;
    if (question.reply->type != REDIS_REPLY_STRING)
        return fail("redis: {}",
                    is_error(*question.reply) ? text_of(*question.reply) : "GETDEL got no string");
    return std::string(text_of(*question.reply));
}

/// Redis expires them by itself; does it answer?
Result<void> RedisRepository::sweep(uint64_t) {
    const auto nodes = cluster_.nodes();
    if (!nodes) return tl::make_unexpected(nodes.error());
    const RedisCommand ping{"PING"};
    for (const HostPort& node : *nodes) {
        const auto pong = cluster_.run(node, {&ping, 1});
        if (!pong) return tl::make_unexpected(pong.error());
        if (is_error(*pong->front())) return fail("redis {}: {}", node.text(), text_of(*pong->front()));
    }
    return {};
}

/// Leaves those keys whose values are meant.
Result<void> RedisRepository::choose(const HostPort& node, const Which& which,
                                     std::vector<std::string>& keys) {
    std::vector<RedisCommand> questions;
    for (const std::string& key : keys) questions.push_back({"GET", key});
    const auto values = cluster_.run(node, questions);
    if (!values) return tl::make_unexpected(values.error());
    std::vector<std::string> chosen;
    for (size_t i = 0; i < keys.size() && i < values->size(); i++) {
        const redisReply& value = *(*values)[i];
        if (is_error(value)) return fail("redis {}: {}", node.text(), text_of(value));
        if (value.type == REDIS_REPLY_STRING && which(text_of(value))) chosen.push_back(keys[i]);
    }
    keys = std::move(chosen);
    return {};
}

Result<void> RedisRepository::clear_node(const HostPort& node, const Which& which) {
    std::string cursor = "0";
    do {
        const RedisCommand scan{"SCAN", cursor, "MATCH", prefix_ + "*", "COUNT", "1000"};
        const auto scanned = cluster_.run(node, {&scan, 1});
        if (!scanned) return tl::make_unexpected(scanned.error());
        const redisReply& reply = *scanned->front();
        if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 2 ||
            reply.element[0]->type != REDIS_REPLY_STRING || reply.element[1]->type != REDIS_REPLY_ARRAY)
            return fail("redis {}: {}", node.text(),
                        is_error(reply) ? text_of(reply) : "SCAN makes no sense");
        cursor = text_of(*reply.element[0]);
        std::vector<std::string> keys;
        for (size_t i = 0; i < reply.element[1]->elements; i++)
            keys.emplace_back(text_of(*reply.element[1]->element[i]));
        if (which && !keys.empty())
            if (auto chosen = choose(node, which, keys); !chosen) return chosen;
        std::vector<RedisCommand> removals;
        for (std::string& key : keys) removals.push_back({"UNLINK", std::move(key)});
        if (removals.empty()) continue;
        if (auto removed = cluster_.run(node, removals); !removed)
            return tl::make_unexpected(removed.error());
    } while (cursor != "0");
    return {};
}

Result<void> RedisRepository::clear() { return remove_if(nullptr); }

Result<void> RedisRepository::remove_if(const Which& which) {
    const auto nodes = cluster_.nodes();
    if (!nodes) return tl::make_unexpected(nodes.error());
    for (const HostPort& node : *nodes)
        if (auto cleared = clear_node(node, which); !cleared) return cleared;
    return {};
}

Result<std::shared_ptr<SSL_CTX>> tls_of(const RedisOptions& options) {
    if (options.ca.empty()) return std::shared_ptr<SSL_CTX>();
    std::shared_ptr<SSL_CTX> tls(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_min_proto_version(tls.get(), TLS1_2_VERSION);
    SSL_CTX_set_mode(tls.get(), SSL_MODE_AUTO_RETRY);
    if (SSL_CTX_load_verify_locations(tls.get(), options.ca.c_str(), nullptr) != 1)
        return fail("[redis] ca {}: {}", options.ca.string(), openssl_reason());
    if (options.certificate.empty()) return tls;
    if (SSL_CTX_use_certificate_chain_file(tls.get(), options.certificate.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls.get(), options.key.c_str(), SSL_FILETYPE_PEM) != 1)
        return fail("[redis] certificate {} and key {}: {}", options.certificate.string(),
                    options.key.string(), openssl_reason());
    return tls;
}

}  // namespace

uint16_t redis_slot(std::string_view key) {
    uint16_t crc = 0;
    for (const char byte : key) {
        crc = static_cast<uint16_t>(crc ^ static_cast<uint8_t>(byte) << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = static_cast<uint16_t>(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc % 16384;
}

Result<std::unique_ptr<Repository>> open_redis_repository(const RedisOptions& options) {
    RedisAccess access{nullptr, options.user, ""};
    auto tls = tls_of(options);
    if (!tls) return tl::make_unexpected(tls.error());
    access.tls = *tls;
    if (!options.password_file.empty()) {
        auto password = read_file(options.password_file, kMaxPassword);
        if (!password) return tl::make_unexpected(password.error());
        access.password = password->substr(0, password->find('\n'));
        OPENSSL_cleanse(password->data(), password->size());
        if (access.password.empty()) return fail("{}: no password in it", options.password_file.string());
    }
    return std::make_unique<RedisRepository>(options, std::move(access));
}

}  // namespace keyrail
