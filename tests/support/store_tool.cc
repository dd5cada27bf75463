// SPDX-License-Identifier: Apache-2.0
// A session store by hand, for tests that are not C++:
//   create PATH MB [GROUP] (again: as an agent that starts again) | hold PATH (its locks, until stdin ends) |
//   fill PATH COUNT PORT SERVICE | control PATH WORD[=VALUE]... | list PATH | stats PATH |
//   costs PATH | move FROM TO NAME [spent] | purge PATH
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "control/protocol/session_home.h"
#include "control/store/store.h"
#include "tests/support/session_names.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace {

using namespace keyrail;

int fail_with(const std::string& message) {
    fmt::print(stderr, "store_tool: {}\n", message);
    return 1;
}

std::string hex(std::span<const uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
    return text;
}

std::vector<uint8_t> unhex(const std::string& text) {
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(static_cast<uint8_t>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16)));
    return bytes;
}

/// Home blade of a name under the store's current key; 0 when it is none of ours.
int home(const SessionName& name, const StoreControl& control) {
    if (control.name_key_count == 0 || name[0] != control.name_keys[0].generation) return 0;
    return NameOpener(control.name_keys[0].key).home(name).value_or(BladeId{});
}

int list(Store& store) {
    StoreControl control;
    store.control().read([&](const StoreControl& now) { control = now; });
    Store::Cursor cursor;
    while (!cursor.done()) {
        for (const auto& info : store.list(cursor, Store::Which::kAll, 1000))
            fmt::print(
                "{} {:04x} home={} port={} uses={} single_use={} lifetime_ms={} service={:x} digest={}\n",
                hex(info.name), number_of(info.tls_version), home(info.name, control), info.port, info.uses,
                info.single_use, info.expires_ms - info.created_ms, info.service.number(), hex(info.digest));
    }
    return 0;
}

/// Sessions of TLS 1.2 that the blade of this store has made, all different, and no server has.
int fill(Store& store, uint64_t count, uint16_t port, const std::string& service) {
    StoreControl control;
    store.control().read([&](const StoreControl& now) { control = now; });
    if (control.name_key_count == 0) return fail_with("the agent has given it no name key");
    SessionRecord record;
    testing::fill(record, 0, 160);
    record.port = port;
    record.service = ServiceId::of(service);
    record.created_ms = record.authenticated_ms = wall_clock_ms();
    record.expires_ms = wall_clock_ms() + 3'600'000;
    record.early_data_spent = false;
    for (uint64_t i = 0; i < count; i++) {
        const StoreNameKey& key = control.name_keys[0];
        record.name = testing::name_at(key.key, key.generation, control.blade_id, i);
        if (store.put(record) != Store::Put::kStored) return fail_with("it takes no more");
    }
    return 0;
}

int move(Store& from, const std::string& to, const std::string& name_text, bool spent) {
    auto target = Store::open(to);
    if (!target) return fail_with(target.error().message);
    const std::vector<uint8_t> bytes = unhex(name_text);
    SessionName name{};
    if (bytes.size() != name.size()) return fail_with("a name is 64 hex digits");
    std::memcpy(name.data(), bytes.data(), name.size());
    SessionRecord record;
    if (!from.take(name, record)) return fail_with("no such session");
    record.moved_in = true;
    record.early_data_spent = record.early_data_spent || spent;
    return target->put(record) == Store::Put::kStored ? 0 : fail_with("refused");
}

/// As a record that another OpenSSL made, that a process wrote over, or that a hostile blade sent: `how` is
/// `garbage`, `truncate`, `version` (of the format), `cipher` (one that nobody has), or the hex digits of the
/// whole session.
int damage(Store& store, const std::string& name_text, const std::string& how) {
    const std::vector<uint8_t> bytes = unhex(name_text);
    SessionName name{};
    SessionRecord record;
    if (bytes.size() != name.size()) return fail_with("a name is 64 hex digits");
    std::memcpy(name.data(), bytes.data(), name.size());
    if (!store.take(name, record)) return fail_with("no such session");
    if (how == "garbage") {
        for (uint16_t i = 4; i < record.der_size; i++) record.der[i] = static_cast<uint8_t>(i * 167 + 29);
    } else if (how == "truncate") {
        record.der_size /= 2;
    } else if (how == "version" || how == "cipher") {
        // SEQUENCE, INTEGER version 1, INTEGER protocol (2 bytes), OCTET STRING cipher (2 bytes)
        const auto end = record.der.begin() + record.der_size;
        const std::array<uint8_t, 3> version{0x02, 0x01, 0x01};
        const std::array<uint8_t, 2> suite{0x04, 0x02};
        const auto at = how == "version"
                            ? std::search(record.der.begin(), end, version.begin(), version.end())
                            : std::search(record.der.begin(), end, suite.begin(), suite.end());
        if (at == end) return fail_with("the session is not as expected");
        at[2] = 0x7f;
        if (how == "cipher") at[3] = 0x7f;
    } else {
        const std::vector<uint8_t> der = unhex(how);
        if (der.empty() || der.size() > record.der.size()) return fail_with("no such damage");
        std::copy(der.begin(), der.end(), record.der.begin());
        record.der_size = static_cast<uint16_t>(der.size());
    }
    return store.put(record) == Store::Put::kStored ? 0 : fail_with("refused");
}

