// SPDX-License-Identifier: Apache-2.0
// Reading a TOML configuration whole: every mistake in it is reported, with file, line and what to do, not
// just the first. Used by keyraild and keyrail-agent. Include it in .cc files only: toml++ is large.
#pragma once

#include <toml++/toml.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/protocol/words.h"
#include "dataplane/common/result.h"

namespace keyrail {

/// A key that was asked for: what may stand there.
struct AskedKey {
    std::string table, key;  // "[chassis]", "run_dir"
    std::string type;        // "duration, 1min to 30d"
    bool required = false;
};

/// The mistakes found in one file, each as "FILE:LINE: what; what to do".
class ConfigErrors {
  public:
    explicit ConfigErrors(std::filesystem::path file) : file_(std::move(file)) {}

    /// Line 0 = the file as a whole.
    template <typename... Args>
    void add(uint32_t line, fmt::format_string<Args...> format, Args&&... args) {
        const std::string text = fmt::format(format, std::forward<Args>(args)...);
        const std::string where = line == 0 ? file_.string() : fmt::format("{}:{}", file_.string(), line);
        lines_.push_back({line, fmt::format("{}: {}", where, text)});
    }
    [[nodiscard]] bool empty() const { return lines_.empty(); }
    /// In the order of the file.
    [[nodiscard]] std::vector<std::string> lines() const;
    /// Every key that the reading has asked for, in that order: what the file could have had.
    [[nodiscard]] const std::vector<AskedKey>& asked() const { return asked_; }
    void ask(AskedKey key);

  private:
    struct Line {
        uint32_t number;
        std::string text;
    };
    std::filesystem::path file_;
    std::vector<Line> lines_;
    std::vector<AskedKey> asked_;
};

/// A value and the line where it stands.
template <typename T>
struct Located {
    T value{};
    uint32_t line = 0;
};

enum class Need : uint8_t { required, optional };

/// One table of the file. Each getter returns nullopt when the key is absent or wrong; what is wrong is in
/// the errors.
class TomlTable {
  public:
    /// `name` as people write it: "[chassis]", "[[blade]]".
    TomlTable(const toml::table& table, std::string name, ConfigErrors& errors);

    std::optional<Located<std::string>> text(std::string_view key, Need need);
    std::optional<Located<int64_t>> integer(std::string_view key, int64_t min, int64_t max, Need need);
    std::optional<Located<bool>> boolean(std::string_view key, Need need);
    /// As words.h reads them: "20ms", "2h".
    std::optional<Located<std::chrono::microseconds>> duration(std::string_view key,
                                                               std::chrono::microseconds min,
                                                               std::chrono::microseconds max, Need need);
    /// Lists; empty ones count as missing.
    std::vector<Located<std::string>> texts(std::string_view key, Need need);
    std::vector<Located<int64_t>> integers(std::string_view key, int64_t min, int64_t max, Need need);
    /// [key], and all the [[key]].
    std::optional<TomlTable> table(std::string_view key, Need need);
    std::vector<TomlTable> tables(std::string_view key);

    /// Reports every key that was not asked for above.
    void finish();
    [[nodiscard]] uint32_t line() const { return line_; }

  private:
    const toml::node* find(std::string_view key, Need need, std::string type);
    const toml::node* find_table(std::string_view key, Need need);
    const toml::array* list(std::string_view key, Need need, std::string type);
    void wrong_type(const toml::node& node, std::string_view key, std::string_view expected);
    bool in_range(const toml::node& node, std::string_view key, int64_t value, int64_t min, int64_t max);

    const toml::table* table_;
    std::string name_;
    ConfigErrors* errors_;
    uint32_t line_;
    std::set<std::string, std::less<>> known_;
};

/// Parses the file; nullopt with an error when it cannot be read or is not TOML.
std::optional<toml::table> parse_toml(const std::filesystem::path& file, ConfigErrors& errors);
/// The same of a text that stands, or stood, in `file`.
std::optional<toml::table> parse_toml_text(std::string_view text, const std::filesystem::path& file,
                                           ConfigErrors& errors);
/// The text of a file; nullopt with an error when it cannot be read.
std::optional<std::string> read_text(const std::filesystem::path& file, ConfigErrors& errors);

}  // namespace keyrail
