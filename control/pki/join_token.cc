// SPDX-License-Identifier: Apache-2.0
// JoinToken: its one textual form, both ways.
#include "control/pki/join_token.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <vector>

#include "control/protocol/identity.h"
#include "dataplane/common/hex.h"

namespace keyrail {

namespace {

constexpr std::string_view kHead = "keyrail-join";
constexpr size_t kParts = 5;

std::vector<std::string_view> split(std::string_view text) {
    std::vector<std::string_view> parts;
    for (;;) {
        const size_t end = text.find('/');
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

}  // namespace

JoinToken::~JoinToken() { OPENSSL_cleanse(secret.data(), secret.size()); }

std::string JoinToken::text() const {
    return fmt::format("{}/{}/{}/{}/{}", kHead, blade, control.text(), to_hex(ca), to_hex(secret));
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
    const auto parts = split(text);
    const auto bad = [] {
        return fail("this is not a token of 'keyrail blade enroll' (keyrail-join/…); copy it whole");
    };
    if (parts.size() != kParts || parts[0] != kHead) return bad();
    const auto who = Identity::from_uri(fmt::format("keyrail:blade:{}", parts[1]));
    const auto control = parse_host_port(parts[2]);
    const auto ca = from_hex(parts[3]);
    auto secret = from_hex(parts[4]);
    JoinToken token;
    if (!who || !control || !ca || ca->size() != token.ca.size() || !secret || secret->size() != kSecretSize)
        return bad();
    token.blade = who->blade;
    token.control = *control;
    std::ranges::copy(*ca, reinterpret_cast<char*>(token.ca.data()));
    token.secret = std::move(*secret);
    return token;
}

}  // namespace keyrail
