// SPDX-License-Identifier: Apache-2.0
// Exit statuses of all programs of Keyrail.
#pragma once

namespace keyrail {

enum ExitStatus : int {
    kDone = 0,
    kRefused = 1,      // or failed: what was wanted is not so
    kUsage = 2,        // the command line is not understood
    kUnreachable = 3,  // keyraild
    kNotAllowed = 4,
    kConflict = 5,  // another change is under way, or another revision is in force
    kNotFound = 6,  // what was named
    kPartly = 7,
    kNotInTime = 8,
};

}  // namespace keyrail