/// What an agent would tell the servers, word by word; `port` makes a service of the policy so far.
int control(Store& store, const std::vector<std::string>& words) {
    StoreControl control;
    for (const std::string& word : words) {
        const auto equals = word.find('=');
        const std::string name = word.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
        SessionPolicy& policy = control.services[0];
        if (name == "blade") {
            control.blade_id = BladeId::or_none(std::stoul(value));
        } else if (name == "key") {  // hex, the current one first; its generation in front
            const std::vector<uint8_t> bytes = unhex(value);
            StoreNameKey& key = control.name_keys.at(control.name_key_count++);
            if (bytes.size() != 1 + key.key.size()) return fail_with("a name key is 2 + 32 hex digits");
            key.generation = bytes[0];
            std::memcpy(key.key.data(), &bytes[1], key.key.size());
        } else if (name == "service") {  // what connections at no service's address are of
            policy.service = ServiceId::of(value);
        } else if (name == "lifetime_s") {
            policy.lifetime_s = static_cast<uint32_t>(std::stoul(value));
        } else if (name == "reusable") {
            policy.tickets = Tickets::kReusable;
        } else if (name == "early_data_once") {
            policy.tickets = Tickets::kEarlyDataOnce;
            policy.early_data = true;
        } else if (name == "early_data") {
            policy.early_data = true;
        } else if (name == "pull_budget_us") {
            control.pull_budget_us = static_cast<uint32_t>(std::stoul(value));
        } else if (name == "pull_socket") {
            const std::vector<uint8_t> bytes = unhex(value);
            if (bytes.size() != control.pull_socket.size())
                return fail_with("a socket's number is 32 hex digits");
            std::memcpy(control.pull_socket.data(), bytes.data(), bytes.size());
        } else if (name == "renew_tickets") {
            control.renew_tickets = true;
        } else if (name == "checker") {  // checks come from 127.0.0.1
            control.checkers.at(control.checker_count++) = {0, 0, 0,    0,    0,   0, 0, 0,
                                                            0, 0, 0xff, 0xff, 127, 0, 0, 1};
        } else if (name == "group") {
            policy.has_id_context = true;
            policy.id_context.fill(static_cast<uint8_t>(std::stoul(value)));
        } else if (name == "port") {  // a service there, with the policy so far
            ServiceEndpoint& place = control.endpoints.at(control.endpoint_count++);
            place = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1},
                     static_cast<uint16_t>(std::stoul(value)),
                     control.service_count};
            control.services.at(control.service_count) = policy;
            control.services.at(control.service_count++).service = ServiceId::of(value);
        } else {
            return fail_with("unknown word " + word);
        }
    }
    store.set_control(control);
    return 0;
}

/// A store lives as long as somebody has it: a child has this one as long as its file is there. As a server,
/// for the tool may be called again as its agent.
int keep(const std::string& path, Store made) {
    if (fork() != 0) return 0;
    for (int fd = 0; fd < 3; fd++) close(fd);
    setsid();
    const auto server = Store::open(path);
    {
        const Store agent = std::move(made);
    }
    while (server && access(path.c_str(), F_OK) == 0) usleep(50'000);
    return 0;
}

/// Every lock, as a hostile process of the servers' group would: until the end of stdin.
int hold(const std::string& path) {
    const testing::StoreMemory memory(path);
    memory.set_locks(static_cast<uint32_t>(getpid()));
    fmt::print("{} locks\n", memory.geometry().shards);
    std::fflush(stdout);
    while (std::getchar() != EOF) continue;
    memory.set_locks(0);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() < 2) return fail_with("usage: see the source");
    if (words[0] == "create") {
        auto made = Store::create(words[1], std::stoull(words.at(2)) << 20, words.size() > 3 ? words[3] : "",
                                  nullptr);
        return made ? keep(words[1], std::move(*made)) : fail_with(made.error().message);
    }
    if (words[0] == "hold") return hold(words[1]);
    auto store = Store::open(words[1]);
    if (!store) return fail_with(store.error().message);
    if (words[0] == "list") return list(*store);
    if (words[0] == "purge") {
        fmt::print("{}\n", store->purge([](const SessionInfo&) { return true; }).purged);
        return 0;
    }
    if (words[0] == "move") return move(*store, words.at(2), words.at(3), words.size() > 4);
    if (words[0] == "fill")
        return fill(*store, std::stoull(words.at(2)), static_cast<uint16_t>(std::stoul(words.at(3))),
                    words.at(4));
    if (words[0] == "stats") {
        const StoreStats stats = store->stats();
        fmt::print("sessions={} hits={} misses={} full={} resumed={}\n", stats.sessions, stats.hits,
                   stats.misses, stats.full, stats.resumed);
        return 0;
    }
    if (words[0] == "costs") {
        for (const HandshakeCost& cost : store->costs())
            fmt::print("service={:x} tls13={} resumed={} count={} cpu_ns={} wall_ns={}\n",
                       cost.service.number(), cost.tls13, cost.resumed, cost.count, cost.cpu_ns,
                       cost.wall_ns);
        return 0;
    }
    if (words[0] == "damage") return damage(*store, words.at(2), words.at(3));
    if (words[0] == "control") return control(*store, {words.begin() + 2, words.end()});
    return fail_with("unknown command " + words[0]);
}
