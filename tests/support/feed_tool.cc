// SPDX-License-Identifier: Apache-2.0
// keyrail-feed: plays keyraild for a bench. Gives keyrail-dp one snapshot and stays connected; each line that
// it reads is a question for keyrail-dp's counters, answered by a line of JSON (message Stats of
// dataplane/common/link.proto). Ends with its input, so that it cannot outlive who started it.
#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "dataplane/link/seqpacket.h"
#include "link.pb.h"

namespace keyrail {
namespace {

constexpr int kAnswerMilliseconds = 10'000;

Result<Descriptor> connect_to(const std::string& path) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (path.size() >= sizeof to.sun_path) return fail("{}: too long for a socket's path", path);
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    Descriptor peer(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!peer || connect(peer.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
        return fail("{}: {}; does keyrail-dp run with this --run-dir?", path, strerror(errno));
    const int room = kMaxPacket;  // a snapshot is one packet
    setsockopt(peer.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    return peer;
}

Result<link::ToDataplane> read_snapshot(const std::string& file) {
    std::ifstream stream(file);
    std::stringstream text;
    text << stream.rdbuf();
    link::ToDataplane message;
    if (!stream) return fail("{} cannot be read", file);
    if (!google::protobuf::TextFormat::ParseFromString(text.str(), message.mutable_snapshot()))
        return fail("{} is no Snapshot in protobuf's text format; the line above says where", file);
    return message;
}

class Feed {
  public:
    explicit Feed(Descriptor peer) : peer_(std::move(peer)) {}

    Result<void> send(const link::ToDataplane& message) {
        if (send_message(peer_.get(), message) == Transfer::done) return {};
        return fail("keyrail-dp does not take a message of {} bytes: {}", message.ByteSizeLong(),
                    strerror(errno));
    }

    /// Waits for an answer to the last question; moves that are asked for meanwhile are granted.
    Result<link::FromDataplane> answer() {
        for (;;) {
            pollfd readable{peer_.get(), POLLIN, 0};
            if (poll(&readable, 1, kAnswerMilliseconds) == 0) return fail("keyrail-dp does not answer");
            auto message = receive();
            if (!message || message->has_accepted() || message->has_refused() || message->has_stats())
                return message;
        }
    }

    /// The next message of keyrail-dp; what it asks for is answered at once, as by blades that take no time:
    /// a move is granted, and a connection that it does not know is nobody's.
    Result<link::FromDataplane> receive() {
        size_t size = 0;
        link::FromDataplane message;
        if (receive_packet(peer_.get(), buffer_, size) != Transfer::done ||
            !message.ParseFromArray(buffer_.data(), static_cast<int>(size)))
            return fail("keyrail-dp is gone");
        if (message.has_move_request())
            if (auto sent = send(granted(message.move_request())); !sent)
                return tl::make_unexpected(sent.error());
        if (message.has_flow_ask()) {
            link::ToDataplane nobody;
            nobody.mutable_flow_answer()->set_ask_id(message.flow_ask().ask_id());
            if (auto sent = send(nobody); !sent) return tl::make_unexpected(sent.error());
        }
        return message;
    }

    [[nodiscard]] int descriptor() const { return peer_.get(); }

  private:
    static link::ToDataplane granted(const link::MoveRequest& request) {
        constexpr uint64_t kLifetimeSeconds = 7200;
        link::ToDataplane message;
        auto& outcome = *message.mutable_move_outcome();
        outcome.set_move_id(request.move_id());
        outcome.set_result(link::MOVED);
        outcome.mutable_now()->set_name(request.name());
        outcome.mutable_now()->set_holder(request.to());
        outcome.mutable_now()->set_expires_unix_s(static_cast<uint64_t>(std::time(nullptr)) +
                                                  kLifetimeSeconds);
        return message;
    }

    Descriptor peer_;
    std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kMaxPacket);
};

Result<void> print_stats(Feed& feed) {
    link::ToDataplane question;
    question.mutable_stats_request();
    if (auto sent = feed.send(question); !sent) return sent;
    const auto answer = feed.answer();
    if (!answer) return tl::make_unexpected(answer.error());
    google::protobuf::util::JsonPrintOptions options;
    options.always_print_primitive_fields = true;
    options.preserve_proto_field_names = true;
    std::string text;
    if (!google::protobuf::util::MessageToJsonString(answer->stats(), &text, options).ok())
        return fail("the counters cannot be written as JSON");
    fmt::print("{}\n", text);
    std::fflush(stdout);
    return {};
}

Result<void> serve(Feed& feed) {
    for (;;) {
        pollfd waiting[] = {{STDIN_FILENO, POLLIN, 0}, {feed.descriptor(), POLLIN, 0}};
        poll(waiting, 2, -1);
        if (waiting[1].revents != 0)
            if (const auto message = feed.receive(); !message) return tl::make_unexpected(message.error());
        if (waiting[0].revents == 0) continue;
        char line[64];
        const ssize_t size = read(STDIN_FILENO, line, sizeof line);
        if (size <= 0) return {};
        for (ssize_t i = 0; i < size; i++)
            if (line[i] == '\n')
                if (auto printed = print_stats(feed); !printed) return printed;
    }
}

Result<void> run(const std::string& socket, const std::string& file) {
    const auto snapshot = read_snapshot(file);
    if (!snapshot) return tl::make_unexpected(snapshot.error());
    auto peer = connect_to(socket);
    if (!peer) return tl::make_unexpected(peer.error());
    Feed feed(std::move(*peer));
    if (auto sent = feed.send(*snapshot); !sent) return sent;
    const auto answer = feed.answer();
    if (!answer) return tl::make_unexpected(answer.error());
    if (answer->has_refused()) return fail("{}: refused: {}", file, answer->refused().reason());
    if (auto printed = print_stats(feed); !printed) return printed;  // "it is in force"
    return serve(feed);
}

}  // namespace
}  // namespace keyrail

int main(int argc, char** argv) {
    CLI::App app(
        "Plays keyraild for a bench: feeds keyrail-dp a snapshot; each line of input is answered by its "
        "counters.");
    std::string socket, snapshot;
    app.add_option("--socket", socket, "keyrail-dp's dp.sock")->required();
    app.add_option("--snapshot", snapshot,
                   "a Snapshot (dataplane/common/link.proto) in protobuf's text format")
        ->required();
    CLI11_PARSE(app, argc, argv);
    if (const auto done = keyrail::run(socket, snapshot); !done) {
        fmt::print(stderr, "keyrail-feed: {}\n", done.error().message);
        return 1;
    }
}
