// SPDX-License-Identifier: Apache-2.0
// What tests of chassis connections have in common: the bench, and the names that they use.
#pragma once

#include "tests/support/channel_bench.h"

namespace keyrail {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using chassis::Envelope;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using testing::FakeEnd;
using testing::frame;
using ::testing::HasSubstr;
using testing::run_until;
using ::testing::SizeIs;
using testing::Stranger;
using testing::TestChassis;
using testing::text_of;

}  // namespace keyrail
