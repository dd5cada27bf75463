// SPDX-License-Identifier: Apache-2.0
#include "control/agent/restorer.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace keyrail {

chassis::MoveDone Restorer::restore(const chassis::Restore& restore) {
    SessionRecord record;
    auto opened = checkpointer_.open(restore.session(), wall_clock_ms(), record);
    if (opened && restore.receipt().size() != record.receipt.size()) opened = fail("it has no receipt");
    if (opened && fences_.stop(restore.order_id(), record)) opened = fail("it was purged");
    if (opened) {
        std::ranges::copy(restore.receipt(), record.receipt.begin());
        checkpointer_.came(record.name);
        record.moved_in = names_.home(record.name) != self_;
        if (store_.put(record) != Store::Put::kStored) opened = fail("the store cannot take it");
    }
    chassis::MoveDone done;
    done.set_order_id(restore.order_id());
    done.set_result(opened ? chassis::MOVED : chassis::REFUSED);
    done.set_expires_ms(record.expires_ms);
    if (!opened) {
        done.set_reason(opened.error().message);
        spdlog::warn("a session from the repository is refused: {}", opened.error().message);
    }
    return done;
}

}  // namespace keyrail
