// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/digest.h"

#include <pthread.h>

#include <cstring>

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

namespace {

EVP_MD* sha256 = nullptr;  // fetched once: that is dearer than the hash
pthread_once_t once = PTHREAD_ONCE_INIT;

void fetch() { sha256 = openssl().EVP_MD_fetch(nullptr, "SHA256", nullptr); }

}  // namespace

SessionDigest chained(const SessionDigest& before, const SSL* ssl) {
    const auto& calls = openssl();
    pthread_once(&once, fetch);
    std::array<uint8_t, sizeof before + 2 * SSL3_RANDOM_SIZE> input{};
    std::memcpy(input.data(), before.data(), before.size());
    calls.SSL_get_client_random(ssl, &input[before.size()], SSL3_RANDOM_SIZE);
    calls.SSL_get_server_random(ssl, &input[before.size() + SSL3_RANDOM_SIZE], SSL3_RANDOM_SIZE);
    SessionDigest after{};
    if (sha256 != nullptr)
        calls.EVP_Digest(input.data(), input.size(), after.data(), nullptr, sha256, nullptr);
    return after;
}

}  // namespace keyrail::hooks
