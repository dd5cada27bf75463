// SPDX-License-Identifier: Apache-2.0
// Makes, checks, maps and locks the store's file.
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "control/store/store_shard.h"

namespace keyrail {

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

/// tmpfs only: a store on a disk would leave keys there.
Result<void> check_memory_backed(const std::string& path, int fd) {
    struct statfs fs{};
    if (fstatfs(fd, &fs) != 0) return broken(path, "statfs", errno);
    if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC)
        return broken(path, "is not on tmpfs; keys must never reach a disk, put it under /dev/shm");
    return {};
}

/// Makes the directory when it is missing; refuses one in which somebody else could swap the file.
Result<void> prepare_directory(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
        return broken(path, "mkdir " + directory, errno);
    const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return broken(path, "open " + directory, errno);
    struct stat st{};
    if (fstat(fd.get(), &st) != 0) return broken(path, "stat " + directory, errno);
    if (st.st_uid != geteuid() || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
        return broken(path, "directory " + directory +
                                " must belong to the agent's user and not be writable by others");
    return check_memory_backed(path, fd.get());
}

/// Whether `size` bytes mapped at `base` hold a store of this layout.
bool fits(const uint8_t* base, uint64_t size) {
    const auto* header = reinterpret_cast<const layout::StoreHeader*>(base);
    return header->magic == layout::kMagic && header->version == layout::kVersion &&
           header->chunk_size == layout::kChunkSize && header->file_size == size;
}

Result<uint8_t*> map(const std::string& path, int fd, uint64_t size) {
    void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return broken(path, "mmap", errno);
    madvise(base, size, MADV_DONTDUMP);
    return static_cast<uint8_t*>(base);
}

Result<void> format(const std::string& path, uint8_t* base, uint64_t size) {
    const auto geometry = layout::geometry_of(size);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    int status = 0;
    for (uint32_t i = 0; i < geometry.shards && status == 0; i++) {
        Shard shard(base + layout::kHeaderSize + i * geometry.shard_bytes, geometry);
        status = pthread_mutex_init(&shard.header().mutex, &attributes);
        shard.format();
    }
    pthread_mutexattr_destroy(&attributes);
    if (status != 0) return broken(path, "process-shared robust mutexes", status);
    auto* header = reinterpret_cast<layout::StoreHeader*>(base);
    header->version = layout::kVersion;
    header->chunk_size = layout::kChunkSize;
    header->file_size = size;
    header->magic = layout::kMagic;
    return {};
}

Result<void> set_owner(const std::string& path, int fd, const std::string& group) {
    if (group.empty()) return {};
    const struct group* entry = getgrnam(group.c_str());
    if (entry == nullptr) return broken(path, "no such group '" + group + "' (server_group)");
    if (fchown(fd, static_cast<uid_t>(-1), entry->gr_gid) != 0) return broken(path, "chown", errno);
    if (fchmod(fd, 0660) != 0) return broken(path, "chmod", errno);
    return {};
}

struct Mapped {
    int fd;
    uint8_t* base;
};

/// An existing file of this layout and size, or nullopt when a new one must be made.
Result<std::optional<Mapped>> attach(const std::string& path, uint64_t size) {
    Descriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (fd.get() < 0) {
        if (errno == ENOENT) return std::nullopt;
        return broken(path, "open", errno);
    }
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
        return broken(path, "another agent uses it; stop that one first, or give this one its own store");
    struct stat st{};
    if (fstat(fd.get(), &st) != 0) return broken(path, "stat", errno);
    if (st.st_uid != geteuid() || static_cast<uint64_t>(st.st_size) != size) return std::nullopt;
    auto base = map(path, fd.get(), size);
    if (!base) return tl::make_unexpected(base.error());
    if (!fits(*base, size)) {
        munmap(*base, size);
        return std::nullopt;
    }
    return Mapped{fd.release(), *base};
}

/// A new store, put in place by rename: servers see the old one or the whole new one.
Result<Mapped> make(const std::string& path, uint64_t size, const std::string& group) {
    const std::string fresh = path + ".new";
    unlink(fresh.c_str());
    Descriptor fd(::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return broken(fresh, "create", errno);
    const auto give_up = [&](tl::unexpected<Error> error) -> Result<Mapped> {
        unlink(fresh.c_str());
        return error;
    };
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return give_up(broken(fresh, "lock", errno));
    // fallocate, not ftruncate: a full tmpfs is an error now, not a SIGBUS in a web server later.
    if (const int status = posix_fallocate(fd.get(), 0, static_cast<off_t>(size)); status != 0)
        return give_up(broken(fresh, "allocate " + std::to_string(size >> 20) + " MB", status));
    auto base = map(fresh, fd.get(), size);
    if (!base) return give_up(tl::make_unexpected(base.error()));
    auto done = format(fresh, *base, size);
    if (done) done = set_owner(fresh, fd.get(), group);
    if (done && rename(fresh.c_str(), path.c_str()) != 0) done = broken(path, "rename", errno);
    if (!done) {
        munmap(*base, size);
        return give_up(tl::make_unexpected(done.error()));
    }
    return Mapped{fd.release(), *base};
}

}  // namespace

Result<Store> Store::create(const std::string& path, uint64_t size_bytes, const std::string& group,
                            std::string* warning) {
    if (size_bytes < layout::kMinimumSize || size_bytes > (uint64_t{1} << 36))
        return broken(path, "store_size_mb must be 1 to 65536");
    if (auto ready = prepare_directory(path); !ready) return tl::make_unexpected(ready.error());
    auto attached = attach(path, size_bytes);
    if (!attached) return tl::make_unexpected(attached.error());
    if (!*attached) {
        auto made = make(path, size_bytes, group);
        if (!made) return tl::make_unexpected(made.error());
        *attached = *made;
    } else if (auto owned = set_owner(path, (*attached)->fd, group); !owned) {
        munmap((*attached)->base, size_bytes);
        close((*attached)->fd);
        return tl::make_unexpected(owned.error());
    }
    struct stat st{};
    fstat((*attached)->fd, &st);
    Store store;
    store.base_ = (*attached)->base;
    store.lock_fd_ = (*attached)->fd;
    store.size_ = size_bytes;
    store.geometry_ = layout::geometry_of(size_bytes);
    store.identify(st.st_dev, st.st_ino, st.st_uid);
    if (mlock(store.base_, size_bytes) != 0 && warning != nullptr)
        *warning = "store " + path + ": pages cannot be locked (" + std::strerror(errno) +
                   "): keys could be swapped to a disk; raise RLIMIT_MEMLOCK or turn swap off";
    return store;
}

Result<Store> Store::open(const std::string& path) {
    const Descriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (fd.get() < 0) return broken(path, "open", errno);
    if (auto memory = check_memory_backed(path, fd.get()); !memory)
        return tl::make_unexpected(memory.error());
    struct stat st{};
    if (fstat(fd.get(), &st) != 0) return broken(path, "stat", errno);
    const auto size = static_cast<uint64_t>(st.st_size);
    if (!S_ISREG(st.st_mode) || size < layout::kMinimumSize) return broken(path, "is not a session store");
    auto base = map(path, fd.get(), size);
    if (!base) return tl::make_unexpected(base.error());
    Store store;
    store.base_ = *base;
    store.size_ = size;
    if (!fits(*base, size))
        return broken(path, "has another layout; agent and hook library must be of the same release");
    store.geometry_ = layout::geometry_of(size);
    store.identify(st.st_dev, st.st_ino, st.st_uid);
    return store;
}

Store::Store(Store&& other) noexcept { *this = std::move(other); }

Store& Store::operator=(Store&& other) noexcept {
    if (this == &other) return *this;
    unmap();
    base_ = std::exchange(other.base_, nullptr);
    lock_fd_ = std::exchange(other.lock_fd_, -1);
    size_ = other.size_;
    geometry_ = other.geometry_;
    identify(other.device_, other.inode_, other.owner_);
    sweep_next_ = other.sweep_next_;
    return *this;
}

Store::~Store() { unmap(); }

void Store::unmap() {
    if (base_ != nullptr) munmap(base_, size_);
    if (lock_fd_ >= 0) close(lock_fd_);
    base_ = nullptr;
    lock_fd_ = -1;
}

}  // namespace keyrail
