// SPDX-License-Identifier: Apache-2.0
// Events in the log. Where that is systemd's journal, they have fields there (systemd.journal-fields(7)):
// MESSAGE_ID by its kind, KEYRAIL_EVENT, KEYRAIL_ACTOR, and what it is about; elsewhere they are lines.
#pragma once

#include <string>
#include <vector>

namespace keyrail {

struct Event;

void write_to_log(const Event& event);

/// "NAME=value" each.
std::vector<std::string> journal_fields(const Event& event);

/// Does what this process writes to stderr go to the journal? By JOURNAL_STREAM, as systemd.exec(5) says.
bool stderr_is_the_journal();

}  // namespace keyrail
