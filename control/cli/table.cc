// SPDX-License-Identifier: Apache-2.0
// Table: widths first, then rows.
#include "control/cli/table.h"

#include <fmt/format.h>

#include <algorithm>

namespace keyrail::cli {

void Table::print() const {
    const size_t columns = rows_.front().size();
    std::vector<size_t> widths(columns, 0);
    std::vector<bool> numbers(columns, rows_.size() > 1);
    for (size_t r = 0; r < rows_.size(); r++)
        for (size_t c = 0; c < columns; c++) {
            const std::string& cell = rows_[r][c];
            widths[c] = std::max(widths[c], cell.size());
            const auto digit = [](char x) { return x >= '0' && x <= '9'; };
            if (r > 0 && !std::ranges::all_of(cell, digit)) numbers[c] = false;
        }
    for (size_t r = headers_ ? 0 : 1; r < rows_.size(); r++) {
        const auto& row = rows_[r];
        std::string line;
        for (size_t c = 0; c < columns; c++)
            line += numbers[c] ? fmt::format("{:>{}}  ", row[c], widths[c])
                               : fmt::format("{:<{}}  ", row[c], widths[c]);
        line.erase(line.find_last_not_of(' ') + 1);
        fmt::print("{}\n", line);
    }
}

}  // namespace keyrail::cli
