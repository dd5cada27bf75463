// SPDX-License-Identifier: Apache-2.0
// API: packets of chance, and what becomes of them: a trace, and a capture, which is a trace with frames.
#include <fmt/format.h>

#include <charconv>

#include "control/daemon/api/api.h"
#include "control/daemon/api/body.h"
#include "control/daemon/api/capture_file.h"
#include "control/daemon/api/reasons.h"
#include "dataplane/common/hex.h"
#include "link.pb.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kTraceTimeout = 2s;
constexpr size_t kRecordsOfAnAnswer = 2000;

std::string flags_text(uint32_t flags) {
    constexpr std::array<std::string_view, 6> kNames = {"FIN", "SYN", "RST", "PSH", "ACK", "URG"};
    std::string text;
    for (size_t i = 0; i < kNames.size(); i++)
        if (flags >> i & 1) text += (text.empty() ? "" : ",") + std::string(kNames[i]);
    return text;
}

std::string address_text(const std::string& bytes) {
    const auto address = address_of_bytes(bytes);
    return address ? address->text() : "";
}

json hello_report(const link::TraceRecord& record) {
    if (!record.hello()) return nullptr;
    return {{"server_name", record.server_name().empty() ? json() : json(record.server_name())},
            {"session", record.name().empty() ? json() : json(to_hex(std::string_view(record.name())))},
            {"tls_version", record.tls_version() == 0x0304 ? "1.3" : "1.2"},
            {"holder", record.holder() == 0 ? json() : json(record.holder())},
            {"moved", record.moved()},
            {"move", record.move()}};
}

json record_report(const link::TraceRecord& record) {
    const bool addressed = !record.source().empty();
    return {{"unix_us", record.unix_ns() / 1000},
            {"waited_us", record.waited_us()},
            {"worker", record.worker()},
            {"port", record.port()},
            {"source", addressed ? json(address_text(record.source())) : json()},
            {"source_port", record.source_port()},
            {"destination", addressed ? json(address_text(record.destination())) : json()},
            {"destination_port", record.destination_port()},
            {"flags", record.tcp() ? flags_text(record.flags()) : ""},
            {"seq", record.seq()},
            {"ack", record.ack()},
            {"payload", record.payload()},
            {"size", record.size()},
            {"stage", record.stage()},
            {"action", record.action()},
            {"reason", record.reason()},
            {"blade", record.blade() == 0 ? json() : json(record.blade())},
            {"hello", hello_report(record)}};
}

json trace_report(const PacketTrace& trace, size_t from) {
    static constexpr std::array<const char*, 3> kStates = {"none", "running", "ended"};
    json records = json::array();
    const auto& all = trace.records();
    const size_t to = std::min(all.size(), from + kRecordsOfAnAnswer);
    for (size_t i = std::min(from, to); i < to; i++) records.push_back(record_report(all[i]));
    return {{"trace", trace.number()},
            {"state", kStates[static_cast<size_t>(trace.state())]},
            {"actor", trace.actor()},
            {"began_ms", trace.began_ms()},
            {"packets", trace.wish().packets()},
            {"seconds", trace.wish().seconds()},
            {"snap", trace.wish().snap()},
            {"told", all.size()},
            {"lost", trace.lost()},
            {"why", trace.why()},
            {"next", to},
            {"records", records}};
}

Result<void> read_prefix(const std::string& text, link::TraceFilter::Prefix& into) {
    if (text.empty()) return {};
    const auto prefix = parse_prefix(text);
    if (!prefix) return tl::make_unexpected(prefix.error());
    into.set_address(std::string(prefix->address.raw()));
    into.set_bits(prefix->length);
    return {};
}

Result<link::TraceStart> read_wish(Body& body) {
    link::TraceStart wish;
    link::TraceFilter& filter = *wish.mutable_filter();
    if (auto read = read_prefix(body.text("client"), *filter.mutable_client()); !read)
        return tl::make_unexpected(read.error());
    if (auto read = read_prefix(body.text("address"), *filter.mutable_service()); !read)
        return tl::make_unexpected(read.error());
    const auto name = from_hex(body.text("session"));
    if (!name) return fail("'session' is not written in hex digits");
    const auto number = [&](const char* key, uint64_t otherwise) {
        return static_cast<uint32_t>(std::min<uint64_t>(body.number(key).value_or(otherwise), UINT32_MAX));
    };
    filter.set_client_port(number("client_port", 0));
    filter.set_service_port(number("port", 0));
    filter.set_server_name(body.text("server_name"));
    filter.set_name(*name);
    filter.set_drops_only(body.flag("drops_only"));
    for (const std::string& reason : body.texts("reasons")) filter.add_reasons(reason);
    wish.set_packets(number("packets", 100));
    wish.set_seconds(number("seconds", 60));
    wish.set_snap(number("snap", 0));
    return wish;
}

