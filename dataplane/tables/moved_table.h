// SPDX-License-Identifier: Apache-2.0
// Sessions that are not at their home: name fingerprint -> holder (DESIGN.md section 4, "moved table").
// Written by the control thread, read by the workers without a lock (rte_hash, lock-free reads, RCU reclaim).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

struct rte_rcu_qsbr;

namespace keyrail {

class MovedTable {
  public:
    static Result<std::unique_ptr<MovedTable>> create(uint32_t capacity, rte_rcu_qsbr* rcu);
    ~MovedTable();
    MovedTable(const MovedTable&) = delete;
    MovedTable& operator=(const MovedTable&) = delete;

    /// Workers, a burst at a time (64 names at most): who has each session, 0 = it has not moved. `now_s` =
    /// unix time; entries past their expiry do not count.
    void find(std::span<const SessionName* const> names, uint32_t now_s, std::span<BladeId> holders) const;
    [[nodiscard]] std::optional<BladeId> find(const SessionName& name, uint32_t now_s) const;

    // --- control thread only ---
    /// False when the table is full even after expired entries were swept out.
    bool set(const SessionName& name, BladeId holder, uint32_t expires_s, uint32_t now_s);
    void erase(const SessionName& name);
    void clear();
    void sweep(uint32_t now_s);
    [[nodiscard]] uint32_t size() const;

  private:
    MovedTable();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
