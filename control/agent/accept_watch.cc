// SPDX-License-Identifier: Apache-2.0
#include "control/agent/accept_watch.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

namespace keyrail {

namespace {

/// proc(5), net/snmp and net/netstat: two lines for each protocol, names and values. 0: it is not there.
uint64_t counter(const std::string& file, const std::string& protocol, const std::string& wanted) {
    std::ifstream lines(file);
    std::string names, values;
    while (std::getline(lines, names) && std::getline(lines, values)) {
        std::istringstream name_words(names), value_words(values);
        std::string name, value;
        if (!names.starts_with(protocol + " ")) continue;
        while (name_words >> name && value_words >> value)
            if (name == wanted) return std::strtoull(value.c_str(), nullptr, 10);
    }
    return 0;
}

/// Since the last look; what steps back (the program is attached anew, one counter is read before the other)
/// is no news.
uint64_t more(uint64_t& last, uint64_t now) {
    const auto step = static_cast<int64_t>(now - std::exchange(last, now));
    return step > 0 ? static_cast<uint64_t>(step) : 0;
}

}  // namespace

std::optional<std::string> AcceptWatch::look(uint64_t accepted, uint64_t opened, Time now) {
    const uint64_t more_accepted = more(accepted_, accepted);
    const uint64_t more_opened = more(opened_, opened);
    const uint64_t before = missing_;
    missing_ = missing_ + more_accepted - std::min(missing_ + more_accepted, more_opened);
    if (std::exchange(first_, false) || (lost_ && now >= until_)) {
        missing_ = 0;
        lost_ = false;  // tried again
    } else if (!lost_ && before >= kMissing && missing_ >= before && 2 * more_opened < more_accepted) {
        lost_ = true;
        until_ = now + pause_;
        pause_ = std::min(2 * pause_, kLongestPause);
    } else if (!lost_ && missing_ == 0 && more_accepted != 0) {
        pause_ = kFirstPause;
    }
    if (!lost_) return std::nullopt;
    return lost_on_the_way("the server");
}

std::string lost_on_the_way(const std::string& where) {
    return "connections that the accept program has accepted do not reach " + where +
           ": a packet filter of this blade drops them; let TCP without SYN in for the VIPs "
           "(a rule like 'new, but not SYN: drop' must not apply to them)";
}

uint64_t connections_refused(const std::string& folder) {
    return counter(folder + "/netstat", "TcpExt:", "ListenDrops");
}

uint64_t connections_opened(const std::string& folder) {
    return counter(folder + "/snmp", "Tcp:", "PassiveOpens") +
           counter(folder + "/snmp", "Tcp:", "InCsumErrors") + connections_refused(folder);
}

}  // namespace keyrail