asio::awaitable<ApiReply> start_trace(Daemon& daemon, ApiCall call) {
    Body body(call.body);
    auto wish = read_wish(body);
    if (!wish) co_return error_reply(400, wish.error().message);
    if (const std::string blade = body.text("blade"); !blade.empty()) {
        const auto id = blade_of(daemon, blade);
        if (!id) co_return id.error();
        wish->mutable_filter()->set_blade(*id);
    }
    if (!body.mistake().empty()) co_return error_reply(400, body.mistake());
    if (daemon.packet_trace().state() == PacketTrace::State::running)
        co_return error_reply(409, fmt::format("{} traces already; wait for its end, or 'keyrail trace stop'",
                                               daemon.packet_trace().actor()));
    if (!daemon.dataplane().peer().connected)
        co_return error_reply(502, "keyrail-dp is not connected; is it running?");
    link::ToDataplane message;
    *message.mutable_trace_start() = *wish;
    PacketTrace& trace = daemon.packet_trace();
    trace.begin(*wish, call.actor.name, unix_ms());  // what it tells may be here before its word
    const auto answer = co_await daemon.dataplane().ask(std::move(message), kTraceTimeout);
    if (!answer || answer->has_refused()) {
        const std::string why = answer ? answer->refused().reason() : answer.error().message;
        trace.end(why);
        co_return error_reply(answer ? 422 : 504, why);
    }
    daemon.events().add("trace.started", call.actor.name, "packets are traced");
    co_return json_reply(trace_report(trace, 0));
}

asio::awaitable<ApiReply> stop_trace(Daemon& daemon, ApiCall) {
    PacketTrace& trace = daemon.packet_trace();
    if (trace.state() != PacketTrace::State::running) co_return error_reply(409, "no trace is under way");
    link::ToDataplane message;
    message.mutable_trace_stop();
    const auto answer = co_await daemon.dataplane().ask(std::move(message), kTraceTimeout);
    if (!answer) co_return error_reply(504, answer.error().message);
    co_return json_reply(trace_report(trace, trace.records().size()));
}

asio::awaitable<ApiReply> show_trace(Daemon& daemon, ApiCall call) {
    constexpr std::string_view kFrom = "from=";
    size_t from = 0;
    if (!call.query.empty()) {
        std::string_view query = call.query;
        const bool named = query.starts_with(kFrom);
        query.remove_prefix(named ? kFrom.size() : 0);
        const auto read = std::from_chars(query.data(), query.data() + query.size(), from);
        if (!named || read.ec != std::errc() || read.ptr != query.data() + query.size())
            co_return error_reply(400, "the query is not understood; write from=NUMBER");
    }
    co_return json_reply(trace_report(daemon.packet_trace(), from));
}

/// The verdict, in words.
std::string verdict_comment(const link::TraceRecord& record) {
    std::string text =
        fmt::format("{}: {}; stage {}, worker {}, after {} us", record.reason(),
                    meaning_of_reason(record.reason()), record.stage(), record.worker(), record.waited_us());
    if (record.blade() != 0) text += fmt::format("; blade {}", record.blade());
    if (record.hello() && record.holder() != 0)
        text += fmt::format("; its session is at blade {}", record.holder());
    return text;
}

/// The frames are what clients have sent: not everybody's who may look at the chassis.
asio::awaitable<ApiReply> read_capture(Daemon& daemon, ApiCall call) {
    if (call.actor.role != Role::admin)
        co_return error_reply(403, fmt::format("{} may not read captures; be root, or in group {}",
                                               call.actor.name, kAdminGroup));
    const PacketTrace& trace = daemon.packet_trace();
    if (trace.state() == PacketTrace::State::none || trace.wish().snap() == 0)
        co_return error_reply(404, "there is no capture; 'keyrail capture' makes one");
    co_return ApiReply{200, capture_file(trace.records(), trace.wish().snap(), verdict_comment),
                       "application/octet-stream"};
}

}  // namespace

std::span<const ApiRoute> trace_routes() {
    static constexpr std::array kRoutes{ApiRoute{"POST", "/v1/trace/start", start_trace,
                                                 "client client_port address port server_name session blade "
                                                 "reasons drops_only packets seconds snap"},
                                        ApiRoute{"POST", "/v1/trace/stop", stop_trace},
                                        ApiRoute{"GET", "/v1/trace", show_trace},
                                        ApiRoute{"GET", "/v1/trace/capture", read_capture}};
    return kRoutes;
}

}  // namespace keyrail
