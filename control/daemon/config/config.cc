// SPDX-License-Identifier: Apache-2.0
// Reads keyraild's configuration: one function per table, then what must hold between tables.
#include "control/daemon/config/config.h"

#include <algorithm>
#include <set>

#include "control/daemon/config/reference.h"
#include "control/daemon/config/service_keys.h"
#include "control/protocol/event_loop.h"
#include "control/protocol/toml_table.h"
#include "dataplane/common/content_limits.h"
#include "dataplane/common/hex.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::microseconds;

namespace {

constexpr size_t kMaxServices = 1024, kMaxRoutes = 1024;
constexpr microseconds kMaxPull = 100ms;
constexpr size_t kMaxTicketKeys = 65536;
constexpr int64_t kMaxLmdbMb = 1 << 20;
// Of name keys there are 256: the longest session lifetime must not see more of them.
constexpr microseconds kMinKeyLifetime = 1h, kMaxKeyLifetime = 24h * 365;

/// A server name as routes have it: lower case, `*` for a first label and nothing else.
Result<std::string> parse_server_name(std::string name) {
    const std::string_view labels = std::string_view(name).substr(name.starts_with("*.") ? 2 : 0);
    const auto good = [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
    };
    if (labels.empty() || name.size() > kMaxServerName || labels.front() == '.' || labels.back() == '.' ||
        !std::ranges::all_of(labels, good))
        return fail(
            "'{}' is no server name; write \"www.example.com\" or \"*.example.com\", other letters "
            "than a-z as IDNA does (xn--…)",
            name);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    return name;
}

struct Pool {
    std::string name;
    std::vector<Located<int64_t>> blades;
    uint32_t line = 0;
};

/// One reading of one file.
class Reader {
  public:
    explicit Reader(const fs::path& file) : file_(file), errors_(file) {}

    tl::expected<Config, ConfigMistakes> read_file() {
        auto text = read_text(file_, errors_);
        if (!text) return tl::make_unexpected(errors_.lines());
        return read(std::move(*text));
    }
    tl::expected<Config, ConfigMistakes> read(std::string text) {
        if (const auto root = parse_toml_text(text, file_, errors_)) read_root(*root);
        if (!errors_.empty()) return tl::make_unexpected(errors_.lines());
        assign_pools(config_);
        config_.file = file_;
        config_.text = std::move(text);
        return std::move(config_);
    }

    [[nodiscard]] const std::vector<AskedKey>& asked() const { return errors_.asked(); }

  private:
    void read_root(const toml::table& table) {
        TomlTable root(table, "the file", errors_);
        if (auto chassis = root.table("chassis", Need::required)) read_chassis(*chassis);
        for (TomlTable& blade : root.tables("blade")) read_blade(blade);
        for (TomlTable& pool : root.tables("pool")) read_pool(pool);
        if (auto lmdb = root.table("lmdb", Need::optional)) read_lmdb(*lmdb);
        if (auto redis = root.table("redis", Need::optional)) read_redis(*redis);
        if (auto https = root.table("https", Need::optional)) read_https(*https);
        for (TomlTable& service : root.tables("service")) read_service(service);
        for (TomlTable& key : root.tables("ticket_key")) read_ticket_key(key);
        root.finish();
    }

    void read_chassis(TomlTable& table) {
        config_.name = name(table).value;
        config_.run_dir = path(table, "run_dir", Need::required).value;
        config_.state_dir = path(table, "state_dir", Need::required).value;
        config_.dataplane = path(table, "dataplane", Need::optional).value;
        if (config_.dataplane.empty()) config_.dataplane = config_.run_dir / "dp.sock";
        if (const auto listen = table.text("listen", Need::required))
            if (const auto parsed = checked(parse_host_port(listen->value), "listen", listen->line))
                config_.listen = *parsed;
        if (const auto metrics = table.text("metrics", Need::optional)) read_metrics(*metrics);
        config_.tls = {existing_file(table, "ca"), existing_file(table, "certificate"),
                       existing_file(table, "key")};
        config_.ca_key = path(table, "ca_key", Need::optional).value;
        if (config_.ca_key.empty()) config_.ca_key = config_.tls.ca.parent_path() / "ca.key";
        read_name_key_lifetime(table);
        if (const auto pull = table.duration("pull_budget", 0us, kMaxPull, Need::optional))
            config_.pull_budget = pull->value;
        if (const auto poll = table.duration("busy_poll", 0us, kMaxBusyPoll, Need::optional))
            config_.busy_poll = poll->value;
        if (const auto stay = table.duration("stay_awake", 0us, kMaxStayAwake, Need::optional))
            config_.stay_awake = stay->value;
        if (const auto urgent = table.boolean("urgent", Need::optional)) config_.urgent = urgent->value;
        if (const auto core = table.integer("core", 0, kMaxCore, Need::optional))
            config_.core = static_cast<unsigned>(core->value);
        table.finish();
    }

