// SPDX-License-Identifier: Apache-2.0
#include "control/agent/late_binding_trial.h"

#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "control/agent/accept_probe.h"

namespace keyrail {

namespace {

constexpr const char* kServer = "198.51.100.1";  // RFC 5737: nobody's, and here only
constexpr const char* kClient = "192.0.2.1";

Result<void> wrong(const char* what) { return fail("{}: {}", what, std::strerror(errno)); }

/// A namespace whose only interface is up, has the server's address, and takes packets from anywhere.
Result<void> make_network() {
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return wrong("a network namespace cannot be made");
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return wrong("mounts");
    for (const char* name : {"all", "lo"})
        std::ofstream(std::string("/proc/sys/net/ipv4/conf/") + name + "/rp_filter") << 0;
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    std::strcpy(request.ifr_name, "lo:1");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    std::memcpy(&address.sin_addr, parse_ip(kServer)->bytes.data(), 4);
    std::memcpy(&request.ifr_addr, &address, sizeof address);
    done = done && ioctl(fd, SIOCSIFADDR, &request) == 0;
    rtentry everywhere{};  // the kernel takes no connection that it could not answer
    everywhere.rt_dst.sa_family = everywhere.rt_genmask.sa_family = AF_INET;
    everywhere.rt_flags = RTF_UP;
    char device[] = "lo";
    everywhere.rt_dev = device;
    done = done && ioctl(fd, SIOCADDRT, &everywhere) == 0;
    auto made = done ? Result<void>{} : wrong("its loopback interface");
    if (fd >= 0) close(fd);
    return made;
}

/// Its port; the socket stays open until the process ends.
Result<uint16_t> listen_somewhere() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (fd < 0 || bind(fd, any, size) != 0 || listen(fd, 1) != 0 || getsockname(fd, any, &size) != 0)
        return tl::make_unexpected(wrong("a server").error());
    return ntohs(address.sin_port);
}

Result<void> try_in(const std::filesystem::path& bpffs) {
    if (auto made = make_network(); !made) return made;
    const auto port = listen_somewhere();
    if (!port) return tl::make_unexpected(port.error());
    auto program = AcceptProgram::attach("lo", bpffs);
    if (!program) return tl::make_unexpected(program.error());
    const HostPort server{*parse_ip(kServer), *port};
    std::array<uint8_t, 16> key{};
    if (RAND_bytes(key.data(), key.size()) != 1) return fail("no random bytes");
    auto set = program->set_keys({key, std::nullopt});
    if (set) set = program->set_services({server});
    OPENSSL_cleanse(key.data(), key.size());
    AcceptProbe probe("lo", *parse_ip(kClient));
    const auto outcome = set ? probe.probe(*program, server) : AcceptProbe::Outcome::unknown;
    (void)AcceptProgram::detach(bpffs);
    if (!set || outcome == AcceptProbe::Outcome::reached) return set;
    return fail("tried, and a server did not get the connection that the accept program was to give it ({})",
                outcome == AcceptProbe::Outcome::lost ? "accepted, and lost behind it" : "not accepted");
}

}  // namespace

Result<void> try_late_binding() {
    std::string folder = (std::filesystem::temp_directory_path() / "keyrail-check-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) return wrong(folder.c_str());
    auto tried = try_in(folder);
    umount(folder.c_str());
    std::error_code ignored;
    std::filesystem::remove(folder, ignored);
    return tried;
}

}  // namespace keyrail
