// SPDX-License-Identifier: Apache-2.0
// Makes, finds, attaches and replaces the store's memory, and keeps the file that names it.
#include <fcntl.h>
#include <grp.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "control/store/store_shard.h"

namespace keyrail {

using layout::StoreHeader;
using layout::StoreReference;

namespace {

// Plain strings, not fmt: the hook library, which carries this file into other people's servers, links
// nothing else.
tl::unexpected<Error> broken(const std::string& path, const std::string& what) {
    return tl::make_unexpected(Error{"store " + path + ": " + what});
}
tl::unexpected<Error> broken(const std::string& path, const std::string& what, int error) {
    return broken(path, what + ": " + std::strerror(error));
}

class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

/// Makes the directory when it is missing; refuses one in which somebody else could swap the file.
Result<void> prepare_directory(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
        return broken(path, "mkdir " + directory, errno);
    struct stat st{};
    if (::stat(directory.c_str(), &st) != 0) return broken(path, "stat " + directory, errno);
    if (st.st_uid != geteuid() || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
        return broken(path, "directory " + directory +
                                " must belong to the agent's user and not be writable by others");
    return {};
}

/// The agent's file, locked, so that there is no second agent. A file of another kind (a store of a release
/// that kept it in a file, which servers may still have mapped) makes room for a new one.
Result<Descriptor> lock_file(const std::string& path) {
    for (int attempt = 0; attempt < 2; attempt++) {
        Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (fd.get() < 0) return broken(path, "open", errno);
        if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
            return broken(path, "another agent uses it; stop that one first, or give this one its own store");
        struct stat st{};
        if (fstat(fd.get(), &st) != 0) return broken(path, "stat", errno);
        if (st.st_uid == geteuid() && st.st_size <= static_cast<off_t>(sizeof(StoreReference))) return fd;
        if (unlink(path.c_str()) != 0) return broken(path, "unlink", errno);
    }
    return broken(path, "somebody else puts files there");
}

Result<gid_t> group_of(const std::string& path, const std::string& name) {
    if (name.empty()) return static_cast<gid_t>(-1);
    const struct group* entry = getgrnam(name.c_str());
    if (entry == nullptr) return broken(path, "no such group '" + name + "' (server_group)");
    return entry->gr_gid;
}

/// Who may read which store it is.
Result<void> share_file(const std::string& path, int fd, gid_t group) {
    const bool shared = group != static_cast<gid_t>(-1);
    if (shared && fchown(fd, static_cast<uid_t>(-1), group) != 0) return broken(path, "chown", errno);
    if (fchmod(fd, shared ? 0640 : 0600) != 0) return broken(path, "chmod", errno);
    return {};
}

Result<void> share_memory(const std::string& path, int shmid, gid_t group) {
    shmid_ds status{};
    if (shmctl(shmid, IPC_STAT, &status) != 0) return broken(path, "shmctl", errno);
    const bool shared = group != static_cast<gid_t>(-1);
    if (shared) status.shm_perm.gid = group;
    status.shm_perm.mode = shared ? 0660 : 0600;
    if (shmctl(shmid, IPC_SET, &status) != 0) return broken(path, "shmctl", errno);
    return {};
}

Result<StoreReference> read_reference(const std::string& path, int fd) {
    StoreReference reference{};
    if (pread(fd, &reference, sizeof reference, 0) != sizeof reference ||
        reference.magic != layout::kReferenceMagic)
        return broken(path, "has another layout; agent and hook library must be of the same release");
    return reference;
}

}  // namespace

/// Attached memory that becomes a Store, or is let go of.
class StoreMaker {
  public:
    /// Fresh memory, all zeroes and really there: no SIGBUS in a web server later.
    static Result<StoreMaker> allocate(const std::string& path, uint64_t size, std::string* warning);
    /// What `reference` names, if `owner` made it, it is that store, and it is of this layout or
    /// `any_layout`.
    static Result<StoreMaker> attach(const std::string& path, const StoreReference& reference, uid_t owner,
                                     bool any_layout = false);

    StoreMaker(StoreMaker&& other) noexcept
        : shmid_(other.shmid_),
          base_(std::exchange(other.base_, nullptr)),
          size_(other.size_),
          owner_(other.owner_) {}
    StoreMaker(const StoreMaker&) = delete;
    StoreMaker& operator=(const StoreMaker&) = delete;
    ~StoreMaker() {
        if (base_ != nullptr) shmdt(base_);
    }