    void read_metrics(const Located<std::string>& metrics) {
        config_.metrics = checked(parse_host_port(metrics.value), "metrics", metrics.line);
        if (config_.metrics && *config_.metrics == config_.listen)
            errors_.add(metrics.line, "'metrics' and 'listen' are both {}; use another port for one of them",
                        metrics.value);
    }

    void read_name_key_lifetime(TomlTable& table) {
        const auto lifetime = table.duration("name_key_lifetime", 0us, kMaxKeyLifetime, Need::optional);
        if (!lifetime) return;
        if (lifetime->value != 0us && lifetime->value < kMinKeyLifetime)
            errors_.add(lifetime->line, "'name_key_lifetime' is {}; write at least {}, or \"0s\" for none",
                        duration_text(lifetime->value), duration_text(kMinKeyLifetime));
        config_.name_key_lifetime = std::chrono::duration_cast<std::chrono::seconds>(lifetime->value);
    }

    void read_blade(TomlTable& table) {
        BladeConfig blade;
        const auto id = table.integer("id", BladeId::kMin, BladeId::kMax, Need::required);
        const auto named = name(table);
        const auto address = table.text("address", Need::required);
        const auto agent = table.text("agent", Need::optional);
        const auto limit = table.integer("load_limit", 1, 100, Need::optional);
        table.finish();
        if (id) known_ids_.insert(id->value);
        ids_doubtful_ = ids_doubtful_ || !id;
        if (!id || !address) return;
        blade.id = BladeId::or_none(static_cast<uint64_t>(id->value));
        blade.name = named.value;
        if (limit) blade.load_limit = static_cast<uint8_t>(limit->value);
        const auto parsed = checked(parse_ip(address->value), "address", address->line);
        if (!parsed) return;
        blade.address = *parsed;
        blade.agent = {*parsed, kAgentPort};
        if (agent) {
            const auto at = checked(parse_host_port(agent->value), "agent", agent->line);
            if (!at) return;
            blade.agent = *at;
        }
        if (!once(fmt::format("blade id {}", blade.id), id->line, "give each blade an id of its own"))
            ids_doubtful_ = true;
        once(fmt::format("blade name '{}'", blade.name), named.line, "give each blade a name of its own");
        once(fmt::format("blade address {}", blade.address.text()), address->line,
             "each blade has its own address");
        once(fmt::format("agent address {}", blade.agent.text()), agent ? agent->line : address->line,
             "each agent has its own address");
        config_.blades.emplace(blade.id, std::move(blade));
    }

    void read_pool(TomlTable& table) {
        const auto named = name(table);
        Pool pool{named.value, table.integers("blades", BladeId::kMin, BladeId::kMax, Need::optional),
                  table.line()};
        if (auto check = table.table("check", Need::optional))
            config_.checks.insert_or_assign(pool.name,
                                            read_check(*check, errors_, fs::absolute(file_).parent_path()));
        table.finish();
        once(fmt::format("pool '{}'", pool.name), named.line, "give each pool a name of its own");
        std::set<int64_t> seen;
        for (const auto& [id, line] : pool.blades) {
            if (!ids_doubtful_ && !known_ids_.contains(id))
                errors_.add(line,
                            "pool '{}' names blade {}, which is not configured; add a [[blade]] with id = {}",
                            pool.name, id, id);
            if (!seen.insert(id).second)
                errors_.add(line, "pool '{}' names blade {} twice; name it once", pool.name, id);
        }
        std::vector<BladeId>& ids = config_.pools[pool.name];
        for (const auto& blade : pool.blades)
            ids.push_back(BladeId::or_none(static_cast<uint64_t>(blade.value)));
        std::ranges::sort(ids);
    }

    void read_service(TomlTable& table) {
        ServiceConfig service;
        const auto named = name(table);
        service.name = named.value;
        once(fmt::format("service '{}'", service.name), named.line, "give each service a name of its own");
        const auto addresses = table.texts("addresses", Need::required);
        if (const auto port = table.integer("port", 1, 65535, Need::required))
            service.port = static_cast<uint16_t>(port->value);
        read_addresses(service, addresses);
        read_pool_of(service, table);
        read_service_keys(service, table, errors_);
        read_repository(service, table);
        for (TomlTable& route : table.tables("route")) read_route(service, route);
        table.finish();
        if (config_.services.size() == kMaxServices)
            errors_.add(table.line(), "more than {} services; join some of them", kMaxServices);
        config_.services.push_back(std::move(service));
    }

