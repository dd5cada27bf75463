// SPDX-License-Identifier: Apache-2.0
#include "dataplane/trace/filter.h"

#include <algorithm>
#include <cctype>

#include "dataplane/common/address.h"
#include "link.pb.h"

namespace keyrail::trace {
namespace {

constexpr uint32_t kMappedBits = 96;  // in front of an IPv4 address

Result<AddressPrefix> prefix_of(const link::TraceFilter::Prefix& message) {
    if (message.address().empty()) return AddressPrefix{};
    const auto address = address_of_bytes(message.address());
    if (!address) return tl::make_unexpected(address.error());
    if (message.bits() > address->bits())
        return fail("{} has {} bits, not {}", address->text(), address->bits(), message.bits());
    const uint32_t more = address->is_v6() ? 0 : kMappedBits;
    return AddressPrefix{address->mapped(), static_cast<uint8_t>(message.bits() + more)};
}

char lower(char letter) { return static_cast<char>(std::tolower(static_cast<unsigned char>(letter))); }

bool same_name(std::string_view wanted, std::string_view name) {
    if (wanted.starts_with("*.")) {
        const size_t label = name.find('.');
        if (label == 0 || label == std::string_view::npos) return false;
        wanted.remove_prefix(2);
        name.remove_prefix(label + 1);
    }
    return std::ranges::equal(wanted, name, {}, {}, lower);
}

}  // namespace

bool AddressPrefix::has(const Address& other) const {
    const size_t whole = bits / 8, rest = bits % 8;
    if (!std::equal(address.begin(), address.begin() + static_cast<ptrdiff_t>(whole), other.begin()))
        return false;
    return rest == 0 || (address[whole] ^ other[whole]) >> (8 - rest) == 0;
}

Result<Filter> Filter::read(const link::TraceFilter& message) {
    Filter filter;
    for (const auto& [into, from] :
         {std::pair{&filter.client, &message.client()}, std::pair{&filter.service, &message.service()}}) {
        const auto prefix = prefix_of(*from);
        if (!prefix) return tl::make_unexpected(prefix.error());
        *into = *prefix;
    }
    if (message.client_port() > UINT16_MAX || message.service_port() > UINT16_MAX)
        return fail("a port is 1 to 65535");
    filter.client_port = static_cast<uint16_t>(message.client_port());
    filter.service_port = static_cast<uint16_t>(message.service_port());
    if (message.blade() > BladeId::kMax) return fail("there can be no blade {}", message.blade());
    filter.blade = BladeId::or_none(message.blade());
    for (const std::string& wanted : message.reasons()) {
        const auto known = std::ranges::find(kReasonTexts, wanted, &ReasonText::name);
        if (known == kReasonTexts.end())
            return fail("there is no reason '{}'; 'keyrail stats --all' names them", wanted);
        filter.reasons.set(static_cast<size_t>(known - kReasonTexts.begin()));
    }
    if (message.drops_only())
        for (size_t i = 0; i < kReasons; i++)
            if (is_drop(static_cast<Reason>(i))) filter.reasons.set(i);
    filter.server_name = message.server_name();
    std::ranges::transform(filter.server_name, filter.server_name.begin(), lower);
    if (message.name().empty()) return filter;
    if (message.name().size() != kSessionNameSize)
        return fail("a session name has {} bytes, not {}", kSessionNameSize, message.name().size());
    std::ranges::copy(message.name(), filter.name.emplace().begin());
    return filter;
}

bool Filter::wants(const Headers& headers, bool from_client) const {
    if (client.bits == 0 && service.bits == 0 && client_port == 0 && service_port == 0) return true;
    if (headers.layout == Layout::not_ip || headers.layout == Layout::truncated) return false;
    const Tuple& t = headers.tuple;
    const auto& [from, to] =
        from_client ? std::pair{t.source, t.destination} : std::pair{t.destination, t.source};
    const auto [from_port, to_port] = from_client ? std::pair{t.source_port, t.destination_port}
                                                  : std::pair{t.destination_port, t.source_port};
    return client.has(from) && service.has(to) && (client_port == 0 || client_port == from_port) &&
           (service_port == 0 || service_port == to_port);
}

bool Filter::wants(const Exit& exit, const TracedHello& hello) const {
    if (blade != 0 && exit.blade != blade) return false;
    // Another worker tells of it, too.
    if (reasons.none() ? exit.action == Action::handoff : !reasons.test(static_cast<size_t>(exit.reason)))
        return false;
    if (name && (!hello.known || hello.name != *name)) return false;
    return server_name.empty() ||
           (hello.known && same_name(server_name, {hello.server_name.data(), hello.server_name_size}));
}

}  // namespace keyrail::trace
