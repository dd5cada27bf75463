// SPDX-License-Identifier: Apache-2.0
// The pool keys of this blade: sealed sessions of the repository are made and opened with them. They come
// from keyraild, wrapped by another member (or by this one) for this blade's certificate key.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "control/agent/sealing_keys.h"
#include "control/protocol/tls_context.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class PoolKeys;
class WrapPoolKey;
}  // namespace chassis

class PoolKeys : public SealingKeys {
  public:
    static constexpr size_t kMaxKeys = 4096;

    /// `tls`: who we are.
    explicit PoolKeys(TlsContext tls) : tls_(std::move(tls)) {}

    /// These are all that are for us; others are forgotten. One that cannot be opened is left out, and
    /// logged. True: a service has a newer key than before.
    bool replace(const chassis::PoolKeys& keys);
    /// A key for each of these members, a new one when `make` is asked for. A new one is not used here before
    /// keyraild has it.
    Result<chassis::PoolKeys> wrap(const chassis::WrapPoolKey& question) const;

    [[nodiscard]] Current current(const std::string& service) const override;
    [[nodiscard]] const SealingKey* find(const std::string& service, uint32_t generation) const override;

  private:
    struct Held {
        std::string wrapped;  // as it came
        SealingKey key;
    };
    [[nodiscard]] std::map<std::string, uint32_t> newest() const;
    using Id = std::pair<std::string, uint32_t>;  // service, generation

    TlsContext tls_;
    std::map<Id, Held> keys_;
};

}  // namespace keyrail
