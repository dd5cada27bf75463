// SPDX-License-Identifier: Apache-2.0
// Content routing of one service: the server name and application protocol that a ClientHello asks for, to
// the pool of blades that have it. Hash lookups, at most 2 * (1 + kProtocols); no allocation.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "dataplane/common/content_limits.h"
#include "dataplane/common/result.h"
#include "dataplane/wire/client_hello.h"

namespace keyrail {

class ContentRoutes {
  public:
    /// Protocols of a hello that are looked at, from the first: clients offer two or three.
    static constexpr size_t kProtocols = 16;

    /// "*.example.com" stands for one label, as in certificates (RFC 6125 section 6.4.3). An empty `protocol`
    /// is any. Letters of names are equal in both cases.
    Result<void> add(std::string_view server_name, std::string_view protocol, uint16_t pool);

    /// The pool of the most specific route: a whole name before a pattern, and with a protocol that the
    /// client offers, the ones it names first before the others, before any protocol.
    [[nodiscard]] std::optional<uint16_t> find(const ClientHello& hello) const {
        if (pools_.empty() || hello.server_name.empty()) return std::nullopt;
        return find_named(hello);
    }

  private:
    class Key;
    struct Hash {
        using is_transparent = void;
        size_t operator()(std::string_view key) const;
    };
    [[nodiscard]] std::optional<uint16_t> find_named(const ClientHello& hello) const;
    [[nodiscard]] std::optional<uint16_t> find(Key& key, const ClientHello& hello) const;

    std::unordered_map<std::string, uint16_t, Hash, std::equal_to<>> pools_;
    bool by_protocol_ = false;  // some route names one
};

}  // namespace keyrail
