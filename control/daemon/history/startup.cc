// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/history/startup.h"

#include <fmt/ranges.h>

#include <chrono>

#include "control/protocol/file.h"
#include "control/protocol/toml_table.h"
#include "control/protocol/unix_socket.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

/// Where the file says that state is kept, although something else is wrong with it; empty: it does not say.
fs::path state_dir_in(const fs::path& file) {
    ConfigErrors ignored(file);
    const auto table = parse_toml(file, ignored);
    if (!table) return {};
    const auto dir = (*table)["chassis"]["state_dir"].value<std::string>();
    return dir ? (fs::absolute(file).parent_path() / *dir).lexically_normal() : fs::path();
}

/// The revision that counts, when it can be used.
std::optional<Config> current_of(const History& history, std::vector<std::string>& remarks) {
    if (history.current() == 0) return std::nullopt;
    const auto text = history.text(history.current());
    if (!text) {
        remarks.push_back(
            fmt::format("revision {} cannot be read: {}", history.current(), text.error().message));
        return std::nullopt;
    }
    auto config = check_config_text(*text, history.revisions().at(history.current()).file);
    if (config) return std::move(*config);
    remarks.push_back(fmt::format("revision {} cannot be used any more:\n{}", history.current(),
                                  fmt::join(config.error(), "\n")));
    return std::nullopt;
}

Result<void> record(History& history, const Config& config) {
    const std::string sum = sha256_of(config.text);
    const auto current = history.revisions().find(history.current());
    const bool known = current != history.revisions().end() && current->second.sha256 == sum &&
                       current->second.file == config.file.string();
    if (!known) {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        Revision revision;
        revision.unix_ms =
            static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
        revision.actor = "keyraild";
        revision.from = "start";
        revision.file = config.file.string();
        const auto begun =
            history.begin(std::move(revision), config.text, std::nullopt, History::Source::own_file);
        if (!begun) return tl::make_unexpected(begun.error());
    }
    return history.see(config.file, sum);
}

}  // namespace

Result<Startup> choose_configuration(const fs::path& given) {
    const fs::path file = fs::absolute(given).lexically_normal();
    auto own = check_config(file);
    const fs::path state_dir = own ? own->state_dir : state_dir_in(file);
    std::error_code error;
    if (!own && (state_dir.empty() || !fs::is_directory(state_dir / "history", error)))
        return fail("{}", fmt::join(own.error(), "\n"));
    const fs::path socket = own ? own->run_dir / "keyraild.sock" : fs::path();
    if (own && try_unix_socket(socket) == 0)  // the history is its own
        return fail("{}: another keyraild listens there already; stop it first", socket.string());
    if (auto made = make_directory(state_dir, 0700); !made) return tl::make_unexpected(made.error());
    History history(state_dir / "history");
    if (auto loaded = history.load(); !loaded) return tl::make_unexpected(loaded.error());
    std::vector<std::string> remarks;
    if (const uint64_t tried = history.rolled_back_at_start())
        remarks.push_back(
            fmt::format("revision {} was never confirmed: rolled back to {}", tried, history.current()));
    const bool changed = own && !history.has_seen(file, sha256_of(own->text));
    auto current = changed ? std::nullopt : current_of(history, remarks);
    if (!current && !own) return fail("{}", fmt::join(own.error(), "\n"));
    if (!current) {
        if (auto recorded = record(history, *own); !recorded) return tl::make_unexpected(recorded.error());
        return Startup{std::move(*own), std::move(history), std::move(remarks)};
    }
    if (!own)
        remarks.push_back(fmt::format("{} is wrong, so revision {} goes on:\n{}", file.string(),
                                      history.current(), fmt::join(own.error(), "\n")));
    else if (own->text != current->text)
        remarks.push_back(
            fmt::format("revision {} is in force, and {} says something else; see 'keyrail config "
                        "diff {}'",
                        history.current(), file.string(), file.string()));
    const bool as_wanted = own && history.rolled_back_at_start() == 0;
    return Startup{std::move(*current), std::move(history), std::move(remarks), as_wanted};
}

}  // namespace keyrail
