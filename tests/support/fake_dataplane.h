// SPDX-License-Identifier: Apache-2.0
// keyrail-dp's end of the link to keyraild, for tests: a real SOCK_SEQPACKET socket, and answers as the test
// wants.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "link.pb.h"

namespace keyrail::testing {

class FakeDataplane {
  public:
    explicit FakeDataplane(std::filesystem::path path, uint64_t generation = 0)
        : path_(std::move(path)), generation_(generation), listener_(::socket(AF_UNIX, SOCK_SEQPACKET, 0)) {
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        path_.native().copy(at.sun_path, sizeof at.sun_path - 1);
        ::unlink(path_.c_str());
        if (::bind(listener_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
            ::listen(listener_, 4) != 0)
            throw std::runtime_error("cannot listen on " + path_.string());
    }
    ~FakeDataplane() {
        if (peer_ >= 0) ::close(peer_);
        ::close(listener_);
        ::unlink(path_.c_str());
    }
    FakeDataplane(const FakeDataplane&) = delete;
    FakeDataplane& operator=(const FakeDataplane&) = delete;

    /// Takes a connection and all messages that are there; answers snapshots and questions for counters.
    /// Never waits.
    void poll() {
        if (readable(listener_)) {
            if (peer_ >= 0) ::close(peer_);
            peer_ = ::accept(listener_, nullptr, nullptr);
            connections++;
            link::FromDataplane hello;
            hello.mutable_hello()->set_version("fake");
            hello.mutable_hello()->set_workers(1);
            hello.mutable_hello()->set_snapshot_generation(generation_);
            send(hello);
        }
        while (peer_ >= 0 && readable(peer_)) {
            const ssize_t size = ::recv(peer_, buffer_.data(), buffer_.size(), 0);
            if (size <= 0) return hang_up();
            link::ToDataplane message;
            if (!message.ParseFromArray(buffer_.data(), static_cast<int>(size)))
                throw std::runtime_error("garbage");
            received.push_back(message);
            answer(message);
        }
    }
    /// Of the connection to keyraild.
    [[nodiscard]] int descriptor() const { return peer_; }
    /// Until there is something to take, or for so long.
    void wait(int milliseconds) const {
        std::array<pollfd, 2> wanted{{{listener_, POLLIN, 0}, {peer_, POLLIN, 0}}};
        ::poll(wanted.data(), wanted.size(), milliseconds);
    }
    void send(const link::FromDataplane& message) {
        const std::string bytes = message.SerializeAsString();
        (void)!::send(peer_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    void send_raw(const std::string& bytes) {
        (void)!::send(peer_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    void hang_up() {
        ::close(peer_);
        peer_ = -1;
    }

    std::vector<link::ToDataplane> of(link::ToDataplane::BodyCase kind) const {
        std::vector<link::ToDataplane> found;
        for (const auto& message : received)
            if (message.body_case() == kind) found.push_back(message);
        return found;
    }
    [[nodiscard]] const link::Snapshot* snapshot() const {
        for (auto message = received.rbegin(); message != received.rend(); ++message)
            if (message->has_snapshot()) return &message->snapshot();
        return nullptr;
    }
    /// INTAKE_NONE also when no snapshot has come.
    [[nodiscard]] link::Intake intake(uint32_t blade) const {
        const link::Snapshot* now = snapshot();
        for (int i = 0; now && i < now->blades_size(); i++)
            if (now->blades(i).id() == blade) return now->blades(i).intake();
        return link::INTAKE_NONE;
    }

    [[nodiscard]] bool gone(uint32_t blade) const {
        const link::Snapshot* now = snapshot();
        for (int i = 0; now && i < now->blades_size(); i++)
            if (now->blades(i).id() == blade) return now->blades(i).gone();
        return false;
    }

    std::vector<link::ToDataplane> received;
    link::Stats stats;
    int connections = 0;

  private:
    static bool readable(int fd) {
        pollfd wanted{fd, POLLIN, 0};
        return ::poll(&wanted, 1, 0) == 1;
    }
    void answer(const link::ToDataplane& message) {
        link::FromDataplane reply;
        reply.set_request(message.request());
        if (message.has_stats_request())
            *reply.mutable_stats() = stats;
        else if (!message.has_move_outcome())
            reply.mutable_accepted();
        if (message.has_snapshot()) generation_ = message.snapshot().generation();
        if (reply.body_case() != link::FromDataplane::BODY_NOT_SET) send(reply);
    }

    std::filesystem::path path_;
    uint64_t generation_;
    int listener_, peer_ = -1;
    std::vector<char> buffer_ = std::vector<char>(size_t{1} << 20);
};

}  // namespace keyrail::testing
