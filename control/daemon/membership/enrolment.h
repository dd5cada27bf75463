// SPDX-License-Identifier: Apache-2.0
// Enrolment: who belongs to the chassis beyond what the configuration says. Blades that are let in by a
// token, tokens (only their hashes), which certificates of a blade are good, and which blades are revoked.
// Kept in <state_dir>/enrolment.json; a change that cannot be written has not happened. Time comes in.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/daemon/config/config.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

class Enrolment {
  public:
    using Time = std::chrono::system_clock::time_point;

    explicit Enrolment(std::filesystem::path file) : file_(std::move(file)) {}
    /// A damaged file is an error: nobody is let in, or kept out, by guessing.
    Result<void> load();

    /// The operator's wish for one blade. One that the configuration has keeps what stands there.
    struct Wish {
        BladeId id = 0;
        std::string name;                  // empty: "blade-<id>"
        std::optional<IpAddress> address;  // its agent listens there, port 7401
        std::vector<std::string> pools;
        std::chrono::seconds valid{3600};
    };
    static constexpr std::chrono::seconds kShortest{60}, kLongest{7 * 24 * 3600};
    /// A fresh secret for the blade's token; an older one is worth nothing from now on.
    Result<std::string> invite(const Wish& wish, const Config& configured, Time now);

    /// Whose token this is, if it can be used now; else why not, for the log and for the one who asks.
    [[nodiscard]] Result<BladeId> check(std::string_view secret, Time now) const;
    /// The token is used up; only this certificate of the blade is good.
    Result<void> admit(BladeId id, const std::string& serial);
    /// Of a blade whose certificates are known one by one: the one that it shows, and its next.
    Result<void> renew(BladeId id, const std::string& shown, const std::string& next);
    /// No certificate of this blade is good any more, no matter who signed it.
    Result<void> revoke(BladeId id);

    [[nodiscard]] bool revoked(BladeId id) const;
    /// Revoked, and not let in again.
    [[nodiscard]] std::vector<BladeId> revoked() const;

    /// What the configuration becomes: with the blades that were let in, without those that are revoked.
    /// Gives what did not fit together, a sentence each.
    std::vector<std::string> merge(Config& config) const;

  private:
    struct Token {
        std::array<uint8_t, 32> hash{};  // SHA-256 of the secret
        int64_t expires_s = 0;           // unix time
        bool used = false;
    };
    struct Entry {
        bool revoked = false;
        std::optional<BladeConfig> blade;  // it is not in the configuration
        std::vector<std::string> pools;    // likewise
        CertificateSet certificates;
        std::optional<Token> token;
    };
    using Entries = std::map<BladeId, Entry>;
    Result<void> replace(BladeId id, Entry entry);
    [[nodiscard]] Entry entry(BladeId id) const;
    static std::string written(const Entries& entries);
    static std::optional<Entries> read(const std::string& text);

    std::filesystem::path file_;
    Entries entries_;
};

}  // namespace keyrail
