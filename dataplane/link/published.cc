// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/published.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <vector>

#include "dataplane/core/snapshot.h"
#include "dataplane/link/kept_snapshot.h"
#include "dataplane/link/kernel_routes.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/moved_table.h"
#include "link.pb.h"

namespace keyrail {
namespace {

void wipe(std::string& secret) { OPENSSL_cleanse(secret.data(), secret.size()); }

uint32_t expiry_of(const link::MovedEntry& entry) {
    return static_cast<uint32_t>(std::min<uint64_t>(entry.expires_unix_s(), UINT32_MAX));
}

SessionName name_of(const link::MovedEntry& entry) {
    SessionName name;
    std::memcpy(name.data(), entry.name().data(), name.size());
    return name;
}

}  // namespace

uint32_t unix_now() { return static_cast<uint32_t>(std::time(nullptr)); }

void wipe_keys(link::Snapshot& snapshot) {
    for (auto& key : *snapshot.mutable_cookie_keys()) wipe(*key.mutable_key());
    for (auto& key : *snapshot.mutable_name_keys()) wipe(*key.mutable_key());
}

Result<void> check_moved(const link::MovedEntry& entry) {
    if (entry.name().size() != kSessionNameSize) {
        return fail("moved entry: a session name has {} bytes, not {}", kSessionNameSize,
                    entry.name().size());
    }
    if (entry.holder() < BladeId::kMin || entry.holder() > BladeId::kMax) {
        return fail("moved entry: holder {} is not in {}..{}", entry.holder(), BladeId::kMin, BladeId::kMax);
    }
    return {};
}

Result<void> Published::take(const link::Snapshot& message) {
    if (auto good = put_in_force(message); !good) return good;
    if (kept_ != nullptr)
        if (auto good = kept_->keep(message); !good)
            SPDLOG_WARN("the snapshot is not kept: {}", good.error().message);
    return {};
}

/// With the snapshot of the process before, as it went on with its last one without keyraild.
void Published::go_on() {
    if (kept_ == nullptr) return;
    link::Snapshot message;
    auto good = kept_->read(message);
    if (good) good = put_in_force(message);
    wipe_keys(message);
    if (!good) SPDLOG_INFO("no snapshot before keyraild sends one: {}", good.error().message);
}

Result<void> Published::put_in_force(const link::Snapshot& message) {
    auto built = Snapshot::build(message);
    if (!built) return tl::make_unexpected(built.error());
    sync_kernel(message);  // first: no worker may know a blade by a new address, and send to the old one
    const Snapshot* before = shared_.snapshot.exchange(built->release(), std::memory_order_acq_rel);
    Grace grace(shared_.rcu);
    grace.changed();
    grace.wait();
    delete before;
    SPDLOG_INFO("snapshot {}: {} services, {} blades", message.generation(), message.services_size(),
                message.blades_size());
    return {};
}

void Published::sync_kernel(const link::Snapshot& message) {
    if (kernel_ == nullptr) return;
    std::vector<BladeAddress> blades;
    for (const link::Blade& blade : message.blades()) {
        if (const auto address = address_of_bytes(blade.address())) {
            blades.push_back({BladeId::or_none(blade.id()), *address});
        }
    }
    std::vector<IpAddress> vips;
    for (const link::Service& service : message.services()) {
        for (const std::string& bytes : service.addresses()) {
            if (const auto address = address_of_bytes(bytes)) vips.push_back(*address);
        }
    }
    kernel_->set_vips(vips);
    kernel_->set_blades(blades);
}

Result<void> Published::set_moved(const link::MovedEntry& entry) {
    MovedTable& moved = *shared_.moved;
    const BladeId holder = BladeId::or_none(entry.holder());
    if (moved.set(name_of(entry), holder, expiry_of(entry), unix_now())) return {};
    return fail("the moved table is full with {} entries; raise memory.moved in the profile", moved.size());
}

Result<void> Published::take(const link::MovedEntries& message) {
    for (const link::MovedEntry& entry : message.entries()) {
        if (auto good = check_moved(entry); !good) return good;
    }
    if (message.replace_all()) shared_.moved->clear();
    for (const link::MovedEntry& entry : message.entries()) {
        if (auto good = set_moved(entry); !good) return good;
    }
    return {};
}

}  // namespace keyrail
