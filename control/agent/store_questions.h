// SPDX-License-Identifier: Apache-2.0
// What keyraild asks about this blade's sessions: Query, List, Purge.
#pragma once

#include "control/agent/fences.h"
#include "control/agent/records.h"
#include "control/store/store.h"

namespace keyrail {

namespace chassis {
class Envelope;
}

/// The answer, with the question's request number; without a body when the question is none of these.
chassis::Envelope answer_question(Store& store, const ServedServices& served, Fences& fences,
                                  const chassis::Envelope& question);

}  // namespace keyrail