    void read_addresses(ServiceConfig& service, const std::vector<Located<std::string>>& addresses) {
        for (const auto& [text, line] : addresses) {
            const auto address = checked(parse_ip(text), "addresses", line);
            if (!address) continue;
            service.addresses.push_back(*address);
            if (address->is_multicast() || address->is_any() || address->is_link_local())
                errors_.add(line, "VIP {} is not an address that clients are routed to; use one that is",
                            address->text());
            if (*address == config_.listen.address)
                errors_.add(line,
                            "VIP {} is the dispatcher's own, where agents connect ('listen'); use another",
                            address->text());
            once(fmt::format("VIP {} port {}", address->text(), service.port), line,
                 "an address and port belong to one service");
            for (const auto& [id, blade] : config_.blades)
                if (blade.address == *address)
                    errors_.add(line,
                                "VIP {} is the backplane address of blade {}; use an address of its own",
                                address->text(), id);
        }
    }

    /// The pool of a service or of a route, and its blades.
    template <typename Owner>
    void read_pool_of(Owner& owner, TomlTable& table) {
        const auto pool = table.text("pool", Need::required);
        if (!pool) return;
        owner.pool = pool->value;
        if (!config_.pools.contains(owner.pool))
            errors_.add(pool->line, "pool '{}' is not configured; add a [[pool]] of that name", owner.pool);
    }

    void read_route(ServiceConfig& service, TomlTable& table) {
        RouteConfig route;
        const auto sni = table.text("sni", Need::required);
        const auto alpn = table.text("alpn", Need::optional);
        read_pool_of(route, table);
        table.finish();
        if (!service.by_session || service.binding == Binding::early)
            return errors_.add(
                table.line(),
                "service '{}' picks the blade at the SYN, before the ClientHello says what a "
                "route asks for; remove the route, or steering = \"tuple\" and binding = \"early\"",
                service.name);
        if (sni) route.sni = checked(parse_server_name(sni->value), "sni", sni->line).value_or("");
        if (alpn) route.alpn = alpn->value;
        if (alpn && (alpn->value.empty() || alpn->value.size() > kMaxProtocol))
            errors_.add(alpn->line, "'alpn' has {} bytes; write a protocol of 1 to {}, such as \"h2\"",
                        alpn->value.size(), kMaxProtocol);
        once(fmt::format("route '{}' '{}' of service '{}'", route.sni, route.alpn, service.name),
             table.line(), "a name and protocol have one pool");
        if (service.routes.size() == kMaxRoutes)
            errors_.add(table.line(), "more than {} routes; join some of them by patterns", kMaxRoutes);
        service.routes.push_back(std::move(route));
    }

    void read_repository(ServiceConfig& service, TomlTable& table) {
        static const std::map<std::string, RepositoryKind, std::less<>> known = {
            {"none", RepositoryKind::none}, {"lmdb", RepositoryKind::lmdb}, {"redis", RepositoryKind::redis}};
        const auto repository = table.text("repository", Need::optional);
        if (!repository) return;
        const auto found = known.find(repository->value);
        if (found == known.end())
            return errors_.add(repository->line,
                               "'repository' is '{}'; write \"none\", \"lmdb\" or \"redis\"",
                               repository->value);
        service.repository = found->second;
        if (service.repository == RepositoryKind::redis && config_.redis.nodes.empty())
            errors_.add(repository->line,
                        "'repository' is \"redis\", but no Redis is configured; add a [redis] "
                        "table with nodes = [\"address:port\"]");
    }

    void read_lmdb(TomlTable& table) {
        if (const auto size = table.integer("size_mb", 1, kMaxLmdbMb, Need::required))
            config_.lmdb_bytes = static_cast<uint64_t>(size->value) << 20;
        table.finish();
    }

    void read_redis(TomlTable& table) {
        RedisOptions& redis = config_.redis;
        for (const auto& [text, line] : table.texts("nodes", Need::required))
            if (const auto node = checked(parse_host_port(text), "nodes", line)) redis.nodes.push_back(*node);
        if (const auto user = table.text("user", Need::optional)) redis.user = user->value;
        redis.password_file = existing_file(table, "password_file", Need::optional);
        redis.ca = existing_file(table, "ca", Need::optional);
        redis.certificate = existing_file(table, "certificate", Need::optional);
        redis.key = existing_file(table, "key", Need::optional);
        redis.chassis = config_.name;
        if (redis.certificate.empty() != redis.key.empty())
            errors_.add(table.line(), "[redis] has one of 'certificate' and 'key'; give both or none");
        if (redis.ca.empty() && !redis.certificate.empty())
            errors_.add(table.line(),
                        "[redis] has a 'certificate' but no 'ca', so there is no TLS; add 'ca'");
        if (!redis.user.empty() && redis.password_file.empty())
            errors_.add(table.line(), "[redis] has a 'user' but no 'password_file'; add it");
        table.finish();
    }