    [[nodiscard]] StoreHeader& header() const { return *reinterpret_cast<StoreHeader*>(base_); }
    [[nodiscard]] int shmid() const { return shmid_; }
    [[nodiscard]] uint64_t size() const { return size_; }
    [[nodiscard]] bool this_layout() const {
        return header().version == layout::kVersion && header().chunk_size == layout::kChunkSize;
    }
    Store finish();
    /// A new store that the agent's file names from now on, and that has what was in the one `before`.
    static Result<Store> make(const std::string& path, int file, uint64_t size, gid_t group,
                              StoreMaker* before, std::string* warning);

  private:
    Result<void> format(const std::string& path);

    StoreMaker(int shmid, uint8_t* base, uint64_t size, uid_t owner)
        : shmid_(shmid), base_(base), size_(size), owner_(owner) {
        madvise(base, size, MADV_DONTDUMP);
    }

    int shmid_;
    uint8_t* base_;
    uint64_t size_;
    uid_t owner_;
};

Result<StoreMaker> StoreMaker::allocate(const std::string& path, uint64_t size, std::string* warning) {
    const int shmid = shmget(IPC_PRIVATE, size, IPC_CREAT | IPC_EXCL | 0600);
    const std::string what = "allocate " + std::to_string(size >> 20) + " MB";
    if (shmid < 0) return broken(path, what, errno);
    void* const base = shmat(shmid, nullptr, 0);
    const int why = errno;
    // From now on it lives as long as a process has it: those that know its number can still attach it.
    shmctl(shmid, IPC_RMID, nullptr);
    if (base == reinterpret_cast<void*>(-1)) return broken(path, what, why);
    if (shmctl(shmid, SHM_LOCK, nullptr) != 0 && warning != nullptr)
        *warning = "store " + path + ": pages cannot be locked (" + std::strerror(errno) +
                   "): keys could be swapped to a disk; raise RLIMIT_MEMLOCK or turn swap off";
    std::memset(base, 0, size);
    return StoreMaker(shmid, static_cast<uint8_t*>(base), size, geteuid());
}

Result<StoreMaker> StoreMaker::attach(const std::string& path, const StoreReference& reference, uid_t owner,
                                      bool any_layout) {
    shmid_ds status{};
    if (shmctl(reference.shmid, IPC_STAT, &status) != 0)
        return broken(path, errno == EINVAL || errno == EIDRM
                                ? "is gone: no agent has it, or in another IPC namespace"
                                : std::string("shared memory: ") + std::strerror(errno));
    if (status.shm_perm.cuid != owner || status.shm_segsz != reference.size ||
        reference.size < layout::kMinimumSize || reference.size > layout::kMaximumSize)
        return broken(path, "names shared memory that is no store");
    void* const base = shmat(reference.shmid, nullptr, 0);
    if (base == reinterpret_cast<void*>(-1)) return broken(path, "shmat", errno);
    StoreMaker found(reference.shmid, static_cast<uint8_t*>(base), reference.size, owner);
    const StoreHeader& header = found.header();
    if (header.magic != layout::kMagic || header.token != reference.token)
        return broken(path, "names shared memory that is no store");
    if (!any_layout && !found.this_layout())
        return broken(path, "has another layout; agent and hook library must be of the same release");
    return found;
}

Result<void> StoreMaker::format(const std::string& path) {
    const auto geometry = layout::geometry_of(size_);
    for (uint32_t i = 0; i < geometry.shards; i++)
        Shard(base_ + layout::kHeaderSize + i * geometry.shard_bytes, geometry).format();
    StoreHeader& fresh = header();
    fresh.version = layout::kVersion;
    fresh.chunk_size = layout::kChunkSize;
    fresh.size = size_;
    if (getrandom(fresh.token.data(), fresh.token.size(), 0) != static_cast<ssize_t>(fresh.token.size()))
        return broken(path, "getrandom", errno);
    // Another number than a store had that it does not take over from.
    fresh.purges.store(uint32_t{fresh.token[0]} << 24 | uint32_t{fresh.token[1]} << 16);
    fresh.magic = layout::kMagic;
    return {};
}

Store StoreMaker::finish() {
    Store store;
    store.base_ = std::exchange(base_, nullptr);
    store.size_ = size_;
    store.geometry_ = layout::geometry_of(size_);
    store.token_ = reinterpret_cast<StoreHeader*>(store.base_)->token;
    store.owner_ = owner_;
    return store;
}

Result<Store> StoreMaker::make(const std::string& path, int file, uint64_t size, gid_t group,
                               StoreMaker* before, std::string* warning) {
    auto maker = allocate(path, size, warning);
    if (!maker) return tl::make_unexpected(maker.error());
    auto ready = maker->format(path);
    if (ready) ready = share_memory(path, maker->shmid(), group);
    if (!ready) return tl::make_unexpected(ready.error());
    const StoreReference reference{layout::kReferenceMagic, maker->shmid(), 0, size, maker->header().token};
    if (pwrite(file, &reference, sizeof reference, 0) != sizeof reference)
        return broken(path, "write", errno);
    Store fresh = maker->finish();
    if (before == nullptr) return fresh;
    StoreHeader& old = before->header();
    old.successor_token = reference.token;
    old.successor.store(reference.shmid, std::memory_order_relaxed);
    old.retired.store(1, std::memory_order_release);
    Store::Replaced news{before->size(), before->this_layout(), 0, 0, 0};
    if (news.readable) before->finish().hand_over(fresh, news);
    fresh.replaced_ = news;
    return fresh;
}

Result<Store> Store::create(const std::string& path, uint64_t size_bytes, const std::string& group,
                            std::string* warning) {
    if (size_bytes < layout::kMinimumSize || size_bytes > layout::kMaximumSize)
        return broken(path, "store_size_mb must be 1 to 65536");
    if (auto ready = prepare_directory(path); !ready) return tl::make_unexpected(ready.error());
    const auto gid = group_of(path, group);
    if (!gid) return tl::make_unexpected(gid.error());
    auto file = lock_file(path);
    if (!file) return tl::make_unexpected(file.error());
    if (auto shared = share_file(path, file->get(), *gid); !shared)
        return tl::make_unexpected(shared.error());

    const auto named = read_reference(path, file->get());
    auto before = named ? StoreMaker::attach(path, *named, geteuid(), true)
                        : Result<StoreMaker>(tl::make_unexpected(named.error()));
    Result<Store> store = tl::make_unexpected(Error{});
    if (before && before->this_layout() && before->size() == size_bytes) {
        if (auto shared = share_memory(path, before->shmid(), *gid); !shared)
            return tl::make_unexpected(shared.error());
        store = before->finish();
    } else {
        store = StoreMaker::make(path, file->get(), size_bytes, *gid, before ? &*before : nullptr, warning);
    }
    if (store) store->lock_fd_ = file->release();
    return store;
}

Result<void> Store::renew(const std::string& path, const std::string& group) {
    const auto gid = group_of(path, group);
    if (!gid) return tl::make_unexpected(gid.error());
    const auto named = read_reference(path, lock_fd_);
    auto before = named ? StoreMaker::attach(path, *named, owner_)
                        : Result<StoreMaker>(tl::make_unexpected(named.error()));
    auto store = StoreMaker::make(path, lock_fd_, size_, *gid, before ? &*before : nullptr, nullptr);
    if (!store) return tl::make_unexpected(store.error());
    store->lock_fd_ = std::exchange(lock_fd_, -1);
    *this = std::move(*store);
    return {};
}

Result<Store> Store::open(const std::string& path) {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd.get() < 0) return broken(path, "open", errno);
    struct stat st{};
    if (fstat(fd.get(), &st) != 0) return broken(path, "stat", errno);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 022) != 0) return broken(path, "is not the file of an agent");
    const auto reference = read_reference(path, fd.get());
    if (!reference) return tl::make_unexpected(reference.error());
    auto maker = StoreMaker::attach(path, *reference, st.st_uid);
    if (!maker) return tl::make_unexpected(maker.error());
    return maker->finish();
}

