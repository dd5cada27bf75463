// SPDX-License-Identifier: Apache-2.0
// What was configured before: services whose sessions may still be somewhere. A purge reaches those too, and
// a name that there has not been is told from one. And repositories: what is in one counts only if it has
// been in use without a pause, for nobody tells one that is not in use what became of its sessions. It
// outlives keyraild.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "control/daemon/config/config.h"
#include "dataplane/common/result.h"

namespace keyrail {

class ConfiguredBefore {
  public:
    static constexpr size_t kMaxLeft = 4096;  // of more, those that left first are forgotten
    /// Then no session of it can be left (RFC 8446 section 4.6.1).
    static constexpr uint64_t kForMs = uint64_t{8} * 24 * 3600 * 1000;

    /// Without a file nothing is kept.
    explicit ConfiguredBefore(std::filesystem::path file = {}) : file_(std::move(file)) {}

    /// What a keyraild that ran before has known.
    Result<void> load();
    /// What is configured from now on. Cannot fail; save() writes it down.
    void services(const std::vector<ServiceConfig>& now, uint64_t now_ms);
    /// Where the repository of this kind is from now on (of a cluster, some of its nodes); without places: it
    /// is not in use. False: what may be in it does not count; say emptied() when it is gone.
    bool repository(const std::string& kind, const std::set<std::string>& places);
    void emptied(const std::string& kind, const std::set<std::string>& places);
    /// Writes it, if anything has changed.
    Result<void> save();

    /// Since when a service of this name is configured no more; nullopt: it is, or there has been none.
    [[nodiscard]] std::optional<uint64_t> left_ms(const std::string& service) const;

  private:
    [[nodiscard]] bool read(const std::string& text);
    [[nodiscard]] std::string written() const;

    std::filesystem::path file_;
    std::set<std::string> services_;                             // that are configured
    std::map<std::string, uint64_t> left_;                       // since when they are not
    std::map<std::string, std::set<std::string>> repositories_;  // kind: places, if what is there counts
    bool changed_ = false;                                       // since it was written
};

}  // namespace keyrail
