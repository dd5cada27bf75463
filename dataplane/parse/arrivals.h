// SPDX-License-Identifier: Apache-2.0
// What an agent says of a move (common/arrival.h): given, as an answer, to the worker that holds the hello.
#pragma once

#include "dataplane/common/arrival.h"
#include "dataplane/core/context.h"

namespace keyrail::parse {

/// Nothing that it says is believed here: that worker checks the token (bind/settle.cc).
void pass_on(const Arrival& arrival, Context& context);

}  // namespace keyrail::parse
