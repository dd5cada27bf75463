// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/steering.h"

#include <google/protobuf/text_format.h>

#include <fstream>
#include <sstream>

#include "dataplane/core/describe.h"
#include "dataplane/steer/decide.h"
#include "link.pb.h"

namespace keyrail::replay {
namespace {

/// As the service reads it; here it was read whatever its length.
HelloStatus status_of(const Found& found, const Service& service) {
    const HelloLimits limits{.bytes = service.hello_limit};
    const bool too_long = found.result.size > limits.bytes || found.result.records > limits.records;
    return too_long ? HelloStatus::too_long : found.result.status;
}

}  // namespace

Result<Steering> Steering::open(const std::filesystem::path& file) {
    std::ifstream stream(file);
    std::ostringstream text;
    text << stream.rdbuf();
    if (!stream) return fail("{} cannot be read", file.string());
    link::Snapshot message;
    if (!google::protobuf::TextFormat::ParseFromString(text.str(), &message))
        return fail("{} is no Snapshot in protobuf's text format; the line above says where", file.string());
    auto snapshot = Snapshot::build(message);
    if (!snapshot) return fail("{}: {}", file.string(), snapshot.error().message);
    auto names = NameDecrypter::create();
    if (!names) return tl::make_unexpected(names.error());
    Steering steering;
    steering.snapshot_ = std::move(*snapshot);
    steering.names_ = std::move(*names);
    steering.stats_ = std::make_unique<WorkerStats>();
    return steering;
}

std::optional<Steered> Steering::decide(const Found& found) {
    const uint16_t index = snapshot_->find(found.tuple.destination, found.tuple.destination_port);
    if (index == kNoService) return std::nullopt;
    const Service& service = snapshot_->services[index];
    if (!service.by_session) return Steered{.reason = Reason::steer_tuple};
    PendingHello pending;
    HelloFacts& facts = pending.facts;
    facts.service = index;
    facts.pool = service.pool;
    const HelloStatus status = status_of(found, service);
    facts.unnamed = unnamed_reason(status, found.hello);
    if (status == HelloStatus::complete) describe(facts, found.hello, *snapshot_);
    names_->decrypt({&pending, 1}, *snapshot_, *stats_);
    const Holder holder = steer::home_of(facts);
    const Decision decision = steer::decide(facts, *snapshot_, holder, true);
    if (decision.move)
        return Steered{.reason = Reason::steer_move, .blade = decision.blade, .move_from = holder.blade};
    const bool by_maglev = decision.blade != holder.blade && decision.blade != facts.opener;
    return Steered{.reason = decision.reason, .blade = by_maglev ? BladeId{} : decision.blade};
}

}  // namespace keyrail::replay
