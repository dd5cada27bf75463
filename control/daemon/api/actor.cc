// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/actor.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr size_t kRecord = 16384;  // a line of passwd or group; longer ones count as none

std::optional<gid_t> group_id(const char* name) {
    std::array<char, kRecord> buffer{};
    group entry{};
    group* found = nullptr;
    if (::getgrnam_r(name, &entry, buffer.data(), buffer.size(), &found) != 0 || !found) return std::nullopt;
    return found->gr_gid;
}

std::string user_name(uid_t uid) {
    std::array<char, kRecord> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found) return found->pw_name;
    return fmt::format("uid {}", uid);
}

/// All its groups, as they were when it connected.
std::vector<gid_t> groups_of(int socket, gid_t first) {
    constexpr size_t kMost = 65536;  // NGROUPS_MAX
    std::vector<gid_t> groups(64);
    for (;;) {
        socklen_t size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
        const int got = ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
        if (got == 0) groups.resize(size / sizeof(gid_t));
        if (got == 0) break;
        if (errno != ERANGE || groups.size() >= kMost) return {first};
        groups.resize(std::max(groups.size() * 2, size / sizeof(gid_t)));
    }
    groups.push_back(first);
    return groups;
}

Role role_of(const ucred& peer, int socket) {
    if (peer.uid == 0 || peer.uid == ::geteuid()) return Role::admin;
    const std::vector<gid_t> groups = groups_of(socket, peer.gid);
    const auto is_in = [&](const char* name) {
        const auto id = group_id(name);
        return id && std::ranges::find(groups, *id) != groups.end();
    };
    if (is_in(kAdminGroup)) return Role::admin;
    return is_in(kReadGroup) ? Role::read : Role::none;
}

}  // namespace

Result<Actor> actor_of(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return fail("cannot see who asks: {}", std::strerror(errno));
    return Actor{user_name(peer.uid), peer.uid, role_of(peer, socket)};
}

Result<void> open_to_group(const fs::path& run_dir, const fs::path& socket) {
    const auto group = group_id(kReadGroup);
    if (!group) return {};
    const uid_t same = static_cast<uid_t>(-1);
    struct stat dir{}, file{};
    if (::stat(run_dir.c_str(), &dir) != 0 || ::stat(socket.c_str(), &file) != 0)
        return fail("{}: {}", socket.string(), std::strerror(errno));
    // Only what is not so yet: the folder may be everybody's (/run), and systemd lets keyraild change no
    // owner.
    const bool of_group = dir.st_gid == *group && (dir.st_mode & S_IXGRP) != 0;
    const bool reachable = of_group || (dir.st_mode & S_IXOTH) != 0;
    // The folder may be entered by the group and listed by nobody else: what else is in it is its owner's.
    if (!reachable && (::chown(run_dir.c_str(), same, *group) != 0 || ::chmod(run_dir.c_str(), 0750) != 0))
        return fail("{}: cannot be opened to group {}: {}", run_dir.string(), kReadGroup,
                    std::strerror(errno));
    const bool owned = file.st_gid == *group || ::chown(socket.c_str(), same, *group) == 0;
    if (!owned || ::chmod(socket.c_str(), 0660) != 0)
        return fail("{}: cannot be opened to group {}: {}", socket.string(), kReadGroup,
                    std::strerror(errno));
    return {};
}

}  // namespace keyrail