Result<Store> Store::successor() const {
    const auto& header = *reinterpret_cast<const StoreHeader*>(base_);
    const int shmid = header.successor.load(std::memory_order_relaxed);
    shmid_ds status{};
    if (shmctl(shmid, IPC_STAT, &status) != 0) return broken("successor", "shmctl", errno);
    auto maker = StoreMaker::attach(
        "successor", {layout::kReferenceMagic, shmid, 0, status.shm_segsz, header.successor_token}, owner_);
    if (!maker) return tl::make_unexpected(maker.error());
    return maker->finish();
}

Store::Store(Store&& other) noexcept { *this = std::move(other); }

Store& Store::operator=(Store&& other) noexcept {
    if (this == &other) return *this;
    detach();
    base_ = std::exchange(other.base_, nullptr);
    lock_fd_ = std::exchange(other.lock_fd_, -1);
    size_ = other.size_;
    geometry_ = other.geometry_;
    token_ = other.token_;
    owner_ = other.owner_;
    replaced_ = other.replaced_;
    sweep_next_ = other.sweep_next_;
    return *this;
}

Store::~Store() { detach(); }

void Store::detach() {
    if (base_ != nullptr) shmdt(base_);
    if (lock_fd_ >= 0) close(lock_fd_);
    base_ = nullptr;
    lock_fd_ = -1;
}

}  // namespace keyrail
