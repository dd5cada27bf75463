// SPDX-License-Identifier: Apache-2.0
#include "control/agent/checkpointer.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>

namespace keyrail {

namespace {

constexpr size_t kMaxChanged = 65'536;
constexpr size_t kWalkBatch = 128;
constexpr size_t kStateBytes = 128;  // of one state without its record, about

template <typename Bytes>
void set_name(chassis::SessionState& state, const Bytes& name) {
    state.set_name(name.data(), name.size());
}

void append(std::string& out, uint64_t number, size_t bytes) {
    while (bytes-- > 0) out.push_back(static_cast<char>(number >> 8 * bytes));
}

}  // namespace

std::string sealing_context(const chassis::SessionState& state) {
    std::string context = "keyrail session|" + state.name() + state.digest();
    append(context, state.uses(), 4);
    append(context, state.expires_ms(), 8);
    append(context, state.single_use(), 1);
    append(context, state.blade(), 2);
    append(context, state.epoch(), 8);
    return context + state.service();
}

void Checkpointer::note(const Store::Change& change, Time now) {
    if (change.gone) {
        gone_.push_back({change.name, change.receipt, now});
        gone_names_.insert(change.name);
        return;
    }
    changed_.push_back(change.name);
    take_back(change.name, now);
    if (!fences_.any(now)) return;
    const auto here = store_.peek(change.name);
    if (here && fences_.outlived(*here, now)) store_.erase(change.name);
}

void Checkpointer::read_journal(Time now) {
    std::vector<Store::Change> changes;
    uint32_t held = 0;
    uint64_t lost = store_.changes(journal_, changes, &held);
    whole_ = held == 0;
    for (const Store::Change& change : changes) note(change, now);
    for (; gone_.size() > kMaxGone; gone_.pop_front(), lost++) gone_names_.erase(gone_.front().name);
    lost_ += lost;
    if (lost == 0) return;
    new_epoch();
    start_over();
}

/// A handshake failed: its session is not gone, after all.
void Checkpointer::take_back(const SessionName& name, Time now) {
    if (!gone_names_.contains(name)) return;
    for (auto gone = gone_.rbegin(); gone != gone_.rend() && gone->since + kMayComeBack > now; ++gone) {
        if (gone->name != name) continue;
        gone_.erase(std::next(gone).base());
        gone_names_.erase(name);
        return;
    }
}

void Checkpointer::tell_again(const Told& told) {
    gone_.insert(gone_.begin(), told.gone.begin(), told.gone.end());
}

void Checkpointer::acknowledged(uint64_t number) {
    const auto told = told_.extract(number);
    if (!told) return;
    for (const Gone& gone : told.mapped().gone) gone_names_.erase(gone.name);
}

void Checkpointer::poll(Time now) {
    read_journal(now);
    if (changed_.size() > kMaxChanged) {
        changed_.clear();
        walk_ = {};
    }
    for (auto told = told_.begin(); told != told_.end() && told->second.at + kPatience <= now;
         told = told_.erase(told))
        tell_again(told->second);
}

void Checkpointer::new_epoch() {
    epoch_ = std::max(epoch_ + 1, wall_clock_ms());
    left_.clear();
    left_order_.clear();
}

void Checkpointer::start_over() {
    changed_.clear();
    walk_ = {};
    for (const auto& [number, told] : told_) tell_again(told);
    told_.clear();
}

void Checkpointer::store_replaced() {
    journal_.clear();
    new_epoch();
    start_over();
}

// --- moves

/// The store first, then the journal: who took it from the store before we looked, has noted it before that.
KnownFate Checkpointer::fate(const SessionName& name, Time now) {
    const auto here = store_.is_here(name);
    read_journal(now);
    if (!whole_ || here.value_or(true)) return {};
    if (gone_names_.contains(name)) return {chassis::USED_UP, epoch_};
    if (left_.contains(name)) return {};
    return {chassis::NOT_USED, epoch_};
}

/// Of a reusable session two may be there for a moment; what its repository has is a copy then.
void Checkpointer::left(const SessionRecord& session) {
    if (!session.single_use || sealed_.empty() || sealing_service(session).empty()) return;
    if (!left_.insert(session.name).second) return;
    left_order_.push_back(session.name);
    if (left_order_.size() > kMaxLeft) new_epoch();
}

void Checkpointer::came(const SessionName& name) { left_.erase(name); }

/// The service whose pool key seals it; "": it is not for the repository. A session whose service nobody
/// knows is that of the only one here, or none's.
std::string Checkpointer::sealing_service(const SessionRecord& record) const {
    const auto& names = served_.names();
    std::string name = served_.name(record.service);
    if (name.empty() && names.size() == 1) name = names.begin()->second;
    return sealed_.contains(name) ? name : "";
}

void Checkpointer::add(const SessionName& name, Batch& batch) {
    SessionRecord record;
    if (!store_.copy(name, record)) return;  // it has moved on; what became of it is reported elsewhere
    chassis::SessionState& state = *batch.out.add_sessions();
    set_name(state, record.name);
    state.set_uses(record.uses);
    state.set_digest(record.digest.data(), record.digest.size());
    state.set_expires_ms(record.expires_ms);
    batch.bytes += kStateBytes;
    const std::string service = sealing_service(record);
    const auto [generation, key] = keys_.current(service);
    if (service.empty() || key == nullptr) return;
    state.set_service(service);
    state.set_generation(generation);
    state.set_single_use(record.single_use);
    state.set_blade(self_);
    state.set_epoch(epoch_);
    chassis::Record message;
    to_message(record, served_, 0, message);
    batch.jobs.push_back({key, sealing_context(state), message.SerializeAsString()});
    batch.sealed.push_back(batch.out.sessions_size() - 1);
    batch.bytes += batch.jobs.back().text.size();
    OPENSSL_cleanse(message.mutable_session_der()->data(), message.session_der().size());
}

/// A while later: what was taken for a handshake that came to nothing is back by then.
void Checkpointer::tell_gone(chassis::Checkpoint& out, size_t& bytes, uint64_t& number, Time now) {
    Told told{{}, now};
    for (; !gone_.empty() && bytes < kMaxBytes && gone_.front().since + kMayComeBack <= now;
         gone_.pop_front()) {
        const Gone& gone = gone_.front();
        chassis::SessionState& state = *out.add_sessions();
        set_name(state, gone.name);
        state.set_gone(true);
        if (gone.receipt != MoveReceipt{}) state.set_receipt(gone.receipt.data(), gone.receipt.size());
        bytes += kStateBytes;
        told.gone.push_back(gone);
    }
    if (told.gone.empty()) return;
    number = ++last_number_;
    told_.emplace(number, std::move(told));
}

bool Checkpointer::next(chassis::Checkpoint& out, uint64_t& number, Time now) {
    Batch batch{out, {}, {}, 0};
    number = 0;
    tell_gone(out, batch.bytes, number, now);
    for (; !changed_.empty() && batch.bytes < kMaxBytes; changed_.pop_front()) add(changed_.front(), batch);
    while (!walk_.done() && batch.bytes < kMaxBytes)
        for (const SessionInfo& info : store_.list(walk_, Store::Which::kAll, kWalkBatch))
            add(info.name, batch);
    if (auto sealed = seal(batch.jobs); sealed)
        for (size_t i = 0; i < batch.jobs.size(); i++)
            out.mutable_sessions(batch.sealed[i])->set_sealed(std::move(batch.jobs[i].text));
    return out.sessions_size() != 0;
}

/// Without a word in the journal: the session itself is not gone, this copy of it is.
size_t Checkpointer::destroy(const chassis::Stale& stale) {
    size_t destroyed = 0;
    for (const chassis::SessionState& state : stale.sessions()) {
        SessionName name;
        if (state.name().size() != name.size()) continue;
        std::ranges::copy(state.name(), name.begin());
        const auto here = store_.peek(name);
        const bool same = here && here->uses == state.uses() &&
                          state.digest().size() == here->digest.size() &&
                          std::memcmp(here->digest.data(), state.digest().data(), here->digest.size()) == 0;
        SessionRecord copy;
        if (same && store_.take(name, copy)) destroyed++;
    }
    return destroyed;
}

Result<void> Checkpointer::open(const chassis::SessionState& state, uint64_t now_ms,
                                SessionRecord& out) const {
    const SealingKey* const key = keys_.find(state.service(), state.generation());
    if (key == nullptr)
        return fail("pool key {} of '{}' is not here (yet)", state.generation(),
                    state.service().substr(0, 63));
    auto plain = unseal(*key, sealing_context(state), state.sealed());
    if (!plain) return fail("it {}", plain.error().message);
    chassis::Record record;
    const bool parsed = record.ParseFromString(*plain);
    OPENSSL_cleanse(plain->data(), plain->size());
    const bool right = parsed && record.name() == state.name() && record.uses() == state.uses() &&
                       record.digest() == state.digest() && record.single_use() == state.single_use();
    auto read = right ? from_message(record, served_, now_ms, out)
                      : Result<void>(fail("it is not what it says to be"));
    OPENSSL_cleanse(record.mutable_session_der()->data(), record.session_der().size());
    out.early_data_spent = true;
    return read;
}

}  // namespace keyrail
