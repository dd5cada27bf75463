// SPDX-License-Identifier: Apache-2.0
// The kinds of events that there are. In the journal each has an id of its own (MESSAGE_ID), by which
// `journalctl MESSAGE_ID=…` finds it, and an entry in keyrail.catalog, which `journalctl -x` shows: what it
// means and what to do. A test compares the two.
#pragma once

#include <syslog.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace keyrail {

struct EventKind {
    std::string_view name;  // "blade.drain.started"
    std::string_view id;    // 128 bits in hex; never another one
    int priority = LOG_INFO;
    unsigned at_once = 1;  // so often in a minute, when keyraild notices it: what changes to and fro is seen
};

inline constexpr auto kEventKinds = std::to_array<EventKind>({
    {"config.applied", "d4c8bf0a6917489a81291d27b7d0ac06", LOG_NOTICE},
    {"config.pending", "44e4e810223d46fa9488d874954c40ac", LOG_NOTICE},
    {"config.confirmed", "189ad6bfe39b4f49bbf490bd2be9f335", LOG_NOTICE},
    {"config.rolled_back", "15872d8a9712404cb3fbcc6ec3dfdbeb", LOG_WARNING},
    {"config.refused", "cfd169c0fa6645a894cb5bfd26a2f3c0", LOG_WARNING},
    {"blade.up", "0fb6e7cb0c4542a1935a63be818588fc", LOG_NOTICE, 4},
    {"blade.down", "a0f4edd77ea54ac2b14924c839231f4f", LOG_WARNING, 4},
    {"blade.overloaded", "e87859b668dc493898d8dcf08ceae551", LOG_WARNING, 4},
    {"blade.gone", "dfa1548398014efdafdd18a06abec5cb", LOG_WARNING, 4},
    {"blade.off", "09648d7897d34a43badfa60cfab6919c", LOG_NOTICE},
    {"blade.drain.started", "fe318b2ca20c45618ef7c3eef15a0e2e", LOG_NOTICE},
    {"blade.drain.stuck", "a88557f238064e0ca18479c257175398", LOG_WARNING},
    {"blade.drain.done", "f77f877cabec4830a16c1e1f66e97731", LOG_NOTICE},
    {"blade.resumed", "fe2b0b613ce141c4a51a038790ba9c42", LOG_NOTICE},
    {"blade.invited", "e1668aa4eba44c7a9e43c7cf2f2575f7", LOG_NOTICE},
    {"blade.enrolled", "d7deee798d92416ab61c700d6dff4c27", LOG_NOTICE},
    {"blade.revoked", "5c85f8abc44d47789e54558b567c453d", LOG_NOTICE},
    {"blade.not_let_in", "26c1a0ed8c1545f18c3bb4da37ada059", LOG_WARNING},
    {"service.no_blade", "c9a3703591b24fa9a16d8b8a5466b3d6", LOG_ERR, 4},
    {"service.blade_again", "600c0cc272754928bc5b41d6e7b007bd", LOG_NOTICE, 4},
    {"session.purged", "4ac40630b9f747969d97ae8aca7f82cd", LOG_NOTICE},
    {"key.coming", "97f5c7ab63de4d2da74b80a0573c971c", LOG_NOTICE, 4},
    {"key.current", "155ea97528214a81ad1a4fffee156b06", LOG_NOTICE, 4},
    {"key.retired", "c82c7e608e564ec298c67697a6ffe519", LOG_INFO},
    {"key.stuck", "09f3e914520b4b0dacc1647be202ef65", LOG_WARNING},
    {"certificate.expiring", "18988a12de274a5995b778187b117861", LOG_WARNING},
    {"repository.down", "45eb8fd0704344ac80809971dce3e4a8", LOG_WARNING, 4},
    {"repository.up", "15d81d61cb704628a0ee5668f134a21b", LOG_NOTICE, 4},
    {"dataplane.connected", "7f4f8627ca0b403294e55e851c0b180a", LOG_NOTICE, 4},
    {"dataplane.gone", "4728a1dbf0174dbd9622a2ed167c985c", LOG_ERR, 4},
    {"dataplane.not_conserved", "2900c03455604a51ab667c50d42e2194", LOG_ERR},
});

/// nullptr: it has no id of its own.
constexpr const EventKind* kind_of(std::string_view name) {
    const auto* found = std::ranges::find(kEventKinds, name, &EventKind::name);
    return found == kEventKinds.end() ? nullptr : found;
}

}  // namespace keyrail
