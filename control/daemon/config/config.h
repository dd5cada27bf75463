// SPDX-License-Identifier: Apache-2.0
// keyraild's configuration (TOML; the schema with all keys: control/README.md). Read whole and checked whole:
// what comes out of read_config() holds together, and can be applied without further questions.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/config/check_keys.h"
#include "control/protocol/tls_context.h"
#include "control/protocol/wakefulness.h"
#include "control/repository/redis_repository.h"
#include "dataplane/common/address.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

/// Serials (hex) of the certificates that are good; nullopt: every one that the chassis CA signed.
using CertificateSet = std::optional<std::set<std::string>>;

struct BladeConfig {
    BladeId id = 0;
    std::string name;
    IpAddress address;            // on the backplane
    HostPort agent;               // where its agent listens
    uint8_t load_limit = 100;     // percent of its processors; over it: no new clients
    CertificateSet certificates;  // not in the file: enrolment.h

    bool operator==(const BladeConfig&) const = default;
};

/// When a connection gets its blade (DESIGN.md section 5).
enum class Binding : uint8_t {
    automatic,  // late where every blade can, else early
    late,       // after the ClientHello; blades without the accept program are left out
    early,      // at the SYN
};

/// Where sealed sessions are kept, for when their holder is dead (control/repository).
/// How often a ticket of TLS 1.3 resumes: store_control.h.
enum class TicketUse : uint8_t { early_data_once, single_use, reusable };
enum class RepositoryKind : uint8_t { none, lmdb, redis };
inline constexpr uint16_t kAgentPort = 7401;  // unless the configuration says otherwise

/// Content routing: which pool has what a ClientHello asks for. The most specific route counts.
struct RouteConfig {
    std::string sni;   // lower case; "*.example.com": one label
    std::string alpn;  // "": any, or none
    std::string pool;
    std::vector<BladeId> blades;  // of the pool, ascending

    bool operator==(const RouteConfig&) const = default;
};

struct ServiceConfig {
    std::string name;
    std::vector<IpAddress> addresses;  // VIPs
    uint16_t port = 0;
    std::string pool;             // where no route matches
    std::vector<BladeId> blades;  // of that pool, ascending; who may hold sessions: has_member()
    std::vector<RouteConfig> routes;
    bool content_moves = true;  // a session is moved to where the content is; false: full handshake there
    bool by_session = true;     // steering = "session"; false: "tuple"
    Binding binding = Binding::automatic;
    std::optional<std::chrono::microseconds> hold_budget;  // nullopt: as worth it (economics.h)
    std::chrono::microseconds hello_timeout{100'000};
    uint32_t hello_limit = 16 * 1024;         // bytes
    std::chrono::seconds idle_timeout{9000};  // a flow without packets is forgotten
    bool proxy_protocol = true;               // a PROXY header in front of the hello is stepped over
    bool refuse_by_reset = true;              // refuse = "reset"; false: "drop"
    bool ping = true;                         // its VIPs answer while it has a blade
    std::chrono::seconds session_lifetime{7200};
    TicketUse tickets = TicketUse::early_data_once;
    bool early_data = false;  // never with reusable tickets
    std::string id_context;   // "": the application's own; else the group whose sites share sessions
    RepositoryKind repository = RepositoryKind::none;

    /// The blades of all its pools, ascending: those that may hold its sessions.
    [[nodiscard]] std::vector<BladeId> members() const;
    [[nodiscard]] bool has_member(BladeId blade) const;
    /// Has blade `from` everything that clients may want of blade `to`?
    [[nodiscard]] bool has_content_of(BladeId from, BladeId to) const;
    bool operator==(const ServiceConfig&) const = default;
};

/// The name of a ticket key of a server without our hooks (RFC 5077), and the blade that has the key.
struct TicketKeyConfig {
    std::string name;  // 16 bytes
    BladeId blade = 0;

    bool operator==(const TicketKeyConfig&) const = default;
};

/// The API and the page over TLS, for operators who are elsewhere.
struct HttpsConfig {
    HostPort listen;
    TlsFiles tls;  // the operators' CA; the server's own certificate and key

    bool operator==(const HttpsConfig& other) const {
        return listen == other.listen && tls.ca == other.tls.ca && tls.certificate == other.tls.certificate &&
               tls.key == other.tls.key;
    }
};

/// Blade ids, ascending, by the pool's name.
using Pools = std::map<std::string, std::vector<BladeId>>;

struct Config {
    std::filesystem::path file;
    std::string text;  // as it stood there
    std::string name;
    std::filesystem::path run_dir, state_dir, dataplane;
    HostPort listen;
    std::optional<HostPort> metrics;  // HTTP for Prometheus
    std::optional<HttpsConfig> https;
    TlsFiles tls;
    std::filesystem::path ca_key;                       // there only where keyraild may make certificates
    std::chrono::seconds name_key_lifetime{24 * 3600};  // 0: only by hand
    /// Longest time that a server waits for a session that it misses; 0: such sessions are not asked for.
    std::chrono::microseconds pull_budget{2000};
    /// Looking for work before sleeping (event_loop.h).
    std::chrono::microseconds busy_poll{0};
    /// How long idle cores are kept awake after a move; 0: not at all.
    std::chrono::microseconds stay_awake = kStayAwake;
    /// keyraild runs before everything of normal priority, within a budget (urgency.h).
    bool urgent = true;
    std::optional<unsigned> core;           // likewise
    std::map<BladeId, BladeConfig> blades;  // by id
    Pools pools;
    std::map<std::string, CheckConfig> checks;  // by pool; not every one has one
    std::vector<BladeId> revoked;               // not in the file: enrolment.h
    std::vector<ServiceConfig> services;
    std::vector<TicketKeyConfig> ticket_keys;
    uint64_t lmdb_bytes = 1ULL << 30;
    RedisOptions redis;  // without nodes: there is none
};

/// One configuration, shared by all parts and never changed: a reload puts another one in its place.
using ConfigPtr = std::shared_ptr<const Config>;

/// Gives every service the blades of its pool, after a change of `pools`.
void assign_pools(Config& config);

/// All the mistakes of a file: "FILE:LINE: what; what to do", in the order of the file.
using ConfigMistakes = std::vector<std::string>;

/// Paths in the file are relative to its folder. The files of the certificates must be there.
tl::expected<Config, ConfigMistakes> read_config(const std::filesystem::path& file);

/// The same of a text that stands, or stood, in `file`.
tl::expected<Config, ConfigMistakes> read_config_text(std::string text, const std::filesystem::path& file);

/// read_config, and a look into the certificates: they must be ours, and name keyrail:control.
tl::expected<Config, ConfigMistakes> check_config(const std::filesystem::path& file);
tl::expected<Config, ConfigMistakes> check_config_text(std::string text, const std::filesystem::path& file);

/// The certificates of a config; an error when they are not those of a chassis' control.
Result<TlsContext> control_tls(const Config& config);

}  // namespace keyrail
