// SPDX-License-Identifier: Apache-2.0
#include "control/agent/store_questions.h"

#include <algorithm>

#include "chassis.pb.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

namespace {

constexpr uint32_t kMaxListed = 5000;  // about 200 KB

void query(const Store& store, const chassis::Query& question, chassis::QueryReply& reply) {
    const auto name = name_from(question.name());
    const auto info = name ? store.peek(*name) : std::nullopt;
    reply.set_held(info && info->expires_ms > wall_clock_ms());
    if (!info) return;
    reply.set_tls_version(number_of(info->tls_version));
    reply.set_expires_ms(info->expires_ms);
    reply.set_single_use(info->single_use);
}

void list(const Store& store, const ServedServices& served, const chassis::List& question,
          chassis::ListReply& reply) {
    Store::Cursor cursor;
    cursor.shard = static_cast<uint32_t>(question.cursor() >> 32);
    cursor.chunk = static_cast<uint32_t>(question.cursor());
    const uint32_t most = std::clamp(question.most(), 1U, kMaxListed);
    const auto found =
        question.lately() ? store.list_lately(cursor, most) : store.list(cursor, Store::Which::kAll, most);
    for (const SessionInfo& info : found) {
        auto& listed = *reply.add_sessions();
        listed.set_name(info.name.data(), info.name.size());
        listed.set_service(served.name(info.service));
    }
    reply.set_cursor(uint64_t{cursor.shard} << 32 | cursor.chunk);
    reply.set_done(cursor.done());
}

/// A session that a server makes by a full handshake while many are purged may stay: it is newer than the
/// purge. What another blade sends meanwhile is older, and stopped by the fence.
void purge(Store& store, Fences& fences, const chassis::Purge& question, chassis::PurgeReply& reply) {
    const auto what = Purged::from(question);
    if (!what) return;
    fences.add(*what, question.number(), std::chrono::steady_clock::now(), wall_clock_ms());
    const auto done = what->name ? store.purge(*what->name) : store.purge([&](const SessionInfo& info) {
        return what->means(info.name, info.service);
    });
    reply.set_purged(done.purged);
    reply.set_held(done.held);
}

}  // namespace

chassis::Envelope answer_question(Store& store, const ServedServices& served, Fences& fences,
                                  const chassis::Envelope& question) {
    chassis::Envelope answer;
    answer.set_request(question.request());
    if (question.has_query()) query(store, question.query(), *answer.mutable_query_reply());
    if (question.has_list()) list(store, served, question.list(), *answer.mutable_list_reply());
    if (question.has_purge()) purge(store, fences, question.purge(), *answer.mutable_purge_reply());
    return answer;
}

}  // namespace keyrail
