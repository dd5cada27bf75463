// SPDX-License-Identifier: Apache-2.0
// A store of its own for a test, on tmpfs, gone when the test ends; and records that can be told whole or
// damaged.
#pragma once

#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "control/store/store.h"

namespace keyrail::testing {

class TempStore {
  public:
    explicit TempStore(uint64_t size = 4 << 20) : size_(size), store_(make()) {}
    ~TempStore() {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    TempStore(const TempStore&) = delete;
    TempStore& operator=(const TempStore&) = delete;

    Store& operator*() { return store_; }
    Store* operator->() { return &store_; }
    [[nodiscard]] std::string path() const { return directory_ + "/store"; }
    [[nodiscard]] uint64_t size() const { return size_; }
    /// As an agent does that was restarted, with another size perhaps, while a server runs.
    void reattach(uint64_t size = 0) {
        const auto server = Store::open(path());
        {
            const Store gone = std::move(store_);
        }
        if (size != 0) size_ = size;
        store_ = make();
    }

  private:
    Store make() {
        if (directory_.empty()) {
            char name[] = "/dev/shm/keyrail-test-XXXXXX";
            if (mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp under /dev/shm failed");
            directory_ = name;
        }
        auto store = Store::create(path(), size_, "", nullptr);
        if (!store) throw std::runtime_error(store.error().message);
        return std::move(*store);
    }

    std::string directory_;
    uint64_t size_;
    Store store_;
};

inline SessionName name_of(uint64_t number) {
    SessionName name{};
    name[0] = 7;
    std::memcpy(&name[1], &number, sizeof number);
    for (size_t i = 9; i < name.size(); i++) name[i] = static_cast<uint8_t>(number * 31 + i);
    return name;
}

/// Every byte of the record follows from its number, so that a mixture of two records shows.
inline void fill(SessionRecord& record, uint64_t number, uint16_t der_size) {
    record.name = name_of(number);
    record.tls_version = number % 2 ? TlsVersion::tls13 : TlsVersion::tls12;
    record.single_use = number % 2;
    record.port = 443;
    record.service = ServiceId(number + 1);
    record.digest.fill(static_cast<uint8_t>(number));
    record.early_data_spent = number % 3 == 0;
    record.created_ms = 1000 + number;
    record.authenticated_ms = 2000 + number;
    record.expires_ms = uint64_t{1} << 50;
    record.der_size = der_size;
    for (size_t i = 0; i < der_size; i++)
        record.der[i] = static_cast<uint8_t>(number * 7 + i * 13 + der_size);
}

inline bool whole(const SessionRecord& record) {
    uint64_t number = 0;
    std::memcpy(&number, &record.name[1], sizeof number);
    SessionRecord expected;
    fill(expected, number, record.der_size);
    return record.name == expected.name && record.tls_version == expected.tls_version &&
           record.single_use == expected.single_use && record.created_ms == expected.created_ms &&
           record.service == expected.service && record.digest == expected.digest &&
           record.early_data_spent == expected.early_data_spent &&
           record.authenticated_ms == expected.authenticated_ms && record.expires_ms == expected.expires_ms &&
           record.site == expected.site &&
           std::memcmp(record.der.data(), expected.der.data(), record.der_size) == 0;
}

}  // namespace keyrail::testing
