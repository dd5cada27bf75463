// SPDX-License-Identifier: Apache-2.0
#include "control/agent/idle_closer.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

namespace keyrail {

namespace {

bool is_idle(const inet_diag_msg& socket, const tcp_info* info) {
    return info && socket.idiag_rqueue == 0 && socket.idiag_wqueue == 0 && info->tcpi_unacked == 0 &&
           info->tcpi_last_data_recv >= kIdle.count() && info->tcpi_last_data_sent >= kIdle.count();
}

/// IPv4 clients of an IPv6 socket have IPv4 addresses written as IPv6 ones (RFC 4291 section 2.5.5.2).
HostPort plain(const HostPort& local) { return {local.address.unmapped(), local.port}; }

/// Calls `use` with the names in a folder; does nothing when it is gone.
void each_entry(const std::string& folder, const std::function<void(const char* name)>& use) {
    DIR* directory = opendir(folder.c_str());
    if (!directory) return;
    while (const dirent* entry = readdir(directory))
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') use(entry->d_name);
    closedir(directory);
}

/// The inode of the socket behind a link of /proc/PID/fd; 0: something else.
uint64_t socket_inode(const std::string& link) {
    char target[64];
    const ssize_t size = readlink(link.c_str(), target, sizeof target - 1);
    if (size <= 0) return 0;
    target[size] = '\0';
    constexpr char kSocket[] = "socket:[";
    return std::strncmp(target, kSocket, sizeof kSocket - 1) == 0
               ? std::strtoull(target + sizeof kSocket - 1, nullptr, 10)
               : 0;
}

/// Ends what the owner of the socket reads. The number may be another file by now: looked at again.
bool end_reading(int process, int number, uint64_t inode) {
    const auto fd = static_cast<int>(syscall(SYS_pidfd_getfd, process, number, 0));
    if (fd < 0) return false;
    struct stat file{};
    const bool ended = fstat(fd, &file) == 0 && file.st_ino == inode && shutdown(fd, SHUT_RD) == 0;
    close(fd);
    return ended;
}

/// Ends those of the sockets that this process has; takes them out of the set.
size_t end_those_of(const char* pid, std::set<uint64_t>& inodes) {
    const std::string folder = std::string("/proc/") + pid + "/fd";
    int process = -1;
    size_t ended = 0;
    each_entry(folder, [&](const char* number) {
        const uint64_t inode = socket_inode(folder + "/" + number);
        if (!inodes.contains(inode)) return;
        if (process < 0) process = static_cast<int>(syscall(SYS_pidfd_open, std::atoi(pid), 0));
        if (process < 0 || !end_reading(process, std::atoi(number), inode)) return;
        inodes.erase(inode);
        ended++;
    });
    if (process >= 0) close(process);
    return ended;
}

}  // namespace

size_t close_idle(SockDiag& sockets, const std::set<HostPort>& services) {
    std::set<uint64_t> inodes;
    sockets.dump(SockDiag::kEstablished, true,
                 [&](const inet_diag_msg& socket, const SockDiag::Details& details) {
                     if (inodes.size() < kCloseAtOnce && is_idle(socket, details.info) &&
                         services.contains(plain(local_of(socket))))
                         inodes.insert(socket.idiag_inode);
                 });
    inodes.erase(0);  // no process has it any more
    size_t ended = 0;
    if (!inodes.empty()) each_entry("/proc", [&](const char* pid) { ended += end_those_of(pid, inodes); });
    return ended;
}

}  // namespace keyrail
