// SPDX-License-Identifier: Apache-2.0
// The keys of a request's body, each of its kind. What is of another kind is the mistake, the first one of
// them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace keyrail {

class Body {
  public:
    explicit Body(const nlohmann::json& body) : body_(body) {}

    /// "" where there is none.
    std::string text(const char* key) {
        return get<std::string>(key, "a text", [](const auto& value) { return value.is_string(); })
            .value_or("");
    }
    bool flag(const char* key) {
        return get<bool>(key, "true or false", [](const auto& value) { return value.is_boolean(); })
            .value_or(false);
    }
    std::optional<uint64_t> number(const char* key) {
        return get<uint64_t>(key, "a whole number",
                             [](const auto& value) { return value.is_number_unsigned(); });
    }
    std::vector<std::string> texts(const char* key) {
        const auto all_texts = [](const auto& value) {
            bool good = value.is_array();
            for (const auto& one : value) good = good && one.is_string();
            return good;
        };
        return get<std::vector<std::string>>(key, "a list of texts", all_texts)
            .value_or(std::vector<std::string>{});
    }
    /// "": there is none so far.
    [[nodiscard]] const std::string& mistake() const { return mistake_; }

  private:
    template <typename Value, typename Check>
    std::optional<Value> get(const char* key, const char* kind, Check check) {
        const auto found = body_.find(key);
        if (found == body_.end()) return std::nullopt;
        if (check(*found)) return found->template get<Value>();
        if (mistake_.empty()) mistake_ = std::string("'") + key + "' is " + kind;
        return std::nullopt;
    }
    const nlohmann::json& body_;
    std::string mistake_;
};

}  // namespace keyrail
