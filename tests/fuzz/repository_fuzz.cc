// SPDX-License-Identifier: Apache-2.0
// libFuzzer: what comes back from a repository. The first byte picks: a Redis server's replies (to CLUSTER
// SLOTS, or a redirection), a sealed record nobody sealed, one that we sealed.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "chassis.pb.h"
#include "control/repository/redis_cluster.h"
#include "control/repository/sealer.h"

namespace {

void replies(std::string_view bytes) {
    redisReader* const reader = redisReaderCreate();
    redisReaderFeed(reader, bytes.data(), bytes.size());
    void* raw = nullptr;
    while (redisReaderGetReply(reader, &raw) == REDIS_OK && raw != nullptr) {
        const keyrail::RedisReply reply(static_cast<redisReply*>(raw));
        (void)keyrail::redirection_in(*reply);
        const auto slots =
            keyrail::slots_in(*reply, keyrail::HostPort{*keyrail::parse_ip("127.0.0.1"), 6379});
        if (slots && slots->empty()) __builtin_trap();
        raw = nullptr;
    }
    redisReaderFree(reader);
}

void sealed(std::string_view bytes) {
    static const keyrail::SealingKey key{keyrail::PoolKeyBytes{}};
    if (keyrail::unseal(key, "context", bytes)) __builtin_trap();  // nobody sealed it
    keyrail::chassis::SessionState state;
    (void)state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void round_trip(std::string_view bytes) {
    static const keyrail::SealingKey key{keyrail::PoolKeyBytes{}};
    const size_t cut = bytes.size() / 2;
    keyrail::SealingJob job{&key, std::string(bytes.substr(0, cut)), std::string(bytes.substr(cut))};
    if (!keyrail::seal({&job, 1})) __builtin_trap();
    const auto plain = keyrail::unseal(key, bytes.substr(0, cut), job.text);
    if (!plain || *plain != bytes.substr(cut)) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0] % 3) {
        case 0:
            replies(rest);
            break;
        case 1:
            sealed(rest);
            break;
        default:
            round_trip(rest);
    }
    return 0;
}
