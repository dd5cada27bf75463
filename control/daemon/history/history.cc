// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/history/history.h"

#include <openssl/evp.h>
#include <spdlog/spdlog.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "control/protocol/file.h"

namespace keyrail {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxMeta = 65536;

Revision revision_of(const json& read) {
    return {read.at("revision"), read.at("unix_ms"), read.at("actor"),  read.at("from"), read.at("message"),
            read.at("file"),     read.at("sha256"),  read.at("result"), read.at("why")};
}

std::string file_text(const json& value) {
    return value.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string plain(const fs::path& file) { return fs::absolute(file).lexically_normal().string(); }

/// The number in "12.json"; 0: another file.
uint64_t number_in(const fs::path& file) {
    const std::string name = file.stem().string();
    uint64_t number = 0;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), number);
    return file.extension() == ".json" && read.ptr == name.data() + name.size() ? number : 0;
}

}  // namespace

json revision_json(const Revision& revision) {
    return {{"revision", revision.number}, {"unix_ms", revision.unix_ms}, {"actor", revision.actor},
            {"from", revision.from},       {"message", revision.message}, {"file", revision.file},
            {"sha256", revision.sha256},   {"result", revision.result},   {"why", revision.why}};
}

std::string sha256_of(const std::string& text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr);
    std::string hex;
    for (unsigned int i = 0; i < size; i++) hex += fmt::format("{:02x}", digest[i]);
    return hex;
}

fs::path History::file_of(uint64_t number, const char* kind) const {
    return dir_ / fmt::format("{}.{}", number, kind);
}

Result<void> History::load() {
    if (auto made = make_directory(dir_, 0700); !made) return made;
    if (auto read = read_revisions(); !read) return read;
    const fs::path file = dir_ / "state.json";
    std::error_code ignored;
    if (!fs::exists(file, ignored)) return {};
    const auto text = read_file(file, kMaxMeta);
    if (!text) return tl::make_unexpected(text.error());
    try {
        const json read = json::parse(*text);
        current_ = read.at("current");
        seen_file_ = read.at("seen").at("file");
        seen_sha256_ = read.at("seen").at("sha256");
        if (const json& pending = read.at("pending"); !pending.is_null())
            pending_ = Pending{pending.at("revision"), pending.at("until_ms")};
    } catch (const json::exception& error) {
        return fail("{}: damaged ({}); move {} away: keyraild then starts by its own file", file.string(),
                    error.what(), dir_.string());
    }
    last_ = std::max({last_, current_, pending_ ? pending_->revision : 0});
    if (!pending_) return {};
    rolled_back_at_start_ = pending_->revision;
    if (auto told = roll_back("keyraild ended before it was confirmed"); !told)
        spdlog::warn("configuration: the roll-back is not written: {}", told.error().message);
    return {};
}

Result<void> History::read_revisions() {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(dir_, error)) {
        const uint64_t number = number_in(entry.path());
        if (number == 0) continue;
        last_ = std::max(last_, number);
        const auto text = read_file(entry.path(), kMaxMeta);
        if (!text) {
            spdlog::warn("{}; it is left out of the history", text.error().message);
            continue;
        }
        try {
            revisions_[number] = revision_of(json::parse(*text));
        } catch (const json::exception& wrong) {
            spdlog::warn("{}: damaged ({}); it is left out of the history", entry.path().string(),
                         wrong.what());
        }
    }
    if (error) return fail("{}: {}", dir_.string(), error.message());
    return {};
}

Result<uint64_t> History::begin(Revision revision, const std::string& text, std::optional<uint64_t> until_ms,
                                Source source) {
    if (text.size() > kMaxText) return fail("the configuration is over {} bytes", kMaxText);
    revision.number = last_ + 1;
    revision.sha256 = sha256_of(text);
    revision.result = until_ms ? "pending" : "applied";
    State next = state();
    if (until_ms)
        next.pending = Pending{revision.number, *until_ms};
    else
        next.current = revision.number;
    if (source == Source::own_file) {
        next.seen_file = plain(revision.file);
        next.seen_sha256 = revision.sha256;
    }
    auto kept = replace_file(file_of(revision.number, "toml"), text, 0600);
    if (kept) kept = save(revision);
    if (kept) kept = save(std::move(next));
    if (!kept) {
        forget(revision.number);
        return tl::make_unexpected(kept.error());
    }
    last_ = revision.number;
    revisions_[last_] = std::move(revision);
    prune();
    return last_;
}

void History::forget(uint64_t number) {
    std::error_code ignored;
    for (const char* kind : {"toml", "json"}) fs::remove(file_of(number, kind), ignored);
    revisions_.erase(number);
}

Result<void> History::confirm() {
    State next = state();
    next.current = next.pending->revision;
    next.pending.reset();
    Revision& revision = revisions_.at(next.current);
    if (auto saved = save(std::move(next)); !saved) return saved;
    revision.result = "confirmed";
    if (auto told = save(revision); !told)  // it is, whatever its own file says
        spdlog::warn("configuration: {}", told.error().message);
    return {};
}

Result<void> History::roll_back(const std::string& why) {
    State next = state();
    const uint64_t number = next.pending->revision;
    next.pending.reset();
    const auto saved = save(std::move(next));
    pending_.reset();  // its mark may be on the disk still: then the next start rolls back again
    const auto found = revisions_.find(number);
    if (found == revisions_.end()) return saved;
    found->second.result = "rolled back";
    found->second.why = why;
    const auto told = save(found->second);
    return saved ? told : saved;
}

Result<std::string> History::text(uint64_t number) const {
    if (!revisions_.contains(number))
        return fail("there is no revision {}; 'keyrail config history' lists them", number);
    return read_file(file_of(number, "toml"), kMaxText);
}

bool History::has_seen(const fs::path& file, const std::string& sha256) const {
    return seen_file_ == plain(file) && seen_sha256_ == sha256;
}

Result<void> History::see(const fs::path& file, const std::string& sha256) {
    if (has_seen(file, sha256)) return {};
    State next = state();
    next.seen_file = plain(file);
    next.seen_sha256 = sha256;
    return save(std::move(next));
}

Result<void> History::save(State next) {
    json pending = nullptr;
    if (next.pending) pending = {{"revision", next.pending->revision}, {"until_ms", next.pending->until_ms}};
    const json all = {{"current", next.current},
                      {"pending", pending},
                      {"seen", {{"file", next.seen_file}, {"sha256", next.seen_sha256}}}};
    if (auto saved = replace_file(dir_ / "state.json", file_text(all), 0600); !saved) return saved;
    current_ = next.current;
    pending_ = next.pending;
    seen_file_ = std::move(next.seen_file);
    seen_sha256_ = std::move(next.seen_sha256);
    return {};
}

Result<void> History::save(const Revision& revision) const {
    return replace_file(file_of(revision.number, "json"), file_text(revision_json(revision)), 0600);
}

/// The oldest go; never what a restart or a roll-back needs.
void History::prune() {
    for (auto oldest = revisions_.begin(); revisions_.size() > kKept && oldest != revisions_.end();) {
        const uint64_t number = oldest->first;
        ++oldest;
        if (number != current_ && number != in_force()) forget(number);
    }
}

}  // namespace keyrail
