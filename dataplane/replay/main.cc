// SPDX-License-Identifier: Apache-2.0
// keyrail-replay: the dispatcher's header parser, hold table and ClientHello parser over a capture file, and
// a line of JSON for each ClientHello. No NIC, no EAL, no root. Exit status: 0 the file was read, 1 it was
// not.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "dataplane/replay/capture.h"
#include "dataplane/replay/report.h"
#include "dataplane/replay/tcp.h"

namespace keyrail::replay {
namespace {

struct Options {
    std::string file;
    std::vector<uint16_t> ports;  // of the server; none: any
    std::string snapshot;         // file; "": none
    uint64_t bytes_of = 0;        // frame; 0: lines of JSON
};

int complain(const std::string& text) {
    fmt::print(stderr, "keyrail-replay: {}\n", text);
    return 1;
}

int replay(const Options& options) {
    auto capture = Capture::open(options.file);
    if (!capture) return complain(fmt::format("{}: {}", options.file, capture.error().message));
    std::optional<Steering> steering;
    if (!options.snapshot.empty()) {
        auto opened = Steering::open(options.snapshot);
        if (!opened) return complain(opened.error().message);
        steering = std::move(*opened);
    }
    bool printed = options.bytes_of == 0;
    Tcp tcp([&](const Found& found) {
        const auto& ports = options.ports;
        if (!ports.empty() && std::ranges::find(ports, found.tuple.destination_port) == ports.end()) return;
        if (options.bytes_of != 0) {
            if (found.frame != options.bytes_of) return;
            std::fwrite(found.stream.data(), 1, found.stream.size(), stdout);
            printed = true;
            return;
        }
        fmt::print("{}\n", json_line(found, steering ? steering->decide(found) : std::nullopt));
    });
    while (const auto frame = capture->next()) tcp.frame(*frame);
    tcp.finish();
    if (!printed)
        return complain(fmt::format("{}: no ClientHello ends in frame {}; without --bytes all are listed",
                                    options.file, options.bytes_of));
    return capture->error().empty() ? 0 : complain(fmt::format("{}: {}", options.file, capture->error()));
}

int run(int argc, char** argv) {
    Options options;
    CLI::App app{"The dispatcher's view of a capture: one line of JSON per ClientHello over TCP.",
                 "tools/replay"};
    app.add_option("FILE", options.file, "capture: pcap or pcapng")->required();
    app.add_option("--port", options.ports, "only hellos to this TCP port; may be repeated");
    app.add_option("--snapshot", options.snapshot,
                   "say how this snapshot steers each hello (link.proto's Snapshot, text format)");
    app.add_option(
           "--bytes", options.bytes_of,
           "print nothing but the bytes of the hello that ends in this frame, for keyrail explain --hello")
        ->type_name("FRAME")
        ->check(CLI::PositiveNumber);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 1;
    }
    return replay(options);
}

}  // namespace
}  // namespace keyrail::replay

int main(int argc, char** argv) {
    try {
        return keyrail::replay::run(argc, argv);
    } catch (const std::exception& error) {
        fmt::print(stderr, "keyrail-replay: {}\n", error.what());
        return 1;
    }
}
