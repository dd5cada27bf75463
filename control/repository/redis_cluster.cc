// SPDX-License-Identifier: Apache-2.0
#include "control/repository/redis_cluster.h"

#include <charconv>

#include "control/repository/redis_repository.h"

namespace keyrail {

namespace {

constexpr uint16_t kSlots = 16384;
constexpr int kMaxRedirections = 5;

/// One entry of CLUSTER SLOTS: first, last, [address, port, …] of the master, … of replicas. An empty
/// address is that of the node that was asked.
bool read_range(const redisReply& entry, const HostPort& asked, std::pair<uint16_t, uint16_t>& range,
                HostPort& node) {
    if (entry.type != REDIS_REPLY_ARRAY || entry.elements < 3) return false;
    const redisReply &first = *entry.element[0], &last = *entry.element[1], &master = *entry.element[2];
    if (first.type != REDIS_REPLY_INTEGER || last.type != REDIS_REPLY_INTEGER || first.integer < 0 ||
        first.integer > last.integer || last.integer >= kSlots || master.type != REDIS_REPLY_ARRAY ||
        master.elements < 2)
        return false;
    const redisReply &address = *master.element[0], &port = *master.element[1];
    if (port.type != REDIS_REPLY_INTEGER || port.integer < 1 || port.integer > UINT16_MAX) return false;
    node = {asked.address, static_cast<uint16_t>(port.integer)};
    if (address.type == REDIS_REPLY_STRING && !text_of(address).empty()) {
        const auto parsed = parse_ip(std::string(text_of(address)));
        if (!parsed) return false;
        node.address = *parsed;
    }
    range = {static_cast<uint16_t>(first.integer), static_cast<uint16_t>(last.integer)};
    return true;
}

}  // namespace

std::optional<RedisSlots> slots_in(const redisReply& reply, const HostPort& asked) {
    // "ERR This instance has cluster support disabled", or no right to ask.
    if (is_error(reply)) return RedisSlots{{uint16_t{0}, {uint16_t{kSlots - 1}, asked}}};
    if (reply.type != REDIS_REPLY_ARRAY || reply.elements == 0) return std::nullopt;
    RedisSlots slots;
    for (size_t i = 0; i < reply.elements; i++) {
        std::pair<uint16_t, uint16_t> range;
        HostPort master;
        if (!read_range(*reply.element[i], asked, range, master)) return std::nullopt;
        slots.insert_or_assign(range.first, std::pair(range.second, master));
    }
    return slots;
}

std::optional<RedisRedirection> redirection_in(const redisReply& reply) {
    const bool ask = is_error(reply, "ASK ");
    if (!ask && !is_error(reply, "MOVED ")) return std::nullopt;
    const std::string_view text = text_of(reply);
    const std::string_view node = text.substr(text.rfind(' ') + 1);
    const size_t colon = node.rfind(':');  // IPv6 addresses stand without brackets
    if (colon == std::string_view::npos) return std::nullopt;
    const auto address = parse_ip(node.substr(0, colon));
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(node.data() + colon + 1, node.data() + node.size(), port);
    if (!address || error != std::errc{} || end != node.data() + node.size()) return std::nullopt;
    return RedisRedirection{ask, {*address, port}};
}

Result<std::vector<RedisReply>> RedisCluster::run(const HostPort& node,
                                                  std::span<const RedisCommand> commands) {
    auto& connection = connections_[node];
    const bool kept = connection != nullptr;
    for (bool again = kept;; again = false) {
        if (!connection) {
            auto opened = RedisConnection::open(node, access_);
            if (!opened) return tl::make_unexpected(opened.error());
            connection = std::move(*opened);
        }
        auto replies = connection->run(commands);
        if (replies) return replies;
        connection.reset();
        slots_.clear();  // perhaps another node has taken over
        if (!again) return replies;
    }
}

Result<void> RedisCluster::learn_from(const HostPort& node) {
    const RedisCommand question{"CLUSTER", "SLOTS"};
    auto replies = run(node, {&question, 1});
    if (!replies) return tl::make_unexpected(replies.error());
    auto slots = slots_in(*replies->front(), node);
    if (!slots) return fail("redis {}: its CLUSTER SLOTS make no sense", node.text());
    slots_ = std::move(*slots);
    return {};
}

Result<void> RedisCluster::learn() {
    Result<void> learned = fail("redis: no node is known");
    for (const HostPort& node : known_)
        if (learned = learn_from(node); learned) break;
    return learned;
}

const HostPort* RedisCluster::node_of(uint16_t slot) const {
    auto range = slots_.upper_bound(slot);
    if (range == slots_.begin()) return nullptr;
    --range;
    return range->second.first < slot ? nullptr : &range->second.second;
}

/// `moved`: the slots have changed, they are to be learned anew.
Result<void> RedisCluster::redirect(RedisQuestion& question, bool& moved) {
    for (int i = 0; i < kMaxRedirections; i++) {
        const auto there = redirection_in(*question.reply);
        if (!there) return {};
        moved |= !there->ask;
        std::vector<RedisCommand> commands;
        if (there->ask) commands.push_back({"ASKING"});
        commands.push_back(question.command);
        auto replies = run(there->to, commands);
        if (!replies) return tl::make_unexpected(replies.error());
        question.reply = std::move(replies->back());
    }
    return fail("redis: the cluster sends us in circles");
}

Result<void> RedisCluster::ask(std::span<RedisQuestion> questions) {
    if (slots_.empty())
        if (auto learned = learn(); !learned) return learned;
    std::map<HostPort, std::vector<RedisQuestion*>> by_node;
    for (RedisQuestion& question : questions) {
        const HostPort* node = node_of(redis_slot(question.command[1]));
        if (node == nullptr) {
            slots_.clear();
            return fail("redis: no node of the cluster has the slot of {}", question.command[1]);
        }
        by_node[*node].push_back(&question);
    }
    for (const auto& [node, asked] : by_node) {
        std::vector<RedisCommand> commands;
        for (const RedisQuestion* question : asked) commands.push_back(question->command);
        auto replies = run(node, commands);
        if (!replies) return tl::make_unexpected(replies.error());
        for (size_t i = 0; i < asked.size(); i++) asked[i]->reply = std::move((*replies)[i]);
    }
    bool moved = false;
    for (RedisQuestion& question : questions)
        if (auto led = redirect(question, moved); !led) return led;
    if (moved) slots_.clear();
    return {};
}

Result<std::set<HostPort>> RedisCluster::nodes() {
    if (slots_.empty())
        if (auto learned = learn(); !learned) return tl::make_unexpected(learned.error());
    std::set<HostPort> nodes;
    for (const auto& [first, range] : slots_) nodes.insert(range.second);
    return nodes;
}

}  // namespace keyrail
