// SPDX-License-Identifier: Apache-2.0
// One end of a chassis connection that is ours, and a peer that may be wrong in any way.
#pragma once

#include "control/protocol/channel.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <future>

#include "tests/support/fake_control.h"

namespace keyrail::testing {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using chassis::Envelope;

inline std::string text_of(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

inline std::string frame(std::string_view body) {
    const auto size = htonl(static_cast<uint32_t>(body.size()));
    return std::string(reinterpret_cast<const char*>(&size), sizeof size).append(body);
}

/// A peer that is not ours: plain OpenSSL, on a thread of its own, so that it can be as wrong as the test
/// wants.
struct Stranger {
    std::function<void(SSL_CTX*)> prepare = [](SSL_CTX*) {};
    std::string tls_bytes;    // sent through TLS
    std::string plain_bytes;  // sent instead of TLS
    bool silent = false;      // connects and waits for the other side to close

    void run(uint16_t port) const {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        const timeval patience{6, 0};  // whatever happens, the test ends
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        char sink[1024];
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) {
            if (!plain_bytes.empty()) (void)!::send(fd, plain_bytes.data(), plain_bytes.size(), MSG_NOSIGNAL);
            if (silent || !plain_bytes.empty())
                while (::recv(fd, sink, sizeof sink, 0) > 0) {
                }
            else
                speak(fd);
        }
        ::close(fd);
    }

  private:
    void speak(int fd) const {
        SSL_CTX* context = SSL_CTX_new(TLS_client_method());
        prepare(context);
        SSL* ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        if (SSL_connect(ssl) == 1) {
            char sink[64];
            if (!tls_bytes.empty()) SSL_write(ssl, tls_bytes.data(), static_cast<int>(tls_bytes.size()));
            ::shutdown(fd, SHUT_WR);
            while (SSL_read(ssl, sink, sizeof sink) > 0) {
            }
        }
        SSL_free(ssl);
        SSL_CTX_free(context);
    }
};

class ChannelBench : public ::testing::Test {
  protected:
    ChannelBench() {
        ::signal(SIGPIPE, SIG_IGN);
        auto opened = Listener::open(
            io.get_executor(), chassis.tls("control"), HostPort{*parse_ip("127.0.0.1"), 0},
            [this](ChannelPtr channel) { return serve(std::move(channel)); },
            [this](const Error& error) { refused.push_back(error.message); });
        listener = *opened;
    }
    ~ChannelBench() override {
        listener->close();
        served.reset();
        run_until(io, [] { return false; }, 20);
    }

    asio::awaitable<void> serve(ChannelPtr channel) {
        served = channel;
        while (reading) {
            const auto message = co_await channel->receive();
            if (!message) {
                ended = message.error().message;
                co_return;
            }
            received.push_back(*message);
        }
    }
    ChannelPtr connect(const TlsContext& tls, Identity expected = Identity::control()) {
        return connect(tls, expected, listener->port());
    }
    /// nullptr, and why in `failure`, when it does not succeed.
    ChannelPtr connect(const TlsContext& tls, Identity expected, uint16_t port) {
        const HostPort to{*parse_ip("127.0.0.1"), port};
        ChannelPtr made;
        bool done = false;
        const auto run = [&]() -> asio::awaitable<void> {
            const auto channel = co_await connect_channel(io.get_executor(), tls, to, expected, 2000ms);
            if (channel)
                made = *channel;
            else
                failure = channel.error().message;
            done = true;
        };
        asio::co_spawn(io, run, asio::detached);
        EXPECT_TRUE(run_until(io, [&] { return done; }));
        return made;
    }
    /// What the channel's own side hears at its end.
    std::string end_of(const ChannelPtr& channel) {
        std::string why;
        asio::co_spawn(
            io,
            [&]() -> asio::awaitable<void> {
                auto message = co_await channel->receive();
                why = message ? "a message" : message.error().message;
            },
            asio::detached);
        EXPECT_TRUE(run_until(io, [&] { return !why.empty(); }));
        return why;
    }
    /// Lets the stranger do its worst; true when our side has come to a conclusion.
    bool meet(const Stranger& stranger, int milliseconds = 5000) {
        const auto finished =
            std::async(std::launch::async, [&, port = listener->port()] { stranger.run(port); });
        const bool concluded =
            run_until(io, [&] { return !refused.empty() || !ended.empty(); }, milliseconds);
        if (served) served->close();
        run_until(io, [&] { return finished.wait_for(0s) == std::future_status::ready; });
        return concluded;
    }
    /// A stranger with a blade's good certificate.
    Stranger insider(const std::string& bytes) {
        Stranger stranger;
        const TlsFiles files = chassis.files("blade-1");
        stranger.prepare = [files](SSL_CTX* context) {
            SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str());
            SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM);
        };
        stranger.tls_bytes = bytes;
        return stranger;
    }
    static Envelope ping(uint64_t request) {
        Envelope message;
        message.set_request(request);
        message.mutable_ping();
        return message;
    }

    asio::io_context io;
    TestChassis chassis{2};
    std::shared_ptr<Listener> listener;
    ChannelPtr served;
    bool reading = true;
    std::vector<Envelope> received;
    std::vector<std::string> refused;
    std::string ended, failure;
};

}  // namespace keyrail::testing
