// SPDX-License-Identifier: Apache-2.0
// Joining: one question to keyraild on a connection that trusts nothing but the token's CA.
#include "control/agent/join.h"

#include <arpa/inet.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "chassis.pb.h"
#include "control/agent/config.h"
#include "control/pki/ca.h"
#include "control/pki/join_token.h"
#include "control/protocol/channel.h"
#include "control/protocol/file.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kTimeout{10};

asio::awaitable<Result<chassis::CertificateReply>> ask(asio::any_io_executor executor, const JoinToken& token,
                                                       TlsContext tls, std::string request) {
    const Identity control = Identity::control();
    auto channel = co_await connect_channel(executor, tls, token.control, control);
    if (!channel) co_return tl::make_unexpected(channel.error());
    chassis::Envelope question;
    question.mutable_certificate_request()->set_token_secret(token.secret);
    question.mutable_certificate_request()->set_request(request);
    if (auto sent = (*channel)->send(std::move(question)); !sent) co_return tl::make_unexpected(sent.error());
    const auto answer = co_await (*channel)->receive();
    if (!answer) co_return tl::make_unexpected(answer.error());
    if (!answer->has_certificate_reply())
        co_return fail("{}: not an answer to our question; is it of the same release?", (*channel)->name());
    if (!answer->certificate_reply().refused().empty())
        co_return fail("refused: {}", answer->certificate_reply().refused());
    co_return answer->certificate_reply();
}

Result<chassis::CertificateReply> ask_control(const JoinToken& token, const std::string& request) {
    auto tls = TlsContext::pinned(token.ca);
    if (!tls) return tl::make_unexpected(tls.error());
    Result<chassis::CertificateReply> answer = fail("{} did not answer in time", token.control.text());
    asio::io_context io(1);
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> { answer = co_await ask(io.get_executor(), token, *tls, request); },
        asio::detached);
    io.run_for(kTimeout);
    return answer;
}

/// The network interface that has this address.
Result<std::string> interface_of(const IpAddress& address) {
    ifaddrs* all = nullptr;
    std::string found;
    if (getifaddrs(&all) == 0) {
        for (const ifaddrs* one = all; one != nullptr && found.empty(); one = one->ifa_next) {
            const int family = one->ifa_addr ? one->ifa_addr->sa_family : AF_UNSPEC;
            const void* at = nullptr;
            if (family == AF_INET && !address.is_v6())
                at = &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr;
            if (family == AF_INET6 && address.is_v6())
                at = &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
            if (at && std::memcmp(address.bytes.data(), at, address.size()) == 0) found = one->ifa_name;
        }
        freeifaddrs(all);
    }
    if (found.empty())
        return fail("no interface here has the blade's address {}; set it up first, or say --interface",
                    address.text());
    return found;
}

/// Where certificates go: where an existing configuration says, else beside the one that we write.
Result<TlsFiles> files_of(const fs::path& config, BladeId blade) {
    std::error_code error;
    if (!fs::exists(config, error)) {
        const fs::path folder = config.parent_path();
        return TlsFiles{folder / "ca.pem", folder / fmt::format("blade-{}.pem", blade),
                        folder / fmt::format("blade-{}.key", blade)};
    }
    const auto there = load_agent_config(config);
    if (!there)
        return fail("{}\nput that right, or move {} away to have a new one made",
                    fmt::join(there.error(), "\n"), config.string());
    if (there->id != blade)
        return fail("{} is the configuration of blade {}, the token is for blade {}", config.string(),
                    there->id, blade);
    return there->tls;
}

Result<void> write_config(const fs::path& file, const JoinToken& token, const HostPort& listen,
                          const std::string& interface, const TlsFiles& files) {
    const std::string text = fmt::format(
        "# Made by keyrail-agent join; what else can stand here: control/agent/README.md.\n[blade]\nid = {}\n"
        "control = \"{}\"\nlisten = \"{}\"\ninterface = \"{}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = "
        "\"{}\"\n",
        token.blade, token.control.text(), listen.text(), interface, files.ca.filename().string(),
        files.certificate.filename().string(), files.key.filename().string());
    return replace_file(file, text, 0644);
}

/// What came must be what we asked for, and from whom the token says; then it takes its place.
Result<void> install(const chassis::CertificateReply& reply, const JoinToken& token, const TlsFiles& next,
                     const TlsFiles& files) {
    if (const auto written = pki::write_certificate(next.certificate, reply.certificate()); !written)
        return tl::make_unexpected(written.error());
    const auto ca = pki::write_certificate(next.ca, reply.ca());
    if (!ca) return tl::make_unexpected(ca.error());
    if (*ca != token.ca) return fail("the CA that came is not the token's");
    const auto tls = TlsContext::load(next);
    if (!tls) return tl::make_unexpected(tls.error());
    if (tls->self() != Identity::of_blade(token.blade))
        return fail("the certificate is of {}, not of blade {}", tls->self().text(), token.blade);
    for (const auto& [from, to] :
         {std::pair{&next.ca, &files.ca}, {&next.certificate, &files.certificate}, {&next.key, &files.key}})
        if (::rename(from->c_str(), to->c_str()) != 0)
            return fail("{}: {}", to->string(), std::strerror(errno));
    return {};
}

}  // namespace

Result<std::vector<fs::path>> join_chassis(const JoinWish& wish) {
    const auto token = JoinToken::parse(wish.token);
    if (!token) return tl::make_unexpected(token.error());
    const fs::path config = fs::absolute(wish.config).lexically_normal();
    if (auto made = make_directory(config.parent_path(), 0755); !made)
        return tl::make_unexpected(made.error());
    const auto files = files_of(config, token->blade);
    if (!files) return tl::make_unexpected(files.error());
    const auto joining = [](const fs::path& file) { return fs::path(file.string() + ".joining"); };
    const TlsFiles next{joining(files->ca), joining(files->certificate), joining(files->key)};
    std::error_code ignored;
    fs::remove(next.key, ignored);

    const auto joined = [&]() -> Result<std::vector<fs::path>> {
        const auto request = pki::make_request(next.key);
        if (!request) return tl::make_unexpected(request.error());
        const auto reply = ask_control(*token, *request);
        if (!reply) return tl::make_unexpected(reply.error());
        const auto listen = parse_host_port(reply->agent_address());
        if (!listen) return tl::make_unexpected(listen.error());
        if (auto installed = install(*reply, *token, next, *files); !installed)
            return tl::make_unexpected(installed.error());
        std::vector<fs::path> written = {files->ca, files->certificate, files->key};
        if (fs::exists(config, ignored)) return written;
        const auto interface =
            wish.interface.empty() ? interface_of(listen->address) : Result<std::string>(wish.interface);
        if (!interface)
            return fail("{}; the certificate is there: write {} by hand (control/agent/README.md)",
                        interface.error().message, config.string());
        if (auto made = write_config(config, *token, *listen, *interface, *files); !made)
            return tl::make_unexpected(made.error());
        written.insert(written.begin(), config);
        return written;
    }();
    for (const fs::path& file : {next.ca, next.certificate, next.key}) fs::remove(file, ignored);
    return joined;
}

}  // namespace keyrail
