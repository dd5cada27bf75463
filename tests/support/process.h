// SPDX-License-Identifier: Apache-2.0
// A program under test: started, killed, waited for; never left behind.
#pragma once

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace keyrail::testing {

class Process {
  public:
    /// stdout and stderr go to `log`, appended.
    Process(std::vector<std::string> words, std::filesystem::path log)
        : log_(std::move(log)), pid_(::fork()) {
        if (pid_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int fd = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(fd, STDOUT_FILENO);
        ::dup2(fd, STDERR_FILENO);
        ::close_range(3, ~0U, 0);  // a connection of the test's that a child keeps open never ends
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        ::execv(arguments[0], arguments.data());
        ::_exit(127);
    }
    ~Process() {
        signal(SIGKILL);
        (void)wait();
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void signal(int number) const {
        if (!status_) ::kill(pid_, number);
    }
    [[nodiscard]] bool ended() {
        int status = 0;
        if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
        return status_.has_value();
    }
    /// Exit status, or 128 + signal.
    int wait() {
        int status = 0;
        if (!status_ && ::waitpid(pid_, &status, 0) == pid_) status_ = status;
        return WIFEXITED(*status_) ? WEXITSTATUS(*status_) : 128 + WTERMSIG(*status_);
    }
    [[nodiscard]] std::string log() const {
        std::ifstream stream(log_);
        return {std::istreambuf_iterator<char>(stream), {}};
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    std::filesystem::path log_;
    pid_t pid_;
    std::optional<int> status_;
};

}  // namespace keyrail::testing
