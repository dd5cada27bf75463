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

/// So many blocks with one key. `from` and `to` may be the same.
void run_job(IMB_MGR& manager, IMB_CIPHER_DIRECTION direction, const AesRounds& rounds, const uint8_t* from,
             uint8_t* to, size_t blocks) {
    IMB_JOB* job = IMB_GET_NEXT_JOB(&manager);
    *job = {};
    job->cipher_mode = IMB_CIPHER_ECB;
    job->cipher_direction = direction;
    job->chain_order = IMB_ORDER_CIPHER_HASH;
    job->hash_alg = IMB_AUTH_NULL;
    job->enc_keys = job->dec_keys = rounds.data();  // one is not read, but none may be null
    job->key_len_in_bytes = kNameKeySize;
    job->src = from;
    job->dst = to;
    job->msg_len_to_cipher_in_bytes = blocks * kNameBlockSize;
    if (IMB_SUBMIT_JOB(&manager) == nullptr) IMB_FLUSH_JOB(&manager);
}

/// A name where it was met, and where its home is to be.
struct Place {
    const SessionName* name;
    BladeId* home;
};

}  // namespace

struct NameDecrypter::Impl {
    Manager manager = make_manager();
    // one entry per name of the generation at hand
    alignas(64) std::array<uint8_t, kMaxBlocks * kNameBlockSize> blocks, sealed;
    std::array<Place, kMaxBlocks> places;

    [[nodiscard]] std::span<const uint8_t, kNameBlockSize> block(
        const std::array<uint8_t, kMaxBlocks * kNameBlockSize>& of, size_t i) const {
        return std::span<const uint8_t, kNameBlockSize>(&of[i * kNameBlockSize], kNameBlockSize);
    }

    void open(size_t count, const NameKey& key, WorkerStats& stats) {
        run_job(*manager, IMB_DIR_ENCRYPT, key.tag_rounds, blocks.data(), sealed.data(), count);
        run_job(*manager, IMB_DIR_DECRYPT, key.rounds, blocks.data(), blocks.data(), count);
        stats.name_jobs.add(2);
        stats.name_blocks.add(count);
        for (size_t i = 0; i < count; i++) {
            const BladeId home = home_of(block(blocks, i)).value_or(BladeId{});
            const bool whole = has_tag(*places[i].name, block(sealed, i));
            *places[i].home = BladeId(whole ? uint16_t{home} : uint16_t{0});
            if (home != 0 && !whole) stats.names_forged.add();
        }
    }

    /// FIPS 197 appendix C.1, both ways: this library, on this CPU, works as AES-128 does. Many blocks at
    /// once go another way than one.
    bool gives_known_answers() {
        constexpr NameBlock kSealed{0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
                                    0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
        NameBlock key, plain;
        for (size_t i = 0; i < key.size(); i++) {
            key[i] = static_cast<uint8_t>(i);
            plain[i] = static_cast<uint8_t>(i * 0x11);
        }
        AesRounds encryption, decryption;
        IMB_AES_KEYEXP_128(manager.get(), key.data(), encryption.data(), decryption.data());
        for (const size_t count : {size_t{1}, kMaxBlocks - 1}) {
            for (size_t i = 0; i < count; i++) std::ranges::copy(plain, &blocks[i * kNameBlockSize]);
            run_job(*manager, IMB_DIR_ENCRYPT, encryption, blocks.data(), sealed.data(), count);
            run_job(*manager, IMB_DIR_DECRYPT, decryption, sealed.data(), blocks.data(), count);
            for (size_t i = 0; i < count; i++)
                if (!std::ranges::equal(block(sealed, i), kSealed) ||
                    !std::ranges::equal(block(blocks, i), plain))
                    return false;
        }
        return true;
    }
};

NameDecrypter::NameDecrypter() : impl_(std::make_unique<Impl>()) {}
NameDecrypter::~NameDecrypter() {
    OPENSSL_cleanse(impl_->blocks.data(), impl_->blocks.size());
    OPENSSL_cleanse(impl_->sealed.data(), impl_->sealed.size());
}

Result<std::unique_ptr<NameDecrypter>> NameDecrypter::create() {
    std::unique_ptr<NameDecrypter> made(new NameDecrypter);
    if (!made->impl_->manager) return fail("ipsec-mb: cannot make a manager: out of memory");
    if (const int error = imb_get_errno(made->impl_->manager.get()); error != 0)
        return fail("ipsec-mb does not run on this CPU: {}", imb_get_strerror(error));
    if (!made->impl_->gives_known_answers())
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
                impl_->places[count++] = {&hello.names[i], &hello.homes[i]};
            }
        }
        impl_->open(count, *snapshot.name_keys[g], stats);
    }
}

void expand_name_key(std::span<const uint8_t, kNameKeySize> key, NameKey& expanded) {
    const Manager manager = make_manager();
    AesRounds encryption, unused;  // the library makes both directions at once
    NameBlock tag_key;
    IMB_AES_KEYEXP_128(manager.get(), key.data(), encryption.data(), expanded.rounds.data());
    run_job(*manager, IMB_DIR_ENCRYPT, encryption, kTagKeySeed.data(), tag_key.data(), 1);
    IMB_AES_KEYEXP_128(manager.get(), tag_key.data(), expanded.tag_rounds.data(), unused.data());
    OPENSSL_cleanse(&encryption, sizeof encryption);
    OPENSSL_cleanse(&unused, sizeof unused);
    OPENSSL_cleanse(&tag_key, sizeof tag_key);
}

}  // namespace keyrail