    void read_https(TomlTable& table) {
        constexpr std::string_view kMaker = "keyrail operator init";
        HttpsConfig https;
        const auto listen = table.text("listen", Need::required);
        if (listen)
            if (const auto parsed = checked(parse_host_port(listen->value), "listen", listen->line))
                https.listen = *parsed;
        https.tls = {existing_file(table, "ca", Need::required, kMaker),
                     existing_file(table, "certificate", Need::required, kMaker),
                     existing_file(table, "key", Need::required, kMaker)};
        table.finish();
        for (const auto& other : {std::optional(config_.listen), config_.metrics})
            if (listen && other && *other == https.listen)
                errors_.add(listen->line, "[https] listens on {}, and so does [chassis]; use another port",
                            listen->value);
        std::error_code ignored;
        if (fs::equivalent(https.tls.ca, config_.tls.ca, ignored))
            errors_.add(
                table.line(),
                "the 'ca' of [https] is the chassis' own, whose certificates make blades; make one for "
                "operators with '{} --dir DIR'",
                kMaker);
        config_.https = std::move(https);
    }

    void read_ticket_key(TomlTable& table) {
        const auto named = table.text("name", Need::required);
        const auto blade = table.integer("blade", BladeId::kMin, BladeId::kMax, Need::required);
        table.finish();
        if (!named || !blade) return;
        const auto bytes = from_hex(named->value);
        if (!bytes || bytes->size() != kTicketKeyNameSize)
            return errors_.add(
                named->line,
                "'name' is '{}'; write the {} bytes of the key's name as {} hex digits (nginx: "
                "the first bytes of the key file)",
                named->value, kTicketKeyNameSize, 2 * kTicketKeyNameSize);
        if (!ids_doubtful_ && !known_ids_.contains(blade->value))
            errors_.add(blade->line,
                        "a ticket key names blade {}, which is not configured; add a [[blade]] with id = {}",
                        blade->value, blade->value);
        once(fmt::format("ticket key {}", named->value), named->line, "a key belongs to one blade");
        if (config_.ticket_keys.size() == kMaxTicketKeys)
            errors_.add(table.line(), "more than {} ticket keys; remove those that are no longer used",
                        kMaxTicketKeys);
        config_.ticket_keys.push_back({*bytes, BladeId::or_none(static_cast<uint64_t>(blade->value))});
    }

    // --- shared by the tables ---

    /// Every table has a name; one without gets an impossible one, so that a mistake is reported once.
    Located<std::string> name(TomlTable& table) {
        const auto given = table.text("name", Need::required);
        if (!given) return {fmt::format("(line {})", table.line()), table.line()};
        auto text = *given;
        if (!is_plain_name(text.value))
            errors_.add(text.line,
                        "name '{}' cannot be used; write at most {} letters, digits, '-', '_' and '.'",
                        text.value, kMaxName);
        return text;
    }

    Located<fs::path> path(TomlTable& table, std::string_view key, Need need) {
        const auto text = table.text(key, need);
        if (!text) return {};
        return {(fs::absolute(file_).parent_path() / text->value).lexically_normal(), text->line};
    }

    /// What must be there is made by `maker`.
    fs::path existing_file(TomlTable& table, std::string_view key, Need need = Need::required,
                           std::string_view maker = "keyrail chassis init") {
        auto [file, line] = path(table, key, need);
        std::error_code error;
        if (file.empty() || fs::is_regular_file(file, error)) return file;
        errors_.add(line, "'{}': there is no file {}{}", key, file.string(),
                    need == Need::optional
                        ? ""
                        : fmt::format("; make it with '{} --dir {}'", maker, file.parent_path().string()));
        return file;
    }

    template <typename T>
    std::optional<T> checked(const Result<T>& result, std::string_view key, uint32_t line) {
        if (result) return *result;
        errors_.add(line, "'{}': {}", key, result.error().message);
        return std::nullopt;
    }

    /// Reports what may stand in the file only once, with the line of the first one.
    bool once(const std::string& what, uint32_t line, std::string_view advice) {
        const auto [first, fresh] = seen_.emplace(what, line);
        if (!fresh) errors_.add(line, "{} is already used in line {}; {}", what, first->second, advice);
        return fresh;
    }

    fs::path file_;
    ConfigErrors errors_;
    Config config_;
    std::set<int64_t> known_ids_;  // of blades, also of those with mistakes
    bool ids_doubtful_ = false;    // one of them is missing or wrong: say no more about ids
    std::map<std::string, uint32_t> seen_;
};

}  // namespace

tl::expected<Config, ConfigMistakes> read_config(const fs::path& file) { return Reader(file).read_file(); }

tl::expected<Config, ConfigMistakes> read_config_text(std::string text, const fs::path& file) {
    return Reader(file).read(std::move(text));
}

std::vector<AskedKey> keys_asked_of(std::string text) {
    Reader reader("example");
    (void)reader.read(std::move(text));
    return reader.asked();
}

}  // namespace keyrail
