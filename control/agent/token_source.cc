// SPDX-License-Identifier: Apache-2.0
#include "control/agent/token_source.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace keyrail {

namespace {

constexpr size_t kMax = 4096;  // a token has some 150 bytes

/// No echo while it lives.
class Quiet {
  public:
    explicit Quiet(int terminal) : terminal_(terminal) {
        known_ = tcgetattr(terminal_, &before_) == 0;
        if (!known_) return;
        termios quiet = before_;
        quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        tcsetattr(terminal_, TCSAFLUSH, &quiet);
    }
    ~Quiet() {
        if (known_) tcsetattr(terminal_, TCSAFLUSH, &before_);
    }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;

  private:
    int terminal_;
    bool known_ = false;
    termios before_{};
};

/// Until its end, or a line's.
Result<std::string> read_some(int fd, const std::string& name) {
    std::array<char, kMax> buffer{};
    size_t size = 0;
    bool line = false;
    Result<std::string> text;
    while (size < buffer.size() && !line) {
        const ssize_t got = read(fd, buffer.data() + size, buffer.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) text = fail("{}: {}", name, std::strerror(errno));
        if (got <= 0) break;
        line =
            isatty(fd) != 0 && std::memchr(buffer.data() + size, '\n', static_cast<size_t>(got)) != nullptr;
        size += static_cast<size_t>(got);
    }
    if (size == buffer.size())
        text = fail("{}: more than a token; give the file that has the token alone", name);
    if (text) text->assign(buffer.data(), size);
    OPENSSL_cleanse(buffer.data(), buffer.size());
    return text;
}

Result<std::string> ask() {
    if (isatty(STDIN_FILENO) == 0) return read_some(STDIN_FILENO, "standard input");
    const std::string_view question = "token (from 'keyrail blade enroll'; it is not shown): ";
    (void)!write(STDERR_FILENO, question.data(), question.size());
    const Quiet quiet(STDIN_FILENO);
    auto text = read_some(STDIN_FILENO, "standard input");
    (void)!write(STDERR_FILENO, "\n", 1);
    return text;
}

Result<std::string> from_file(const std::filesystem::path& file) {
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail("{}: {}", file.string(), std::strerror(errno));
    auto text = read_some(fd, file.string());
    close(fd);
    return text;
}

std::string take_from_environment() {
    char* value = std::getenv(kTokenVariable);
    if (value == nullptr) return "";
    std::string text = value;
    OPENSSL_cleanse(value, std::strlen(value));
    unsetenv(kTokenVariable);
    return text;
}

/// The line that has the token, without what an environment file has around it.
std::string token_in(std::string_view text) {
    const std::string assignment = std::string(kTokenVariable) + "=";
    constexpr std::string_view kAround = " \t\r\n\"'";
    if (const size_t at = text.find(assignment); at != std::string_view::npos) {
        text.remove_prefix(at + assignment.size());
        text = text.substr(0, text.find('\n'));
    }
    const size_t begin = text.find_first_not_of(kAround);
    if (begin == std::string_view::npos) return "";
    return std::string(text.substr(begin, text.find_last_not_of(kAround) - begin + 1));
}

}  // namespace

Result<std::string> read_token(const std::filesystem::path& file) {
    Result<std::string> text = file.empty() ? take_from_environment() : std::string();
    if (text->empty()) text = file.empty() || file == "-" ? ask() : from_file(file);
    if (!text) return text;
    std::string token = token_in(*text);
    OPENSSL_cleanse(text->data(), text->size());
    if (token.empty())
        return fail("there is no token in {}; 'keyrail blade enroll' on the dispatcher prints one",
                    file.empty() || file == "-" ? "standard input" : file.string());
    return token;
}

}  // namespace keyrail
