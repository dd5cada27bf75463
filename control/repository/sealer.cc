// SPDX-License-Identifier: Apache-2.0
#include "control/repository/sealer.h"

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace keyrail {

namespace {

struct FreeManager {
    void operator()(IMB_MGR* manager) const { free_mb_mgr(manager); }
};
using Manager = std::unique_ptr<IMB_MGR, FreeManager>;

/// One per thread: a manager is not to be shared.
IMB_MGR* manager() {
    thread_local const Manager mine = [] {
        Manager made(alloc_mb_mgr(0));
        if (made) init_mb_mgr_auto(made.get(), nullptr);
        return made;
    }();
    return mine.get();
}

uint8_t* bytes_of(std::string& text) { return reinterpret_cast<uint8_t*>(text.data()); }
const uint8_t* bytes_of(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

void wipe(std::string& text) { OPENSSL_cleanse(text.data(), text.size()); }

/// `sealed` has room for nonce and tag, and the nonce in its place.
void fill(IMB_JOB& out, const SealingJob& job, std::string& sealed) {
    const size_t size = job.text.size();
    out = {};
    out.cipher_mode = IMB_CIPHER_GCM;
    out.hash_alg = IMB_AUTH_AES_GMAC;
    out.cipher_direction = IMB_DIR_ENCRYPT;
    out.chain_order = IMB_ORDER_CIPHER_HASH;
    out.enc_keys = out.dec_keys = job.key->native();
    out.key_len_in_bytes = kPoolKeySize;
    out.iv = bytes_of(sealed);
    out.iv_len_in_bytes = kSealNonce;
    out.src = reinterpret_cast<const uint8_t*>(job.text.data());
    out.dst = bytes_of(sealed) + kSealNonce;
    out.msg_len_to_cipher_in_bytes = out.msg_len_to_hash_in_bytes = size;
    out.auth_tag_output = bytes_of(sealed) + kSealNonce + size;
    out.auth_tag_output_len_in_bytes = kSealTag;
    out.u.GCM.aad = job.context.data();
    out.u.GCM.aad_len_in_bytes = job.context.size();
}

/// At most IMB_MAX_BURST_SIZE of them.
bool seal_burst(std::span<SealingJob> jobs, std::span<std::string> sealed) {
    IMB_MGR* const with = manager();
    std::array<IMB_JOB*, IMB_MAX_BURST_SIZE> burst;
    const auto count = static_cast<uint32_t>(jobs.size());
    if (with == nullptr || IMB_GET_NEXT_BURST(with, count, burst.data()) != count) return false;
    for (size_t i = 0; i < jobs.size(); i++) {
        fill(*burst[i], jobs[i], sealed[i]);
#if IMB_VERSION_NUM >= 0x10400  // from then on bursts are refused without
        imb_set_session(with, burst[i]);
#endif
    }
    uint32_t done = IMB_SUBMIT_BURST(with, count, burst.data());
    bool good = done > 0 || imb_get_errno(with) == 0;
    for (uint32_t i = 0; i < done; i++) good &= burst[i]->status == IMB_STATUS_COMPLETED;
    while (good && done < count) {
        const uint32_t more = IMB_FLUSH_BURST(with, count - done, burst.data());
        if (more == 0) return false;
        for (uint32_t i = 0; i < more; i++) good &= burst[i]->status == IMB_STATUS_COMPLETED;
        done += more;
    }
    return good;
}

/// Test case 14 of McGrew and Viega, "The Galois/Counter Mode of Operation": key, nonce and text are zeros.
constexpr std::array<uint8_t, 32> kKnownAnswer{
    0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18,  // text
    0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19,  // tag
};

}  // namespace

PoolKeyBytes::~PoolKeyBytes() { OPENSSL_cleanse(data(), size()); }

void SealingKey::Wiped::operator()(gcm_key_data* data) const {
    OPENSSL_cleanse(data, sizeof *data);
    std::free(data);
}

SealingKey::SealingKey(const PoolKeyBytes& key)
    : bytes_(key),
      expanded_(
          static_cast<gcm_key_data*>(std::aligned_alloc(64, (sizeof(gcm_key_data) + 63) & ~size_t{63}))) {
    if (!expanded_ || manager() == nullptr) throw std::bad_alloc();
    std::memset(expanded_.get(), 0, sizeof *expanded_);
    IMB_AES256_GCM_PRE(manager(), bytes_.data(), expanded_.get());
}
SealingKey::~SealingKey() = default;

Result<void> seal(std::span<SealingJob> jobs) {
    std::vector<std::string> sealed(jobs.size());
    std::string nonces(jobs.size() * kSealNonce, '\0');
    bool good = jobs.empty() || RAND_bytes(bytes_of(nonces), static_cast<int>(nonces.size())) == 1;
    for (size_t i = 0; i < jobs.size(); i++) {
        sealed[i].resize(kSealNonce + jobs[i].text.size() + kSealTag);
        std::memcpy(sealed[i].data(), nonces.data() + i * kSealNonce, kSealNonce);
    }
    for (size_t begin = 0; good && begin < jobs.size(); begin += IMB_MAX_BURST_SIZE) {
        const size_t count = std::min<size_t>(IMB_MAX_BURST_SIZE, jobs.size() - begin);
        good = seal_burst(jobs.subspan(begin, count), std::span(sealed).subspan(begin, count));
    }
    for (size_t i = 0; i < jobs.size(); i++) {
        wipe(jobs[i].text);
        jobs[i].text = good ? std::move(sealed[i]) : std::string();
    }
    if (!good) return fail("sealing failed: {}", imb_get_strerror(imb_get_errno(manager())));
    return {};
}

Result<void> prove_sealing() {
    const SealingKey key{PoolKeyBytes()};
    SealingJob job{&key, "", std::string(kKnownAnswer.size() - kSealTag, '\0')};
    std::string sealed(kSealNonce + kKnownAnswer.size(), '\0');
    if (!seal_burst({&job, 1}, {&sealed, 1}))
        return fail("ipsec-mb {} refuses to seal in bursts: {}", imb_get_version_str(),
                    imb_get_strerror(imb_get_errno(manager())));
    if (std::memcmp(sealed.data() + kSealNonce, kKnownAnswer.data(), kKnownAnswer.size()) != 0)
        return fail("ipsec-mb {}: AES-256-GCM gives a wrong answer", imb_get_version_str());
    if (!unseal(key, "", sealed))
        return fail("ipsec-mb {}: AES-256-GCM does not open what it sealed", imb_get_version_str());
    return {};
}

Result<std::string> unseal(const SealingKey& key, std::string_view context, std::string_view sealed) {
    if (sealed.size() < kSealNonce + kSealTag) return fail("too short to be sealed");
    const std::string_view text = sealed.substr(kSealNonce, sealed.size() - kSealNonce - kSealTag);
    std::string plain(text.size(), '\0');
    std::array<uint8_t, kSealTag> tag{};
    gcm_context_data working{};
    IMB_AES256_GCM_DEC(manager(), key.native(), &working, bytes_of(plain), bytes_of(text), text.size(),
                       bytes_of(sealed), bytes_of(context), context.size(), tag.data(), tag.size());
    OPENSSL_cleanse(&working, sizeof working);
    if (CRYPTO_memcmp(tag.data(), sealed.data() + sealed.size() - kSealTag, kSealTag) == 0) return plain;
    wipe(plain);
    return fail("does not open: damaged, sealed with another key, or for another session");
}

}  // namespace keyrail
