// SPDX-License-Identifier: Apache-2.0
// What tests of keyraild as a whole have in common: the bench, and the names that they use.
#pragma once

#include <gmock/gmock.h>

#include "tests/support/blade_ids.h"
#include "tests/support/keyraild_bench.h"

namespace keyrail {

using chassis::Envelope;
using link::ToDataplane;
using ::testing::ElementsAre;
using testing::FakeAgent;
using testing::FakeDataplane;
using ::testing::HasSubstr;
using testing::KeyraildBench;
using testing::Process;
using ::testing::SizeIs;

}  // namespace keyrail
