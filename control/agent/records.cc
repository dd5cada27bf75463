// SPDX-License-Identifier: Apache-2.0
#include "control/agent/records.h"

#include <algorithm>
#include <cstring>

#include "chassis.pb.h"

namespace keyrail {

namespace {

constexpr uint64_t kLongestLifeMs = uint64_t{7} * 24 * 3600 * 1000;  // RFC 8446 section 4.6.1
constexpr uint64_t kClockDifferenceMs = 60'000;                      // between two blades
constexpr uint32_t kOldestVersion = number_of(TlsVersion::tls10),
                   kNewestVersion = number_of(TlsVersion::tls13);

/// The record's times by our clock.
Result<void> read_times(const chassis::Record& message, uint64_t now_ms, SessionRecord& out) {
    const uint64_t sent_ms = message.sent_ms() != 0 ? message.sent_ms() : now_ms;
    if (sent_ms > now_ms + kClockDifferenceMs || sent_ms + kClockDifferenceMs < now_ms)
        return fail("the blades' clocks are more than {} s apart; set them (chrony)",
                    kClockDifferenceMs / 1000);
    const uint64_t ours = now_ms - sent_ms;  // modulo 2^64, as are the sums: what wraps is refused below
    out.created_ms = message.created_ms() + ours;
    out.authenticated_ms = message.authenticated_ms() + ours;
    out.expires_ms = message.expires_ms() + ours;
    if (out.expires_ms <= now_ms) return fail("it is expired");
    if (out.expires_ms > now_ms + kLongestLifeMs + kClockDifferenceMs)
        return fail("it expires later than any session may");
    if (out.created_ms > now_ms + kClockDifferenceMs ||
        out.authenticated_ms > out.created_ms + kClockDifferenceMs)
        return fail("it is from the future; are the blades' clocks set?");
    return {};
}

Result<void> read_service(const chassis::Record& message, const ServedServices& served, SessionRecord& out) {
    if (!message.service().empty() && !served.has(message.service()))
        return fail("this blade does not serve '{}'", message.service().substr(0, 63));
    if (message.port() > UINT16_MAX ||
        (message.port() != 0 && !served.has_port(static_cast<uint16_t>(message.port()))))
        return fail("there is no service on port {} here", message.port());
    out.service = ServiceId::of(message.service());
    out.port = static_cast<uint16_t>(message.port());
    return {};
}

}  // namespace

void ServedServices::add(const std::string& name, uint16_t port) {
    names_.emplace(ServiceId::of(name), name);
    ports_.insert(port);
}

const std::string& ServedServices::name(ServiceId id) const {
    static const std::string none;
    const auto found = names_.find(id);
    return found != names_.end() ? found->second : none;
}

void to_message(const SessionRecord& record, const ServedServices& served, uint64_t now_ms,
                chassis::Record& out) {
    out.set_name(record.name.data(), record.name.size());
    out.set_tls_version(number_of(record.tls_version));
    // Not set_session_der(data, size): protobuf makes a string of its own on the way, and does not wipe it.
    out.mutable_session_der()->assign(reinterpret_cast<const char*>(record.der.data()), record.der_size);
    out.set_site(record.site.data(), record.site.size());
    out.set_created_ms(record.created_ms);
    out.set_authenticated_ms(record.authenticated_ms);
    out.set_expires_ms(record.expires_ms);
    out.set_uses(record.uses);
    out.set_single_use(record.single_use);
    out.set_port(record.port);
    out.set_digest(record.digest.data(), record.digest.size());
    out.set_service(served.name(record.service));
    out.set_early_data_spent(record.early_data_spent);
    out.set_sent_ms(now_ms);
}

Result<void> from_message(const chassis::Record& message, const ServedServices& served, uint64_t now_ms,
                          SessionRecord& out) {
    const std::string& name = message.name();
    const std::string& der = message.session_der();
    const std::string& site = message.site();
    const std::string& digest = message.digest();
    if (name.size() != kSessionNameSize) return fail("its name has {} bytes", name.size());
    if (der.empty() || der.size() > kMaxSessionDer)
        return fail("its session has {} bytes; 1 to {} are possible", der.size(), kMaxSessionDer);
    if (site.size() != out.site.size()) return fail("the mark of its site has {} bytes", site.size());
    if (digest.size() != out.digest.size()) return fail("its digest has {} bytes", digest.size());
    if (message.tls_version() < kOldestVersion || message.tls_version() > kNewestVersion)
        return fail("TLS version {:#06x} is not known", message.tls_version());
    if (auto times = read_times(message, now_ms, out); !times) return times;
    if (auto service = read_service(message, served, out); !service) return service;

    std::ranges::copy(name, out.name.begin());
    std::ranges::copy(digest, out.digest.begin());
    std::ranges::copy(site, out.site.begin());
    out.tls_version = static_cast<TlsVersion>(message.tls_version());
    out.single_use = message.single_use();
    out.early_data_spent = message.early_data_spent();
    out.uses = message.uses();
    out.der_size = static_cast<uint16_t>(der.size());
    std::memcpy(out.der.data(), der.data(), der.size());
    return {};
}

}  // namespace keyrail
