// SPDX-License-Identifier: Apache-2.0
// Cost of one store operation for a TLS worker. Targets: put, take, copy 1 us; a name that is not here 1 us.
#include <benchmark/benchmark.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <chrono>

#include "control/hooks/digest.h"
#include "control/hooks/pull.h"
#include "control/hooks/session_codec.h"
#include "control/hooks/session_names.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::fill;
using testing::name_of;
using testing::TempStore;

constexpr uint64_t kSessions = 50000;

void fill_store(TempStore& store, uint16_t size) {
    SessionRecord record;
    for (uint64_t i = 0; i < kSessions; i++) {
        fill(record, i, size);
        store->put(record);
    }
}

void put_take(benchmark::State& state) {
    TempStore store(64 << 20);
    const auto size = static_cast<uint16_t>(state.range(0));
    fill_store(store, size);
    SessionRecord record, out;
    fill(record, kSessions + 1, size);
    for (auto step : state) {
        store->put(record);
        benchmark::DoNotOptimize(store->take(record.name, out));
    }
}
BENCHMARK(put_take)->Arg(160)->Arg(1000)->Arg(8192);

void put_when_full(benchmark::State& state) {
    TempStore store(4 << 20);
    SessionRecord record;
    fill(record, 1, 160);
    uint64_t number = 0;
    for (auto step : state) {
        record.name = name_of(number++ * 0x9e3779b97f4a7c15);
        store->put(record);
    }
}
BENCHMARK(put_when_full);

void copy(benchmark::State& state) {
    TempStore store(64 << 20);
    const auto size = static_cast<uint16_t>(state.range(0));
    fill_store(store, size);
    SessionRecord out;
    uint64_t number = 0;
    for (auto step : state) benchmark::DoNotOptimize(store->copy(name_of(number++ * 7919 % kSessions), out));
}
BENCHMARK(copy)->Arg(160)->Arg(1000);

/// A name that no blade made, as a TLS worker meets it: the store, then whether to ask the agent. Target: 1
/// us.
void foreign_miss(benchmark::State& state) {
    TempStore store(64 << 20);
    fill_store(store, 160);
    StoreControl control;
    control.pull_budget_us = 2000;
    control.name_key_count = 1;
    control.name_keys[0].generation = static_cast<uint8_t>(state.range(0));
    store->set_control(control);
    SessionRecord out;
    uint64_t number = kSessions;
    for (auto step : state) {
        const SessionName name = name_of(number++);
        if (store->resume(name, TlsVersion::tls13, 5000, out) ||
            hooks::pull(*store, name, TlsVersion::tls13, 0) == hooks::Pull::kLookAgain)
            return state.SkipWithError("a hit");
    }
}
BENCHMARK(foreign_miss)
    ->ArgName("generation")
    ->Arg(8)
    ->Arg(7);  // 7: as in the names, whose tags are made, and are others: so a forged name costs

/// What a forged name must cost less than: the server's end of a full handshake of OpenSSL alone.
void full_handshake(benchmark::State& state) {
    EVP_PKEY* key = EVP_RSA_gen(2048);
    X509* certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    SSL_CTX* server_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX* client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_certificate(server_context, certificate);
    SSL_CTX_use_PrivateKey(server_context, key);
    SSL_CTX_set_max_proto_version(client_context, static_cast<int>(state.range(0)));
    for (auto step : state) {
        SSL *server = SSL_new(server_context), *client = SSL_new(client_context);
        BIO *to_server = nullptr, *to_client = nullptr;
        BIO_new_bio_pair(&to_server, 65536, &to_client, 65536);
        SSL_set_bio(server, to_server, to_server);
        SSL_set_bio(client, to_client, to_client);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        std::chrono::duration<double> taken{};
        while (!SSL_is_init_finished(server)) {
            SSL_do_handshake(client);
            const auto begin = std::chrono::steady_clock::now();
            SSL_do_handshake(server);
            taken += std::chrono::steady_clock::now() - begin;
        }
        state.SetIterationTime(taken.count());
        SSL_free(server);
        SSL_free(client);
    }
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    X509_free(certificate);
    EVP_PKEY_free(key);
}
BENCHMARK(full_handshake)->ArgName("version")->Arg(TLS1_2_VERSION)->Arg(TLS1_3_VERSION)->UseManualTime();

/// All that a TLS worker does for a name that is here: store, then OpenSSL's own session. Target: 3 us.
void hit(benchmark::State& state) {
    TempStore store(64 << 20);
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    SSL* ssl = SSL_new(context);
    SSL_SESSION* session = SSL_SESSION_new();
    const SessionName name = name_of(1);
    const std::array<uint8_t, 48> secret{};
    SSL_SESSION_set1_id(session, name.data(), name.size());
    SSL_SESSION_set1_id_context(session, name.data(), 20);
    SSL_SESSION_set_protocol_version(session, TLS1_2_VERSION);  // reusable: the same name hits each time
    SSL_SESSION_set1_master_key(session, secret.data(), secret.size());
    SSL_SESSION_set_cipher(session, sk_SSL_CIPHER_value(SSL_get_ciphers(ssl), 0));
    SSL_SESSION_set_timeout(session, 300);
    SessionRecord record, out;
    const uint64_t now = wall_clock_ms();
    if (!hooks::encode(session, {}, {}, {}, now, record))
        return state.SkipWithError("the session cannot be encoded");
    store->put(record);
    for (auto step : state) {
        if (!store->resume(name, TlsVersion::tls12, wall_clock_ms(), out))
            return state.SkipWithError("a miss");
        SSL_SESSION_free(hooks::decode(out, now));
    }
    SSL_SESSION_free(session);
    SSL_free(ssl);
    SSL_CTX_free(context);
}
BENCHMARK(hit);

void make_name(benchmark::State& state) {
    TempStore store;
    StoreControl control;
    control.blade_id = 1;
    control.name_key_count = 1;
    store->set_control(control);
    SessionName name;
    for (auto step : state) benchmark::DoNotOptimize(hooks::make_session_name(*store, name));
}
BENCHMARK(make_name);

void running_digest(benchmark::State& state) {
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    SSL* ssl = SSL_new(context);
    SessionDigest digest{};
    for (auto step : state) digest = hooks::chained(digest, ssl);
    SSL_free(ssl);
    SSL_CTX_free(context);
}
BENCHMARK(running_digest);

/// What is asked at each connection: which service is it of, and what does that want?
void policy(benchmark::State& state) {
    TempStore store;
    StoreControl control;
    control.endpoint_count = static_cast<uint16_t>(state.range(0));
    for (uint16_t i = 0; i < control.endpoint_count; i++) control.endpoints[i].port = i;
    store->set_control(control);
    const ServiceEndpoint last{{}, static_cast<uint16_t>(control.endpoint_count - 1), 0};
    SessionPolicy found;
    for (auto step : state) {
        store->control().read([&](const StoreControl& now) { found = now.services[now.slot_of(last)]; });
        benchmark::DoNotOptimize(found);
    }
}
BENCHMARK(policy)->ArgName("endpoints")->Arg(2)->Arg(256);

void add_cost(benchmark::State& state) {
    TempStore store;
    for (auto step : state) store->add_cost(0, true, true, 1, 1);
}
BENCHMARK(add_cost);

}  // namespace
}  // namespace keyrail

BENCHMARK_MAIN();
