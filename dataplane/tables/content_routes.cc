// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/content_routes.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace keyrail {

/// "name", or "name NUL protocol": a server name has no NUL, or it is in no route.
class ContentRoutes::Key {
  public:
    explicit Key(Bytes name) : Key({reinterpret_cast<const char*>(name.data()), name.size()}) {}
    explicit Key(std::string_view name) {
        if (name.size() > kMaxServerName || name.find('\0') != name.npos) return;
        end_ = 1 + name.size();
        std::ranges::transform(name, &bytes_[begin_], [](char c) {  // not std::tolower: no locale here
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
    }
    [[nodiscard]] bool empty() const { return end_ == begin_; }
    [[nodiscard]] std::string_view any_protocol() const { return {&bytes_[begin_], end_ - begin_}; }
    std::string_view with(std::string_view protocol) {
        bytes_[end_] = '\0';
        std::ranges::copy(protocol, &bytes_[end_ + 1]);
        return {&bytes_[begin_], end_ + 1 + protocol.size() - begin_};
    }
    /// Puts `*` for the first label; false when it is the only one.
    bool generalize() {
        const size_t dot = any_protocol().find('.');
        if (dot == std::string_view::npos) return false;
        begin_ += dot - 1;  // a name may begin with its dot: there is a byte before it
        bytes_[begin_] = '*';
        return true;
    }

  private:
    std::array<char, 1 + kMaxServerName + 1 + kMaxProtocol> bytes_;
    size_t begin_ = 1, end_ = 1;
};

size_t ContentRoutes::Hash::operator()(std::string_view key) const {
    return XXH3_64bits(key.data(), key.size());
}

Result<void> ContentRoutes::add(std::string_view server_name, std::string_view protocol, uint16_t pool) {
    Key key(server_name);
    if (key.empty()) return fail("a server name has 1 to {} bytes and no NUL", kMaxServerName);
    if (protocol.size() > kMaxProtocol) return fail("a protocol has at most {} bytes", kMaxProtocol);
    const std::string_view wanted = protocol.empty() ? key.any_protocol() : key.with(protocol);
    if (!pools_.emplace(wanted, pool).second)
        return fail("the route '{}' '{}' is there twice", server_name, protocol);
    by_protocol_ |= !protocol.empty();
    return {};
}

std::optional<uint16_t> ContentRoutes::find(Key& key, const ClientHello& hello) const {
    auto found = pools_.end();
    if (by_protocol_) {
        size_t looked_at = 0;
        each_alpn_protocol(hello, [&](Bytes protocol) {
            if (found != pools_.end() || ++looked_at > kProtocols) return;
            found = pools_.find(key.with({reinterpret_cast<const char*>(protocol.data()), protocol.size()}));
        });
    }
    if (found == pools_.end()) found = pools_.find(key.any_protocol());
    return found == pools_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<uint16_t> ContentRoutes::find_named(const ClientHello& hello) const {
    Key key(hello.server_name);
    if (key.empty()) return std::nullopt;
    if (const auto pool = find(key, hello)) return pool;
    return key.generalize() ? find(key, hello) : std::nullopt;
}

}  // namespace keyrail
