// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/wakefulness.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace keyrail {

using Clock = std::chrono::steady_clock;

struct Wakefulness::Impl : std::enable_shared_from_this<Impl> {
    Impl(asio::io_context& io_in, std::chrono::microseconds stay_in, std::string device_in)
        : io(io_in), timer(io), stay(stay_in), device(std::move(device_in)) {}
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { let_go(); }

    void begin();
    void ask();
    void complain(int error);
    void wait();
    void let_go();

    asio::io_context& io;
    asio::steady_timer timer;
    std::chrono::microseconds stay;
    const std::string device;
    int fd = -1;
    bool asked = false;       // since it last let go; whether it was granted or not
    bool complained = false;  // once is enough
    Clock::time_point last;   // when it was needed
};

/// To open a file takes a while: a channel's write, posted before this, comes first.
void Wakefulness::Impl::begin() {
    wait();
    asio::post(io, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->ask();
    });
}

/// A process that may not ask does without, and tries again after the next quiet time.
void Wakefulness::Impl::ask() {
    if (!asked || fd >= 0) return;  // it was told otherwise meanwhile
    fd = ::open(device.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return complain(errno);
    const int32_t latency_us = 0;  // binary, as wide as the kernel's s32
    if (::write(fd, &latency_us, sizeof latency_us) == static_cast<ssize_t>(sizeof latency_us)) return;
    complain(errno);
    ::close(std::exchange(fd, -1));
}

void Wakefulness::Impl::complain(int error) {
    if (std::exchange(complained, true)) return;
    spdlog::info("stay_awake: {}: {}; idle cores sleep while sessions are moved, so moves take longer",
                 device, std::strerror(error));
}

/// One timer for many moves: when it is due and there were some meanwhile, it waits for the rest.
void Wakefulness::Impl::wait() {
    timer.expires_at(last + stay);
    timer.async_wait([weak = weak_from_this()](const asio::error_code& error) {
        const auto self = weak.lock();
        if (error || !self || !self->asked) return;
        if (Clock::now() < self->last + self->stay) return self->wait();
        self->let_go();
    });
}

void Wakefulness::Impl::let_go() {
    timer.cancel();
    asked = false;
    if (fd >= 0) ::close(std::exchange(fd, -1));
}

Wakefulness::Wakefulness(asio::io_context& io, std::chrono::microseconds stay, std::string device)
    : impl_(std::make_shared<Impl>(io, stay, std::move(device))) {}
Wakefulness::~Wakefulness() = default;

void Wakefulness::needed() {
    if (impl_->stay.count() == 0) return;
    impl_->last = Clock::now();
    if (!std::exchange(impl_->asked, true)) impl_->begin();
}

void Wakefulness::configure(std::chrono::microseconds stay) {
    if (std::exchange(impl_->stay, stay) == stay || !impl_->asked) return;
    if (stay.count() == 0)
        impl_->let_go();
    else
        impl_->wait();
}

bool Wakefulness::awake() const { return impl_->fd >= 0; }

}  // namespace keyrail
