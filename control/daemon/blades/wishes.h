// SPDX-License-Identifier: Apache-2.0
// What the operator wishes while all runs, beside drains: which blades and services take nobody new, and how
// much of their part of the clients blades get. It is state, not configuration: kept in a file, also for ids
// and names that are not configured now.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

struct BladeWish {
    static constexpr uint32_t kWhole = 100;
    uint32_t weight = kWhole;  // percent, 1 to 100
    bool disabled = false;
    bool operator==(const BladeWish&) const = default;
};

class Wishes {
  public:
    explicit Wishes(std::filesystem::path file) : file_(std::move(file)) {}
    Result<void> load();

    /// An error when it cannot be written; then nothing has changed.
    Result<void> set(BladeId blade, const BladeWish& wish);
    Result<void> set_service(const std::string& name, bool disabled);

    [[nodiscard]] BladeWish of(BladeId blade) const;
    [[nodiscard]] bool disabled(const std::string& service) const { return services_.contains(service); }

  private:
    using Blades = std::map<BladeId, BladeWish>;
    using Services = std::set<std::string>;
    [[nodiscard]] Result<void> save(const Blades& blades, const Services& services) const;

    std::filesystem::path file_;
    Blades blades_;      // those that are as by default are missing
    Services services_;  // disabled
};

}  // namespace keyrail
