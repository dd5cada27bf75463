// SPDX-License-Identifier: Apache-2.0
// Sealed text = nonce (12 bytes, random) | ciphertext | tag (16 bytes).
#include "control/daemon/keys/sealing.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "control/protocol/file.h"

namespace keyrail {

namespace {

constexpr size_t kNonce = 12, kTag = 16;
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const uint8_t* bytes_of(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }
uint8_t* bytes_of(std::string& text) { return reinterpret_cast<uint8_t*>(text.data()); }

Result<SealKey> wrong_mode(const std::filesystem::path& file) {
    return fail("{}: others may read or change this key; run: chown root {} && chmod 600 {}", file.string(),
                file.string(), file.string());
}

}  // namespace

SealKey::~SealKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Result<SealKey> SealKey::load(const std::filesystem::path& file, bool make) {
    SealKey key;
    struct stat status{};
    if (::stat(file.c_str(), &status) != 0) {
        if (!make) return fail("{}: not there; bring it back from a backup", file.string());
        if (RAND_priv_bytes(key.bytes_.data(), kSize) != 1) return fail("no random bytes from the system");
        const std::string_view raw(reinterpret_cast<const char*>(key.bytes_.data()), kSize);
        if (auto written = replace_file(file, raw, 0600); !written)
            return tl::make_unexpected(written.error());
        return key;
    }
    if ((status.st_mode & 077) != 0 || status.st_uid != geteuid()) return wrong_mode(file);
    auto raw = read_file(file, kSize);
    if (!raw) return tl::make_unexpected(raw.error());
    const bool whole = raw->size() == kSize;
    if (whole) std::ranges::copy(*raw, key.bytes_.begin());
    OPENSSL_cleanse(raw->data(), raw->size());
    if (!whole)
        return fail("{}: {} bytes, expected {}; bring it back from a backup", file.string(), raw->size(),
                    kSize);
    return key;
}

Result<SealKey> SealKey::of(const std::filesystem::path& state_dir, bool make) {
    constexpr const char* kName = "seal.key";
    if (const char* credentials = std::getenv("CREDENTIALS_DIRECTORY")) {
        std::error_code error;
        const auto file = std::filesystem::path(credentials) / kName;
        if (std::filesystem::exists(file, error)) return load(file, false);
    }
    return load(state_dir / kName, make);
}

Result<std::string> SealKey::seal(std::string_view plain, std::string_view purpose) const {
    std::string sealed(kNonce + plain.size() + kTag, '\0');
    uint8_t* const nonce = bytes_of(sealed);
    uint8_t* const text = nonce + kNonce;
    const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
    int n = 0;
    const bool good =
        cipher && RAND_bytes(nonce, kNonce) == 1 &&
        EVP_EncryptInit_ex2(cipher.get(), EVP_aes_256_gcm(), bytes_.data(), nonce, nullptr) == 1 &&
        EVP_EncryptUpdate(cipher.get(), nullptr, &n, bytes_of(purpose), static_cast<int>(purpose.size())) ==
            1 &&
        EVP_EncryptUpdate(cipher.get(), text, &n, bytes_of(plain), static_cast<int>(plain.size())) == 1 &&
        EVP_EncryptFinal_ex(cipher.get(), text + n, &n) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, kTag, text + plain.size()) == 1;
    if (!good) return fail("AES-256-GCM failed");
    return sealed;
}

Result<std::string> SealKey::unseal(std::string_view sealed, std::string_view purpose) const {
    if (sealed.size() < kNonce + kTag) return fail("too short to be sealed");
    const std::string_view text = sealed.substr(kNonce, sealed.size() - kNonce - kTag);
    std::string tag(sealed.substr(sealed.size() - kTag));
    std::string plain(text.size(), '\0');
    const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
    int n = 0;
    const bool good =
        cipher &&
        EVP_DecryptInit_ex2(cipher.get(), EVP_aes_256_gcm(), bytes_.data(), bytes_of(sealed), nullptr) == 1 &&
        EVP_DecryptUpdate(cipher.get(), nullptr, &n, bytes_of(purpose), static_cast<int>(purpose.size())) ==
            1 &&
        EVP_DecryptUpdate(cipher.get(), bytes_of(plain), &n, bytes_of(text), static_cast<int>(text.size())) ==
            1 &&
        EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, kTag, tag.data()) == 1 &&
        EVP_DecryptFinal_ex(cipher.get(), bytes_of(plain) + n, &n) == 1;
    if (good) return plain;
    OPENSSL_cleanse(plain.data(), plain.size());
    return fail("does not open with this key: damaged, or sealed with another one");
}

}  // namespace keyrail
