// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value, or one sentence for a human that says what was wrong, where, and what to do.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace keyrail {

struct Error {
    std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;

/// Makes the error side of a Result: `return fail("blade {}: no such pool '{}'", id, pool);`
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
    return tl::make_unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

}  // namespace keyrail
