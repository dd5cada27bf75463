// SPDX-License-Identifier: Apache-2.0
// A session with this number into a store.
#pragma once

#include <gtest/gtest.h>

#include "tests/support/temp_store.h"

namespace keyrail::testing {

inline void put(Store& store, uint64_t number, uint16_t der_size) {
    SessionRecord record;
    fill(record, number, der_size);
    ASSERT_EQ(store.put(record), Store::Put::kStored);
}

}  // namespace keyrail::testing
