// SPDX-License-Identifier: Apache-2.0
// The configurations that were in force: each a revision, its text in DIR/N.toml and what is known of it in
// DIR/N.json; DIR/state.json says which one counts. All are replaced whole and synced, so a crash or a power
// cut leaves the state before or after a step, never one between: a revision that waits for its confirmation
// is not the current one, and whoever starts goes by the current one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "dataplane/common/result.h"

namespace keyrail {

struct Revision {
    uint64_t number = 0;
    uint64_t unix_ms = 0;
    std::string actor;    // who applied it
    std::string from;     // "apply", "reload", "rollback", "start"
    std::string message;  // the operator's own
    std::string file;     // where its text came from; paths in it are relative to that folder
    std::string sha256;   // of its text
    std::string result;   // "pending", "confirmed", "applied", "rolled back"
    std::string why;      // of the roll-back
};

class History {
  public:
    static constexpr size_t kKept = 50;
    static constexpr size_t kMaxText = size_t{1} << 20;

    explicit History(std::filesystem::path dir) : dir_(std::move(dir)) {}

    /// Reads what is there. A revision that was pending is rolled back: nobody confirmed it.
    Result<void> load();

    enum class Source : uint8_t { own_file, elsewhere };
    /// Everything of it on the disk, before it is in force. `until_ms`: it is pending until then; without, it
    /// is the current one from now on. Of keyraild's own file it is remembered that it was seen so. Says its
    /// number.
    Result<uint64_t> begin(Revision revision, const std::string& text, std::optional<uint64_t> until_ms,
                           Source source = Source::elsewhere);
    Result<void> confirm();
    Result<void> roll_back(const std::string& why);

    struct Pending {
        uint64_t revision = 0, until_ms = 0;
    };
    /// What a restart comes up on; 0: there is none.
    [[nodiscard]] uint64_t current() const { return current_; }
    [[nodiscard]] const std::optional<Pending>& pending() const { return pending_; }
    /// What is in force: the pending one, else the current one.
    [[nodiscard]] uint64_t in_force() const { return pending_ ? pending_->revision : current_; }
    [[nodiscard]] const std::map<uint64_t, Revision>& revisions() const { return revisions_; }
    [[nodiscard]] Result<std::string> text(uint64_t number) const;
    /// What load() has rolled back; 0: nothing.
    [[nodiscard]] uint64_t rolled_back_at_start() const { return rolled_back_at_start_; }

    /// keyraild's own file as it was when it was looked at last: a restart takes it only if it has changed
    /// since.
    [[nodiscard]] bool has_seen(const std::filesystem::path& file, const std::string& sha256) const;
    Result<void> see(const std::filesystem::path& file, const std::string& sha256);

  private:
    struct State {
        uint64_t current = 0;
        std::optional<Pending> pending;
        std::string seen_file, seen_sha256;
    };
    [[nodiscard]] State state() const { return {current_, pending_, seen_file_, seen_sha256_}; }
    Result<void> save(State state);
    Result<void> save(const Revision& revision) const;
    Result<void> read_revisions();
    void forget(uint64_t number);
    void prune();
    [[nodiscard]] std::filesystem::path file_of(uint64_t number, const char* kind) const;

    std::filesystem::path dir_;
    std::map<uint64_t, Revision> revisions_;
    uint64_t current_ = 0, last_ = 0, rolled_back_at_start_ = 0;
    std::optional<Pending> pending_;
    std::string seen_file_, seen_sha256_;
};

/// As it stands in its file, and in the API.
nlohmann::json revision_json(const Revision& revision);
/// In hex.
std::string sha256_of(const std::string& text);

}  // namespace keyrail
