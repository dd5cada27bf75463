// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/purges.h"

#include <algorithm>

#include "control/protocol/file.h"

namespace keyrail {

Result<void> Purges::load() {
    std::error_code error;
    if (!std::filesystem::exists(file_, error)) return {};
    const auto text = read_file(file_, kMaxStateFile);
    if (!text) return tl::make_unexpected(text.error());
    auto found = read(*text);
    if (!found)
        return fail("{}: damaged; remove it, then purge again what was purged while a blade was away",
                    file_.string());
    purges_ = std::move(*found);
    return {};
}

Result<void> Purges::save() {
    if (!changed_ || file_.empty()) return {};
    auto saved = replace_file(file_, written(), 0600);
    if (saved) changed_ = false;
    return saved;
}

/// Too many to tell a blade that is away one by one: of the two oldest becomes one of everything. It destroys
/// more than was asked for, and never less.
Result<void> Purges::add(const chassis::Purge& message, uint64_t now_ms) {
    const auto what = Purged::from(message);
    if (!what) return {};
    if (purges_.size() >= kMax) {
        Purge& next = purges_[1];
        std::erase_if(next.answered, [&](BladeId blade) { return !purges_[0].answered.contains(blade); });
        next.what = {};
        const uint64_t number = next.message.number();
        next.message.Clear();
        next.message.set_number(number);
        next.message.set_all(true);
        purges_.erase(purges_.begin());
    }
    purges_.push_back({message, *what, {}, now_ms});
    done_.clear();
    changed_ = true;
    return save();
}

void Purges::answered(BladeId blade, uint64_t number) {
    for (Purge& purge : purges_)
        if (purge.message.number() == number && purge.answered.insert(blade).second) changed_ = true;
    if (of(blade).empty()) done_.insert(blade);
}

void Purges::drop_old(uint64_t now_ms) {
    const auto old = [&](const Purge& purge) { return now_ms > purge.made_ms + kForMs; };
    if (std::erase_if(purges_, old) != 0) changed_ = true;
}

std::vector<chassis::Purge> Purges::of(BladeId blade) const {
    std::vector<chassis::Purge> found;
    if (done_.contains(blade)) return found;
    for (const Purge& purge : purges_)
        if (!purge.answered.contains(blade)) found.push_back(purge.message);
    return found;
}

bool Purges::purging(BladeId blade, const SessionName& name, ServiceId service) const {
    return !done_.contains(blade) && std::ranges::any_of(purges_, [&](const Purge& purge) {
        return !purge.answered.contains(blade) && purge.what.means(name, service);
    });
}

uint64_t Purges::last_number() const {
    uint64_t last = 0;
    for (const Purge& purge : purges_) last = std::max(last, purge.message.number());
    return last;
}

}  // namespace keyrail
