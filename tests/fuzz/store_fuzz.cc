// SPDX-License-Identifier: Apache-2.0
// The store's shared memory, written to by a hostile process of the servers' group: each step writes some
// bytes somewhere, or uses the store as a server or as the agent. Nothing may crash, hang, or read past the
// memory.
#include <cstring>

#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

constexpr uint64_t kSize = 1 << 20;

class Input {
  public:
    Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
    [[nodiscard]] bool empty() const { return left_ == 0; }
    template <typename T>
    T take() {
        T value{};
        const size_t size = std::min(left_, sizeof value);
        std::memcpy(&value, data_, size);
        data_ += size;
        left_ -= size;
        return value;
    }

  private:
    const uint8_t* data_;
    size_t left_;
};

/// Not into the locks: one that is held costs the patience, which is another test's.
void scribble(const testing::StoreMemory& memory, Input& input) {
    const uint64_t at = input.take<uint32_t>() % (kSize - sizeof(uint64_t));
    const auto value = input.take<uint64_t>();
    std::memcpy(memory.bytes() + at, &value, sizeof value);
    memory.set_locks(0);
}

void use(Store& store, uint8_t what, Input& input) {
    SessionRecord record;
    const uint64_t number = input.take<uint8_t>();
    const SessionName name = testing::name_of(number);
    switch (what) {
        case 0:
            testing::fill(record, number, static_cast<uint16_t>(1 + input.take<uint16_t>() % kMaxSessionDer));
            store.put(record);
            break;
        case 1:
            store.take(name, record);
            break;
        case 2:
            store.resume(name, number % 2 != 0 ? TlsVersion::tls13 : TlsVersion::tls12, 5000, record);
            break;
        case 3:
            store.erase(name);
            break;
        case 4:
            store.spend_early_data(name);
            store.advance(name, input.take<uint8_t>(), {});
            break;
        case 5: {
            Store::Cursor cursor{input.take<uint32_t>(), input.take<uint32_t>(), false};
            for (int i = 0; i < 10 && !cursor.done(); i++) store.list(cursor, Store::Which::kAll, 500);
            break;
        }
        case 6: {
            Store::JournalCursor cursor;
            std::vector<Store::Change> changes;
            store.changes(cursor, changes);
            (void)store.costs();
            (void)store.stats();
            break;
        }
        case 7:
            (void)store.retired();
            (void)store.successor();
            break;
        case 8:
            for (int i = 0; i < 4; i++) store.sweep(5000);
            break;
        default:
            store.control().read([](const StoreControl& control) {
                ServiceEndpoint place;
                (void)control.services[control.slot_of(place)].lifetime_s;
            });
    }
    if (record.der_size > kMaxSessionDer) __builtin_trap();
}

}  // namespace
}  // namespace keyrail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace keyrail;
    static testing::TempStore store(kSize);
    static const testing::StoreMemory memory(store.path());
    Input input(data, std::min<size_t>(size, 4096));
    while (!input.empty()) {
        const auto what = input.take<uint8_t>();
        if (what % 2 == 0)
            scribble(memory, input);
        else
            use(*store, what / 2 % 10, input);
    }
    return 0;
}
