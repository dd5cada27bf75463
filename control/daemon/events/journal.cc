// SPDX-License-Identifier: Apache-2.0
#define SD_JOURNAL_SUPPRESS_LOCATION  // a line of this file says nothing
#include "control/daemon/events/journal.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <cstdlib>

#include "control/daemon/events/events.h"
#include "control/daemon/events/kinds.h"

namespace keyrail {

namespace {

spdlog::level::level_enum level_of(int priority) {
    if (priority <= LOG_ERR) return spdlog::level::err;
    return priority == LOG_WARNING ? spdlog::level::warn : spdlog::level::info;
}

int priority_of(const Event& event) {
    const EventKind* kind = kind_of(event.kind);
    return kind != nullptr ? kind->priority : LOG_NOTICE;
}

/// False: nobody has taken it.
bool sent_to_the_journal(const Event& event) {
    const std::vector<std::string> fields = journal_fields(event);
    std::vector<iovec> parts;
    for (const std::string& field : fields)
        parts.push_back({const_cast<char*>(field.data()), field.size()});  // it is only read
    return sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) == 0;
}

}  // namespace

std::vector<std::string> journal_fields(const Event& event) {
    std::vector<std::string> fields = {
        fmt::format("MESSAGE={}: {} (by {})", event.kind, event.text, event.actor),
        fmt::format("PRIORITY={}", priority_of(event)),
        "SYSLOG_IDENTIFIER=keyraild",
        fmt::format("KEYRAIL_EVENT={}", event.kind),
        fmt::format("KEYRAIL_EVENT_ID={}", event.id),
        fmt::format("KEYRAIL_ACTOR={}", event.actor),
        fmt::format("KEYRAIL_TEXT={}", event.text),
        fmt::format("KEYRAIL_TIMES={}", event.times)};
    if (const EventKind* kind = kind_of(event.kind)) fields.push_back(fmt::format("MESSAGE_ID={}", kind->id));
    if (event.blade != 0) fields.push_back(fmt::format("KEYRAIL_BLADE={}", event.blade));
    if (!event.service.empty()) fields.push_back(fmt::format("KEYRAIL_SERVICE={}", event.service));
    return fields;
}

bool stderr_is_the_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat file{};
    return stream != nullptr && fstat(STDERR_FILENO, &file) == 0 &&
           fmt::format("{}:{}", file.st_dev, file.st_ino) == stream;
}

void write_to_log(const Event& event) {
    static const bool journal = stderr_is_the_journal();
    if (journal && sent_to_the_journal(event)) return;
    spdlog::log(level_of(priority_of(event)), "{}: {} (by {})", event.kind, event.text, event.actor);
}

}  // namespace keyrail
