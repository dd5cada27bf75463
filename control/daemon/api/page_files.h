// SPDX-License-Identifier: Apache-2.0
// The page's files, as page/embed.py puts them into the program.
#pragma once

#include <span>
#include <string_view>

namespace keyrail {

struct PageFile {
    std::string_view name;  // "app.js"
    std::string_view type;  // of its content, for HTTP
    std::string_view text;
};

std::span<const PageFile> page_files();

}  // namespace keyrail
