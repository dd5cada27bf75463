// SPDX-License-Identifier: Apache-2.0
// Small files: atomic replacement, bounded reading.
#include "control/protocol/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace keyrail {

namespace fs = std::filesystem;

namespace {

/// A file descriptor that is closed when its owner goes.
class Fd {
  public:
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

tl::unexpected<Error> system_error(const fs::path& file) {
    return fail("{}: {}", file.string(), std::strerror(errno));
}

bool write_all(int fd, std::string_view content) {
    while (!content.empty()) {
        const ssize_t written = ::write(fd, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        content.remove_prefix(static_cast<size_t>(written));
    }
    return true;
}

}  // namespace

Result<void> replace_file(const fs::path& file, std::string_view content, mode_t mode) {
    const fs::path next = file.string() + ".new";
    ::unlink(next.c_str());
    const Fd fd(::open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (fd.get() < 0) return system_error(next);
    const bool written = fchmod(fd.get(), mode) == 0 && write_all(fd.get(), content) && fsync(fd.get()) == 0;
    if (!written || ::rename(next.c_str(), file.c_str()) != 0) {
        auto failed = system_error(file);
        ::unlink(next.c_str());
        return failed;
    }
    const fs::path dir = file.has_parent_path() ? file.parent_path() : fs::path(".");
    const Fd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir_fd.get() < 0 || fsync(dir_fd.get()) != 0) return system_error(dir);
    return {};
}

Result<std::string> read_file(const fs::path& file, size_t most) {
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return system_error(file);
    std::string content(most + 1, '\0');
    size_t got = 0;
    while (got < content.size()) {
        const ssize_t n = ::read(fd.get(), &content[got], content.size() - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_error(file);
        if (n == 0) break;
        got += static_cast<size_t>(n);
    }
    if (got > most) return fail("{}: larger than {} bytes", file.string(), most);
    content.resize(got);
    return content;
}

Result<void> make_directory(const fs::path& dir, mode_t mode) {
    std::error_code error;
    if (fs::is_directory(dir, error)) return {};
    if (dir.has_parent_path() && dir.parent_path() != dir) fs::create_directories(dir.parent_path(), error);
    if (::mkdir(dir.c_str(), mode) != 0 && errno != EEXIST) return system_error(dir);
    if (!fs::is_directory(dir, error)) return fail("{}: not a directory", dir.string());
    return {};
}

}  // namespace keyrail
