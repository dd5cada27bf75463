// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/backtrace.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

namespace keyrail {
namespace {

constexpr int kSignal = SIGUSR2;
constexpr int kOfTheSignal = 2;  // the handler, and what the kernel had it called by

std::array<void*, 64> calls;
std::atomic<int> count{-1};

void look() {
    const int saved = errno;
    count.store(backtrace(calls.data(), static_cast<int>(calls.size())), std::memory_order_release);
    errno = saved;
}

std::string line_of(void* call) {
    Dl_info about{};
    if (dladdr(call, &about) == 0 || about.dli_fname == nullptr) return fmt::format("{}", call);
    const auto distance = [call](const void* from) {
        return static_cast<const char*>(call) - static_cast<const char*>(from);
    };
    std::string line = fmt::format("{}+{:#x}", std::filesystem::path(about.dli_fname).filename().string(),
                                   distance(about.dli_fbase));
    if (about.dli_sname == nullptr) return line;
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(about.dli_sname, nullptr, nullptr, &status), std::free);
    return fmt::format("{} {}+{:#x}", line, status == 0 ? name.get() : about.dli_sname,
                       distance(about.dli_saddr));
}

}  // namespace

void prepare_backtraces() {
    std::array<void*, 1> any{};
    backtrace(any.data(), 1);  // the first call loads a library
    struct sigaction action{};
    action.sa_handler = [](int) { look(); };
    action.sa_flags = SA_RESTART;
    sigaction(kSignal, &action, nullptr);
}

std::vector<std::string> trace_of(pid_t thread, std::chrono::milliseconds patience) {
    static std::mutex one_at_a_time;
    const std::scoped_lock lock(one_at_a_time);
    count.store(-1);
    std::vector<std::string> lines;
    if (tgkill(getpid(), thread, kSignal) != 0) return lines;
    const auto until = std::chrono::steady_clock::now() + patience;
    while (count.load(std::memory_order_acquire) < 0 && std::chrono::steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (int i = kOfTheSignal; i < count.load(std::memory_order_acquire); i++)
        lines.push_back(line_of(calls[static_cast<size_t>(i)]));
    return lines;
}

}  // namespace keyrail
