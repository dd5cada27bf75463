// SPDX-License-Identifier: Apache-2.0
// A session on its way between agents: chassis.Record <-> the store's record.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "control/store/store.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class Record;
}

/// The services of this blade. The store names them by number, messages by name.
class ServedServices {
  public:
    void add(const std::string& name, uint16_t port);
    /// "": not known, or none of ours (any more).
    [[nodiscard]] const std::string& name(ServiceId id) const;
    [[nodiscard]] bool has(const std::string& name) const { return names_.contains(ServiceId::of(name)); }
    [[nodiscard]] bool has_port(uint16_t port) const { return ports_.contains(port); }
    [[nodiscard]] const std::map<ServiceId, std::string>& names() const { return names_; }

  private:
    std::map<ServiceId, std::string> names_;
    std::set<uint16_t> ports_;
};

/// `now_ms`: this blade's clock; the receiver dates the session by its own. 0: the record is to be kept.
/// `out` carries secrets: send it with a Channel, which wipes it.
void to_message(const SessionRecord& record, const ServedServices& served, uint64_t now_ms,
                chassis::Record& out);

/// Takes over what another blade sent, or says in a sentence why it cannot be right: sizes, TLS version,
/// times, a service or port that is not of this blade ("" and 0: the record does not know its own). Times are
/// turned from the sender's clock into ours: OpenSSL accepts early data only from a ticket whose age agrees
/// with the client's to a second or so (RFC 8446 section 8.3).
Result<void> from_message(const chassis::Record& message, const ServedServices& served, uint64_t now_ms,
                          SessionRecord& out);

}  // namespace keyrail
