// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/digest.h"

#include <pthread.h>

#include <cstring>

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

namespace {

EVP_MD* fetched = nullptr;  // once: that is dearer than the hash
pthread_once_t once = PTHREAD_ONCE_INIT;

void fetch() { fetched = openssl().EVP_MD_fetch(nullptr, "SHA256", nullptr); }

}  // namespace

const EVP_MD* sha256() {
    pthread_once(&once, fetch);
    return fetched;
}

std::array<uint8_t, 32> sha256_of(std::span<const uint8_t> bytes) {
    std::array<uint8_t, 32> hash{};
    if (const EVP_MD* md = sha256())
        openssl().EVP_Digest(bytes.data(), bytes.size(), hash.data(), nullptr, md, nullptr);
    return hash;
}

SessionDigest chained(const SessionDigest& before, const SSL* ssl) {
    const auto& calls = openssl();
    std::array<uint8_t, sizeof before + 2 * SSL3_RANDOM_SIZE> input{};
    std::memcpy(input.data(), before.data(), before.size());
    calls.SSL_get_client_random(ssl, &input[before.size()], SSL3_RANDOM_SIZE);
    calls.SSL_get_server_random(ssl, &input[before.size() + SSL3_RANDOM_SIZE], SSL3_RANDOM_SIZE);
    return sha256_of(input);
}

}  // namespace keyrail::hooks
