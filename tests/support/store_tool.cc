// SPDX-License-Identifier: Apache-2.0
// A session store by hand, for tests that are not C++:
//   create PATH MB | key PATH BLADE GENERATION HEXKEY LIFETIME_S | list PATH | stats PATH | move FROM TO NAME
#include <fmt/format.h>
#include <openssl/evp.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "control/agent/store.h"

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
    if (!control.has_name_key || name[0] != control.name_key_generation) return 0;
    NameBlock block{};
    int size = 0;
    EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new();
    EVP_DecryptInit_ex(cipher, EVP_aes_128_ecb(), nullptr, control.name_key.data(), nullptr);
    EVP_CIPHER_CTX_set_padding(cipher, 0);
    EVP_DecryptUpdate(cipher, block.data(), &size, &name[kNameBlockOffset], kNameBlockSize);
    EVP_CIPHER_CTX_free(cipher);
    return home_of(block).value_or(0);
}

int list(Store& store) {
    const StoreControl control = store.control().value_or(StoreControl{});
    Store::Cursor cursor;
    while (!cursor.done()) {
        for (const auto& info : store.list(cursor, Store::Which::kAll, 1000))
            fmt::print("{} {:04x} home={} port={} uses={} single_use={} lifetime_ms={}\n", hex(info.name),
                       info.tls_version, home(info.name, control), info.port, info.uses, info.single_use,
                       info.expires_ms - info.created_ms);
    }
    return 0;
}

int move(Store& from, const std::string& to, const std::string& name_text) {
    auto target = Store::open(to);
    if (!target) return fail_with(target.error().message);
    const std::vector<uint8_t> bytes = unhex(name_text);
    SessionName name{};
    if (bytes.size() != name.size()) return fail_with("a name is 64 hex digits");
    std::memcpy(name.data(), bytes.data(), name.size());
    SessionRecord record;
    if (!from.take(name, record)) return fail_with("no such session");
    record.moved_in = true;
    return target->put(record) == Store::Put::kStored ? 0 : fail_with("refused");
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() < 2) return fail_with("usage: see the source");
    if (words[0] == "create") {
        const auto made = Store::create(words[1], std::stoull(words.at(2)) << 20, "", nullptr);
        return made ? 0 : fail_with(made.error().message);
    }
    auto store = Store::open(words[1]);
    if (!store) return fail_with(store.error().message);
    if (words[0] == "list") return list(*store);
    if (words[0] == "move") return move(*store, words.at(2), words.at(3));
    if (words[0] == "stats") {
        const StoreStats stats = store->stats();
        fmt::print("sessions={} hits={} misses={} full={} resumed={}\n", stats.sessions, stats.hits,
                   stats.misses, stats.full, stats.resumed);
        return 0;
    }
    if (words[0] == "key") {
        StoreControl control;
        control.blade_id = static_cast<uint16_t>(std::stoul(words.at(2)));
        control.name_key_generation = static_cast<uint8_t>(std::stoul(words.at(3)));
        const std::vector<uint8_t> key = unhex(words.at(4));
        if (key.size() != control.name_key.size()) return fail_with("a name key is 32 hex digits");
        std::memcpy(control.name_key.data(), key.data(), key.size());
        control.has_name_key = true;
        control.session_lifetime_s = static_cast<uint32_t>(std::stoul(words.at(5)));
        store->set_control(control);
        return 0;
    }
    return fail_with("unknown command " + words[0]);
}
