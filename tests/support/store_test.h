// SPDX-License-Identifier: Apache-2.0
// What tests of the session store have in common.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <initializer_list>
#include <random>
#include <set>
#include <string_view>
#include <thread>

#include "control/store/store.h"
#include "control/store/store_shard.h"
#include "tests/support/put_session.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {

using testing::fill;
using testing::name_of;
using testing::put;
using testing::StoreMemory;
using testing::TempStore;
using testing::whole;

}  // namespace keyrail
