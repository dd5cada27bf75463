// SPDX-License-Identifier: Apache-2.0
// What tests of the agent have in common: the bench, and the names that they use.
#pragma once

#include "tests/support/agent_bench.h"

namespace keyrail {

using chassis::Envelope;
using testing::FakeEnd;
using testing::fill;
using testing::kNameKey;
using testing::kReceipt;
using testing::kServicePort;
using testing::name_at;
using testing::name_of;
using testing::run_until;
using testing::TestChassis;
using testing::whole;

}  // namespace keyrail
