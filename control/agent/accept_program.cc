// SPDX-License-Identifier: Apache-2.0
#include "control/agent/accept_program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>
#include <net/if.h>
#include <openssl/crypto.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <utility>

#include "control/accept/accept_object.h"

namespace keyrail {

namespace {

namespace fs = std::filesystem;

// Linux 6.6; Debian 12's headers do not have it.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr const char* kLinkPin = "accept_link";
constexpr std::array<const char*, 4> kMapPins = {"cookie_keys", "cookie_clock", "services", "accept_stats"};

/// What libbpf has to say while a program is loaded: the end of it explains a failure.
thread_local std::string libbpf_words;

__attribute__((format(printf, 2, 0))) int keep_words(libbpf_print_level level, const char* format,
                                                     va_list values) {
    if (level == LIBBPF_DEBUG) return 0;
    std::array<char, 2048> line{};
    const int size = vsnprintf(line.data(), line.size(), format, values);
    constexpr size_t kMax = 600;
    libbpf_words += line.data();
    if (libbpf_words.size() > kMax) libbpf_words.erase(0, libbpf_words.size() - kMax);
    return size;
}

class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_;
};

bool is_bpffs(const fs::path& path) {
    struct statfs found{};
    return statfs(path.c_str(), &found) == 0 && found.f_type == BPF_FS_MAGIC;
}

Result<void> mount_bpffs(const fs::path& at) {
    if (mount("bpf", at.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
        return fail("mounting a bpf file system at {}: {}; is the agent root?", at.string(),
                    std::strerror(errno));
    return {};
}

/// /sys/fs/bpf takes no folders until a bpffs is mounted there.
Result<void> prepare_bpffs(const fs::path& folder) {
    const fs::path system = "/sys/fs/bpf";
    const bool below =
        std::mismatch(system.begin(), system.end(), folder.begin(), folder.end()).first == system.end();
    if (below && !is_bpffs(system)) {
        if (auto mounted = mount_bpffs(system); !mounted) return mounted;
    }
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return fail("making {}: {}", folder.string(), error.message());
    return is_bpffs(folder) ? Result<void>{} : mount_bpffs(folder);
}

void remove_pins(const fs::path& folder) {
    std::error_code ignored;
    for (const char* name : kMapPins) fs::remove(folder / name, ignored);
}

struct Closer {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Program = std::unique_ptr<bpf_object, Closer>;

/// Loads the program; maps that are pinned are taken over.
Result<Program> load(const fs::path& folder) {
    libbpf_words.clear();
    Program program(bpf_object__open_mem(kAcceptObject.data(), kAcceptObject.size(), nullptr));
    if (!program) return fail("the accept program cannot be opened: {}", libbpf_words);
    for (const char* name : kMapPins) {
        bpf_map* map = bpf_object__find_map_by_name(program.get(), name);
        if (map == nullptr || bpf_map__set_pin_path(map, (folder / name).c_str()) != 0)
            return fail("the accept program has no map {} that could be pinned", name);
    }
    if (const int status = bpf_object__load(program.get()); status != 0)
        return fail("the kernel does not take the accept program ({}): {}", std::strerror(-status),
                    libbpf_words);
    return program;
}

/// Where a link is attached; 0: nowhere any more.
uint32_t interface_of(int link) {
    bpf_link_info info{};
    uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(link, &info, &size) != 0) return 0;
    return info.xdp.ifindex;  // tcx.ifindex lies at the same place; this header does not know tcx
}

/// The link of an agent before us, with the new program in it; empty when there is none for this interface.
Descriptor take_over(const fs::path& pin, uint32_t interface, int program) {
    Descriptor link(bpf_obj_get(pin.c_str()));
    if (!link) return link;
    if (interface_of(link.get()) == interface && bpf_link_update(link.get(), program, nullptr) == 0)
        return link;
    std::error_code ignored;
    fs::remove(pin, ignored);
    return Descriptor();
}

Result<Descriptor> attach_link(const fs::path& pin, const std::string& interface, int program) {
    const uint32_t index = if_nametoindex(interface.c_str());
    if (index == 0)
        return fail("there is no network interface '{}'; see 'ip link' and the agent's configuration",
                    interface);
    if (Descriptor old = take_over(pin, index, program)) return old;
    Descriptor link(bpf_link_create(program, static_cast<int>(index), kTcxIngress, nullptr));
    if (!link) return fail("attaching the accept program to {}: {}", interface, std::strerror(errno));
    if (bpf_obj_pin(link.get(), pin.c_str()) != 0)
        return fail("pinning the accept program at {}: {}", pin.string(), std::strerror(errno));
    return link;
}

kr_accept_service key_of(const HostPort& service) {
    kr_accept_service key{};
    std::memcpy(key.address, service.address.mapped().data(), sizeof key.address);
    key.port = service.port;
    return key;
}

struct ByBytes {
    bool operator()(const kr_accept_service& a, const kr_accept_service& b) const {
        return std::memcmp(&a, &b, sizeof a) < 0;
    }
};

}  // namespace

struct AcceptProgram::Impl {
    Program program;
    Descriptor link;
    uint32_t interface = 0;
    [[nodiscard]] int map(const char* name) const {
        return bpf_object__find_map_fd_by_name(program.get(), name);
    }
};

AcceptProgram::AcceptProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AcceptProgram::AcceptProgram(AcceptProgram&&) noexcept = default;
AcceptProgram& AcceptProgram::operator=(AcceptProgram&&) noexcept = default;
AcceptProgram::~AcceptProgram() = default;

Result<AcceptProgram> AcceptProgram::attach(const std::string& interface, const fs::path& bpffs) {
    libbpf_set_print(keep_words);
    if (auto ready = prepare_bpffs(bpffs); !ready) return tl::make_unexpected(ready.error());
    auto program = load(bpffs);
    if (!program) {  // maps of another release: start with fresh ones; keyraild sends what belongs in them
        remove_pins(bpffs);
        program = load(bpffs);
    }
    if (!program) return tl::make_unexpected(program.error());
    const int fd = bpf_program__fd(bpf_object__find_program_by_name(program->get(), "keyrail_accept"));
    auto link = attach_link(bpffs / kLinkPin, interface, fd);
    if (!link) return tl::make_unexpected(link.error());
    return AcceptProgram(std::make_unique<Impl>(
        Impl{std::move(*program), std::move(*link), if_nametoindex(interface.c_str())}));
}

Result<void> AcceptProgram::detach(const fs::path& bpffs) {
    std::error_code error;
    fs::remove(bpffs / kLinkPin, error);
    if (error) return fail("removing {}: {}", (bpffs / kLinkPin).string(), error.message());
    remove_pins(bpffs);
    return {};
}

Result<void> AcceptProgram::set_keys(const Keys& keys) {
    const int map = impl_->map("cookie_keys");
    for (uint32_t id = 0; id < keys.size(); id++) {
        kr_accept_key value{};
        if (keys[id]) {
            std::memcpy(&value.key, keys[id]->data(), sizeof value.key);
            value.set = 1;
        }
        const int status = bpf_map_update_elem(map, &id, &value, BPF_ANY);
        OPENSSL_cleanse(&value, sizeof value);
        if (status != 0) return fail("cookie key {}: {}", id, std::strerror(errno));
    }
    return {};
}

Result<void> AcceptProgram::set_clock(std::chrono::milliseconds ahead) {
    const uint32_t zero = 0;
    const kr_accept_clock value{.ahead_ms = ahead.count(), .set = 1, .unused = 0};
    if (bpf_map_update_elem(impl_->map("cookie_clock"), &zero, &value, BPF_ANY) != 0)
        return fail("clock of the accept program: {}", std::strerror(errno));
    return {};
}

Result<void> AcceptProgram::set_services(const std::set<HostPort>& services) {
    const int map = impl_->map("services");
    std::set<kr_accept_service, ByBytes> wanted;
    for (const HostPort& service : services) wanted.insert(key_of(service));
    for (const kr_accept_service& key : wanted) {
        const kr_accept_guesses none{};
        if (bpf_map_update_elem(map, &key, &none, BPF_NOEXIST) != 0 && errno != EEXIST)
            return fail("services of the accept program: {} ({} of them; at most {})", std::strerror(errno),
                        wanted.size(), KR_ACCEPT_SERVICES);
    }
    std::vector<kr_accept_service> gone;
    std::optional<kr_accept_service> before;
    kr_accept_service key{};
    for (int i = 0;
         i <= KR_ACCEPT_SERVICES && bpf_map_get_next_key(map, before ? &*before : nullptr, &key) == 0; i++) {
        if (!wanted.contains(key)) gone.push_back(key);
        before = key;
    }
    for (const kr_accept_service& old : gone) bpf_map_delete_elem(map, &old);
    return {};
}

std::optional<std::pair<uint8_t, kr_cookie_key>> AcceptProgram::a_key() const {
    std::optional<std::pair<uint8_t, kr_cookie_key>> found;  // what is returned, not a copy that stays behind
    for (uint32_t id = 0; id < 2; id++) {
        kr_accept_key value{};
        if (bpf_map_lookup_elem(impl_->map("cookie_keys"), &id, &value) != 0 || value.set == 0) continue;
        found.emplace(static_cast<uint8_t>(id), value.key);
        OPENSSL_cleanse(&value, sizeof value);
        break;
    }
    return found;
}

uint32_t AcceptProgram::tai_ms() const {
    const uint32_t zero = 0;
    kr_accept_clock clock{};
    const bool told = bpf_map_lookup_elem(impl_->map("cookie_clock"), &zero, &clock) == 0 && clock.set != 0;
    timespec now{};
    clock_gettime(told ? CLOCK_BOOTTIME : CLOCK_TAI, &now);
    return static_cast<uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000 + (told ? clock.ahead_ms : 0));
}

Result<void> AcceptProgram::receive(std::span<const uint8_t> frame) const {
    const bpf_program* program = bpf_object__find_program_by_name(impl_->program.get(), "keyrail_receive");
    __sk_buff context{};
    context.cb[0] = impl_->interface;
    LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(),
                .data_size_in = static_cast<uint32_t>(frame.size()), .ctx_in = &context,
                .ctx_size_in = sizeof context, .repeat = 1);
    const int status = bpf_prog_test_run_opts(bpf_program__fd(program), &run);
    if (status != 0) return fail("BPF_PROG_RUN: {}", std::strerror(-status));
    if (run.retval != 0) return fail("the interface does not take a packet; is it up?");
    return {};
}

AcceptProgram::Counters AcceptProgram::counters() const {
    Counters sums{};
    const int map = impl_->map("accept_stats");
    std::vector<uint64_t> per_cpu(static_cast<size_t>(std::max(1, libbpf_num_possible_cpus())));
    for (uint32_t reason = 0; reason < sums.size(); reason++) {
        if (bpf_map_lookup_elem(map, &reason, per_cpu.data()) != 0) continue;
        for (const uint64_t count : per_cpu) sums[reason] += count;
    }
    return sums;
}

}  // namespace keyrail
