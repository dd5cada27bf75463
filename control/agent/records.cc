// SPDX-License-Identifier: Apache-2.0
#include "control/agent/records.h"

#include <algorithm>
#include <cstring>

#include "chassis.pb.h"

namespace keyrail {

namespace {

constexpr uint64_t kLongestLifeMs = uint64_t{7} * 24 * 3600 * 1000;  // RFC 8446 section 4.6.1
constexpr uint64_t kClockDifferenceMs = 60'000;                      // between two blades
constexpr uint32_t kOldestVersion = 0x0301, kNewestVersion = 0x0304;

Result<void> check_times(const chassis::Record& message, uint64_t now_ms) {
    if (message.expires_ms() <= now_ms) return fail("it is expired");
    if (message.expires_ms() > now_ms + kLongestLifeMs + kClockDifferenceMs)
        return fail("it expires later than any session may");
    if (message.created_ms() > now_ms + kClockDifferenceMs ||
        message.authenticated_ms() > message.created_ms() + kClockDifferenceMs)
        return fail("it is from the future; are the blades' clocks set?");
    return {};
}

}  // namespace

void to_message(const SessionRecord& record, chassis::Record& out) {
    out.set_name(record.name.data(), record.name.size());
    out.set_tls_version(record.tls_version);
    out.set_session_der(record.der.data(), record.der_size);
    out.set_id_context(record.id_context.data(), record.id_context_size);
    out.set_created_ms(record.created_ms);
    out.set_authenticated_ms(record.authenticated_ms);
    out.set_expires_ms(record.expires_ms);
    out.set_uses(record.uses);
    out.set_single_use(record.single_use);
    out.set_port(record.port);
}

Result<void> from_message(const chassis::Record& message, const std::set<uint16_t>& ports, uint64_t now_ms,
                          SessionRecord& out) {
    const std::string& name = message.name();
    const std::string& der = message.session_der();
    const std::string& context = message.id_context();
    if (name.size() != kSessionNameSize) return fail("its name has {} bytes", name.size());
    if (der.empty() || der.size() > kMaxSessionDer)
        return fail("its session has {} bytes; 1 to {} are possible", der.size(), kMaxSessionDer);
    if (context.size() > kMaxIdContext) return fail("its session id context has {} bytes", context.size());
    if (message.tls_version() < kOldestVersion || message.tls_version() > kNewestVersion)
        return fail("TLS version {:#06x} is not known", message.tls_version());
    if (auto times = check_times(message, now_ms); !times) return times;
    if (message.port() > UINT16_MAX ||
        (message.port() != 0 && !ports.contains(static_cast<uint16_t>(message.port()))))
        return fail("there is no service on port {} here", message.port());

    std::ranges::copy(name, out.name.begin());
    out.tls_version = static_cast<uint16_t>(message.tls_version());
    out.port = static_cast<uint16_t>(message.port());
    out.single_use = message.single_use();
    out.uses = message.uses();
    out.created_ms = message.created_ms();
    out.authenticated_ms = message.authenticated_ms();
    out.expires_ms = message.expires_ms();
    out.id_context_size = static_cast<uint8_t>(context.size());
    std::memcpy(out.id_context.data(), context.data(), context.size());
    out.der_size = static_cast<uint16_t>(der.size());
    std::memcpy(out.der.data(), der.data(), der.size());
    return {};
}

}  // namespace keyrail
