// SPDX-License-Identifier: Apache-2.0
// Aligned tables for people.
#pragma once

#include <string>
#include <vector>

namespace keyrail::cli {

class Table {
  public:
    explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] bool empty() const { return rows_.size() < 2; }
    /// Columns that hold only numbers are aligned to the right.
    void print() const;
    /// Of all tables: with their first line, or without (--no-headers).
    static void headers(bool wanted) { headers_ = wanted; }

  private:
    static inline bool headers_ = true;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace keyrail::cli
