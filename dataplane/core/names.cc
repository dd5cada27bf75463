// SPDX-License-Identifier: Apache-2.0
#include "dataplane/core/names.h"

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <bitset>

namespace keyrail {
namespace {

constexpr size_t kMaxBlocks = 2 * kBurst * kMaxNames;

struct ManagerDeleter {
    void operator()(IMB_MGR* manager) const { free_mb_mgr(manager); }
};
using Manager = std::unique_ptr<IMB_MGR, ManagerDeleter>;

Manager make_manager() {
    Manager manager(alloc_mb_mgr(0));
    if (manager) init_mb_mgr_auto(manager.get(), nullptr);  // the fastest code that this CPU has
    return manager;
}

}  // namespace

struct NameDecrypter::Impl {
    Manager manager = make_manager();
    // one entry per block of the generation at hand
    alignas(64) std::array<uint8_t, kMaxBlocks * kNameBlockSize> blocks;
    std::array<uint16_t*, kMaxBlocks> results;

    void run(size_t count, const NameKey& key) {
        IMB_JOB* job = IMB_GET_NEXT_JOB(manager.get());
        *job = {};
        job->cipher_mode = IMB_CIPHER_ECB;
        job->cipher_direction = IMB_DIR_DECRYPT;
        job->chain_order = IMB_ORDER_CIPHER_HASH;
        job->hash_alg = IMB_AUTH_NULL;
        job->dec_keys = key.rounds.data();
        job->enc_keys = key.rounds.data();  // not read when decrypting, but must not be null
        job->key_len_in_bytes = kNameKeySize;
        job->src = job->dst = blocks.data();
        job->msg_len_to_cipher_in_bytes = count * kNameBlockSize;
        if (IMB_SUBMIT_JOB(manager.get()) == nullptr) IMB_FLUSH_JOB(manager.get());
    }

    /// FIPS 197 appendix C.1: this library, on this CPU, decrypts as AES-128 does.
    bool gives_known_answer() {
        constexpr std::array<uint8_t, kNameBlockSize> kSealed{0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
                                                              0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
        std::array<uint8_t, kNameKeySize> bytes;
        for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i);
        NameKey key;
        expand_name_key(bytes, key);
        std::ranges::copy(kSealed, blocks.begin());
        run(1, key);
        for (size_t i = 0; i < kNameBlockSize; i++)
            if (blocks[i] != i * 0x11) return false;
        return true;
    }
};

NameDecrypter::NameDecrypter() : impl_(std::make_unique<Impl>()) {}
NameDecrypter::~NameDecrypter() { OPENSSL_cleanse(impl_->blocks.data(), impl_->blocks.size()); }

Result<std::unique_ptr<NameDecrypter>> NameDecrypter::create() {
    std::unique_ptr<NameDecrypter> made(new NameDecrypter);
    if (!made->impl_->manager) return fail("ipsec-mb: cannot make a manager: out of memory");
    if (const int error = imb_get_errno(made->impl_->manager.get()); error != 0)
        return fail("ipsec-mb does not run on this CPU: {}", imb_get_strerror(error));
    if (!made->impl_->gives_known_answer())
        return fail("ipsec-mb {}: AES-128 gives a wrong answer on this CPU", imb_get_version_str());
    return made;
}

void NameDecrypter::decrypt(std::span<PendingHello> hellos, const Snapshot& snapshot, WorkerStats& stats) {
    std::bitset<256> generations;
    for (PendingHello& pending : hellos) {
        HelloFacts& hello = pending.facts;
        hello.homes.fill(0);
        for (size_t i = 0; i < hello.name_count; i++)
            if (snapshot.name_keys[hello.names[i][0]]) generations.set(hello.names[i][0]);
    }
    // Nearly always one generation, two while a rotation lasts: this loop is not the cost.
    for (size_t g = generations._Find_first(); g < generations.size(); g = generations._Find_next(g)) {
        size_t count = 0;
        for (PendingHello& pending : hellos) {
            HelloFacts& hello = pending.facts;
            for (size_t i = 0; i < hello.name_count; i++) {
                if (hello.names[i][0] != g) continue;
                std::memcpy(&impl_->blocks[count * kNameBlockSize], &hello.names[i][kNameBlockOffset],
                            kNameBlockSize);
                impl_->results[count++] = &hello.homes[i];
            }
        }
        impl_->run(count, *snapshot.name_keys[g]);
        stats.name_jobs.add();
        stats.name_blocks.add(count);
        for (size_t i = 0; i < count; i++) {
            const std::span<const uint8_t, kNameBlockSize> block(&impl_->blocks[i * kNameBlockSize],
                                                                 kNameBlockSize);
            *impl_->results[i] = home_of(block).value_or(0);
        }
    }
}

void expand_name_key(std::span<const uint8_t, kNameKeySize> key, NameKey& expanded) {
    const Manager manager = make_manager();
    NameKey encryption;  // the library makes both directions at once
    IMB_AES_KEYEXP_128(manager.get(), key.data(), encryption.rounds.data(), expanded.rounds.data());
    OPENSSL_cleanse(&encryption, sizeof encryption);
}

}  // namespace keyrail
