// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/keys/receipts.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "control/daemon/keys/sealing.h"
#include "control/protocol/file.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr size_t kReceiptKeySize = 16, kMacSize = 8, kMacBlock = 16;
constexpr const char* kReceiptPurpose = "keyrail receipts";
constexpr size_t kMaxSealedReceiptKey = 256;

}  // namespace

void Receipts::Freed::operator()(evp_cipher_ctx_st* context) const { EVP_CIPHER_CTX_free(context); }

Receipts::Receipts(const std::string& key) : cipher_(EVP_CIPHER_CTX_new()) {
    EVP_EncryptInit_ex(cipher_.get(), EVP_aes_128_ecb(), nullptr,
                       reinterpret_cast<const unsigned char*>(key.data()), nullptr);
    EVP_CIPHER_CTX_set_padding(cipher_.get(), 0);
}

Result<Receipts> Receipts::load_or_create(const fs::path& state_dir) {
    const fs::path file = state_dir / "receipts.sealed";
    const auto seal_key = SealKey::of(state_dir, true);
    if (!seal_key) return tl::make_unexpected(seal_key.error());
    std::error_code error;
    std::string key(kReceiptKeySize, '\0');
    if (fs::exists(file, error)) {
        const auto sealed = read_file(file, kMaxSealedReceiptKey);
        if (!sealed) return tl::make_unexpected(sealed.error());
        auto opened = seal_key->unseal(*sealed, kReceiptPurpose);
        if (!opened || opened->size() != kReceiptKeySize)
            return fail("{}: {}; remove it: where sessions are that were moved is then forgotten",
                        file.string(), opened ? "has another length" : opened.error().message);
        key.swap(*opened);
    } else {
        if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(key.data()), kReceiptKeySize) != 1)
            return fail("no random bytes from the system");
        const auto sealed = seal_key->seal(key, kReceiptPurpose);
        if (!sealed) return tl::make_unexpected(sealed.error());
        if (auto written = replace_file(file, *sealed, 0600); !written)
            return tl::make_unexpected(written.error());
    }
    Receipts receipts(key);
    OPENSSL_cleanse(key.data(), key.size());
    return receipts;
}

std::string Receipts::make(const SessionName& name, BladeId blade, uint64_t order) const {
    std::array<uint8_t, kMacBlock + kSessionNameSize> text{};
    static_assert(text.size() % kMacBlock == 0);
    for (size_t i = 0; i < sizeof order; i++) text[i] = static_cast<uint8_t>(order >> 8 * (7 - i));
    text[8] = static_cast<uint8_t>(blade >> 8);
    text[9] = static_cast<uint8_t>(blade);
    std::ranges::copy(name, text.begin() + kMacBlock);
    // Block by block: to begin CBC anew costs OpenSSL 3 more than these three blocks do.
    std::array<uint8_t, kMacBlock> mac{};
    for (size_t at = 0; at < text.size(); at += kMacBlock) {
        for (size_t i = 0; i < kMacBlock; i++) mac[i] ^= text[at + i];
        int size = 0;
        EVP_EncryptUpdate(cipher_.get(), mac.data(), &size, mac.data(), kMacBlock);
    }
    std::string receipt(reinterpret_cast<const char*>(text.data()), sizeof order);
    receipt.append(reinterpret_cast<const char*>(mac.data()), kMacSize);
    return receipt;
}

std::optional<uint64_t> Receipts::order_in(const std::string& receipt, const SessionName& name,
                                           BladeId blade) const {
    if (receipt.size() != kSize) return std::nullopt;
    uint64_t order = 0;
    for (size_t i = 0; i < sizeof order; i++) order = order << 8 | static_cast<uint8_t>(receipt[i]);
    const std::string right = make(name, blade, order);
    return CRYPTO_memcmp(right.data(), receipt.data(), kSize) == 0 ? std::optional(order) : std::nullopt;
}

}  // namespace keyrail
