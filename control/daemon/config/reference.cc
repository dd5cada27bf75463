// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/config/reference.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "control/protocol/toml_table.h"

namespace keyrail {

namespace {

struct Words {
    std::string_view table, key, otherwise, meaning, since;
};

constexpr auto kWords = std::to_array<Words>({
    {"[chassis]", "name", "", "of the chassis: in tokens and in the CA's subject", "0.1.0"},
    {"[chassis]", "run_dir", "", "where the sockets are", "0.1.0"},
    {"[chassis]", "state_dir", "", "what is kept: keys, drains, enrolment, revisions", "0.1.0"},
    {"[chassis]", "dataplane", "run_dir/dp.sock", "keyrail-dp's socket", "0.1.0"},
    {"[chassis]", "listen", "", "address:port for agents", "0.1.0"},
    {"[chassis]", "metrics", "none", "address:port where anybody may GET /metrics", "0.1.0"},
    {"[chassis]", "ca", "", "PEM file of 'keyrail chassis init'", "0.1.0"},
    {"[chassis]", "certificate", "", "PEM file of 'keyrail chassis init'", "0.1.0"},
    {"[chassis]", "key", "", "PEM file of 'keyrail chassis init'", "0.1.0"},
    {"[chassis]", "ca_key", "ca.key beside ca", "keyraild makes certificates only if it is there", "0.1.0"},
    {"[chassis]", "name_key_lifetime", "24h",
     "then name and cookie keys are replaced; at least 1h; \"0s\": only by hand", "0.1.0"},
    {"[chassis]", "pull_budget", "2ms",
     "how long a server waits for a session that it misses; \"0s\": not at all", "0.1.0"},
    {"[chassis]", "busy_poll", "0us", "how long to look for more work before sleeping", "0.1.0"},
    {"[chassis]", "urgent", "true", "moves run before everything of normal priority, within a budget",
     "0.1.0"},
    {"[chassis]", "core", "any", "CPU on which keyraild runs as long as it is urgent", "0.1.0"},
    {"[chassis]", "stay_awake", "1s",
     "so long after a move idle cores poll instead of halting; \"0s\": never", "0.1.0"},
    {"[[blade]]", "id", "", "of the blade; stays its own for ever", "0.1.0"},
    {"[[blade]]", "name", "", "for people", "0.1.0"},
    {"[[blade]]", "address", "", "on the backplane", "0.1.0"},
    {"[[blade]]", "agent", "address:7401", "where its agent listens", "0.1.0"},
    {"[[blade]]", "load_limit", "100", "percent of its processors; above it the blade gets no new clients",
     "0.1.0"},
    {"[[pool]]", "name", "", "of the pool", "0.1.0"},
    {"[[pool]]", "blades", "those that are enrolled into it", "ids", "0.1.0"},
    {"[check]", "type", "tls", "what a blade of this pool is asked: \"tcp\", \"tls\" or \"https\"", "0.1.0"},
    {"[check]", "via", "vip",
     "\"vip\": the VIP on that blade, as clients come; \"backplane\": its own address", "0.1.0"},
    {"[check]", "sni", "a route's, else none", "server name in the ClientHello", "0.1.0"},
    {"[check]", "alpn", "none; https: http/1.1", "protocol that must be agreed on", "0.1.0"},
    {"[check]", "path", "/", "of https: what is asked for", "0.1.0"},
    {"[check]", "host", "the sni, else the VIP", "of https: the Host field", "0.1.0"},
    {"[check]", "expect", "200-399", "of https: statuses that are good", "0.1.0"},
    {"[check]", "ca", "those of the system", "PEM file: who may have signed the certificate", "0.1.0"},
    {"[check]", "verify", "ca",
     "\"ca\": chain, dates and name; \"pin:sha256/…\": this public key, and dates; \"none\"", "0.1.0"},
    {"[check]", "resume", "true", "every second check resumes the session of the one before", "0.1.0"},
    {"[check]", "interval", "250ms", "between checks of a blade that is well", "0.1.0"},
    {"[check]", "fast", "100ms", "after one that failed, and while it comes back", "0.1.0"},
    {"[check]", "down", "2s", "between checks of a blade that is out", "0.1.0"},
    {"[check]", "timeout", "250ms", "for the whole check", "0.1.0"},
    {"[check]", "slow_start", "30s", "a blade that is back gets its share little by little", "0.1.0"},
    {"[check]", "warn_expiry", "14d", "a certificate that ends sooner is said", "0.1.0"},
    {"[check]", "fall", "2", "so many in a row fail: out", "0.1.0"},
    {"[check]", "rise", "3", "so many in a row are good: in", "0.1.0"},
    {"[check]", "jitter", "10%", "of each wait, up or down", "0.1.0"},
    {"[check]", "hold_down", "5s..5min",
     "so long a blade stays out, at least; doubles each time that it is out again, halves with quiet",
     "0.1.0"},
    {"[check]", "fail_open", "0%", "fewer blades than that are healthy: checks take nobody out", "0.1.0"},
    {"[lmdb]", "size_mb", "", "of the repository inside keyraild; half full, what expires first makes room",
     "0.1.0"},
    {"[redis]", "nodes", "", "address:port of Redis, or of some nodes of a cluster", "0.1.0"},
    {"[redis]", "user", "none", "to log in as", "0.1.0"},
    {"[redis]", "password_file", "none", "has the password, alone", "0.1.0"},
    {"[redis]", "ca", "none: no TLS", "PEM file: who may be Redis", "0.1.0"},
    {"[redis]", "certificate", "none", "PEM file: who we are to Redis", "0.1.0"},
    {"[redis]", "key", "none", "of the certificate", "0.1.0"},
    {"[https]", "listen", "", "address:port of the page (/ui) and the API, for operators elsewhere", "0.1.0"},
    {"[https]", "ca", "", "PEM file: who signs operators' certificates; not the chassis' own CA", "0.1.0"},
    {"[https]", "certificate", "", "PEM file: who we are to browsers; replaced files count at once", "0.1.0"},
    {"[https]", "key", "", "of the certificate", "0.1.0"},
    {"[[service]]", "name", "", "of the service", "0.1.0"},
    {"[[service]]", "addresses", "", "its VIPs: what clients connect to", "0.1.0"},
    {"[[service]]", "port", "", "likewise", "0.1.0"},
    {"[[service]]", "pool", "", "its blades, where no route says otherwise", "0.1.0"},
    {"[[service]]", "steering", "session", "\"session\", or \"tuple\": by addresses and ports only", "0.1.0"},
    {"[[service]]", "binding", "auto",
     "\"late\": a blade by the ClientHello; \"early\": at the SYN; \"auto\": late where every blade can",
     "0.1.0"},
    {"[[service]]", "content_moves", "true",
     "false: no move to another pool's content, a full handshake there instead", "0.1.0"},
    {"[[service]]", "hold_budget", "auto",
     "longest wait for a move, a duration up to 1s; \"auto\": as long as it is worth", "0.1.0"},
    {"[[service]]", "hello_timeout", "100ms", "for a ClientHello to become complete", "0.1.0"},
    {"[[service]]", "hello_limit", "16384", "bytes of a ClientHello", "0.1.0"},
    {"[[service]]", "idle_timeout", "150min", "a flow without packets is forgotten", "0.1.0"},
    {"[[service]]", "proxy_protocol", "true", "a PROXY header in front of a hello is stepped over", "0.1.0"},
    {"[[service]]", "ping", "true", "its VIPs answer echo requests while a blade is up", "0.1.0"},
    {"[[service]]", "refuse", "reset",
     "\"reset\" or \"drop\": what a client gets when no blade takes anybody new", "0.1.0"},
    {"[[service]]", "session_lifetime", "2h", "from the full handshake to the last resumption", "0.1.0"},
    {"[[service]]", "tickets", "early-data-once",
     "of TLS 1.3: \"early-data-once\", \"single-use\" or \"reusable\"", "0.1.0"},
    {"[[service]]", "early_data", "false", "0-RTT; not with reusable tickets", "0.1.0"},
    {"[[service]]", "id_context", "the application's own",
     "a group of sites that may use each other's sessions", "0.1.0"},
    {"[[service]]", "repository", "none",
     "\"none\", \"lmdb\" or \"redis\": sealed copies for the case that the holder dies", "0.1.0"},
    {"[[route]]", "sni", "", "\"www.example.com\", or \"*.example.com\": one label", "0.1.0"},
    {"[[route]]", "alpn", "any", "only hellos that offer it", "0.1.0"},
    {"[[route]]", "pool", "", "has what they ask for", "0.1.0"},
    {"[[ticket_key]]", "name", "",
     "16 bytes in hex: the key name in tickets of a server without our hooks (RFC 5077)", "0.1.0"},
    {"[[ticket_key]]", "blade", "", "id of the blade that has the key", "0.1.0"},
});

}  // namespace

const char* const kExampleConfig = R"(# keyraild's configuration. Check it: keyrail config check FILE
# Paths are relative to this file's folder. Every key: keyrail config reference

[chassis]
name = "lab"
run_dir = "/run/keyrail"
state_dir = "/var/lib/keyrail"
listen = "10.77.0.1:7400"        # for agents, on the backplane
ca = "ca.pem"                    # these three are made by: keyrail chassis init --dir .
certificate = "control.pem"
key = "control.key"
# metrics = "127.0.0.1:9464"     # Prometheus

# A blade that was enrolled by token (keyrail blade enroll) needs no table here.
[[blade]]
id = 1
name = "blade1"
address = "10.77.0.11"           # on the backplane
[[blade]]
id = 2
name = "blade2"
address = "10.77.0.12"
load_limit = 90                  # percent: busier than that, it gets no new clients

[[pool]]
name = "web"
blades = [1, 2]
[pool.check]                     # is what a client would get good? Else new clients go elsewhere
type = "https"
sni = "www.example.com"
path = "/healthz"
[[pool]]
name = "images"
blades = [2]

# What clients connect to. The VIP is on the loopback interface of every blade of its pools.
[[service]]
name = "www"
addresses = ["198.51.100.1", "2001:db8:100::1"]
port = 443
pool = "web"
session_lifetime = "2h"
repository = "lmdb"              # sessions of a blade that dies are not lost

[[service.route]]                # who asks for images gets to blades that have them
sni = "images.example.com"
pool = "images"

[lmdb]
size_mb = 1024

[redis]                          # used where a service says: repository = "redis"
nodes = ["10.77.0.20:6379"]

# [https]                        # the page (/ui) and the API for operators elsewhere: control/README.md
# listen = "10.77.0.1:8443"
# ca = "operators/ca.pem"        # these three are made by: keyrail operator init --dir operators
# certificate = "operators/server.pem"
# key = "operators/server.key"

# A server that cannot have the hook library keeps its own tickets: they get to the blade that opens them.
[[ticket_key]]
name = "000102030405060708090a0b0c0d0e0f"
blade = 1
)";

/// Keys of tables that the example only mentions.
constexpr const char* kOthers = R"(
[https]
listen = ""
ca = ""
certificate = ""
key = ""
)";

std::vector<KeyReference> config_reference() {
    std::vector<KeyReference> reference;
    for (AskedKey& asked : keys_asked_of(std::string(kExampleConfig) + kOthers)) {
        KeyReference one{
            std::move(asked.table), std::move(asked.key), std::move(asked.type), asked.required, "", "", ""};
        const auto words = std::ranges::find_if(
            kWords, [&](const Words& known) { return known.table == one.table && known.key == one.key; });
        if (words != kWords.end()) {
            one.otherwise = words->otherwise;
            one.meaning = words->meaning;
            one.since = words->since;
        }
        reference.push_back(std::move(one));
    }
    for (const Words& words : kWords)  // of a key that is no more
        if (std::ranges::none_of(reference, [&](const KeyReference& one) {
                return one.table == words.table && one.key == words.key;
            }))
            reference.push_back({std::string(words.table), std::string(words.key), "", false, "", "", ""});
    return reference;
}

}  // namespace keyrail
