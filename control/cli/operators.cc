// SPDX-License-Identifier: Apache-2.0
// keyrail operator: certificates for operators who come over the network.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <memory>

#include "control/cli/files.h"
#include "control/pki/ca.h"

namespace keyrail::cli {

namespace {

struct OperatorArguments {
    std::filesystem::path dir;
    std::vector<std::string> hosts;
    std::string name, role = "read";
    std::chrono::microseconds valid = pki::kOperatorLifetime;
};

/// It becomes part of a file's name, and stands in the log.
std::string wrong_name(const std::string& text) {
    const bool plain = std::ranges::all_of(text, [](unsigned char byte) {
        return std::isalnum(byte) != 0 || byte == '-' || byte == '_' || byte == '.' || byte == '@';
    });
    constexpr size_t kMost = 64;
    if (plain && !text.empty() && text.size() <= kMost && text.front() != '.') return "";
    return fmt::format("'{}' cannot be used; write at most {} letters, digits, '-', '_', '.' and '@'", text,
                       kMost);
}

void add_init(CLI::App& parent, Invocation& invocation, const std::shared_ptr<OperatorArguments>& arguments) {
    CLI::App* init =
        subcommand(parent, "init", "Make the operators' CA, and keyraild's certificate for HTTPS");
    init->add_option("--dir", arguments->dir, "folder for ca.pem, ca.key, server.pem, server.key")
        ->required();
    init->add_option("--host", arguments->hosts,
                     "a name or an address by which browsers reach keyraild; several are possible")
        ->required()
        ->type_name("HOST");
    init->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            return show_files(invocation, pki::init_operators(arguments->dir, arguments->hosts));
        };
    });
}

void add_certify(CLI::App& parent, Invocation& invocation,
                 const std::shared_ptr<OperatorArguments>& arguments) {
    CLI::App* certify = subcommand(parent, "certify", "Make an operator's certificate and key");
    certify->add_option("name", arguments->name, "who it is: as the history will say")
        ->required()
        ->type_name("NAME")
        ->check(wrong_name);
    certify->add_option("--dir", arguments->dir, "folder of the operators' CA")->required();
    certify->add_option("--role", arguments->role, "read: may look; admin: may change things (read)")
        ->check(CLI::IsMember({"read", "admin"}));
    add_duration(
        *certify, "--valid", [arguments](std::chrono::microseconds time) { arguments->valid = time; },
        "how long it is good (90d)");
    certify->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments]() -> int {
            if (const int no =
                    replaced(invocation, arguments->dir / fmt::format("operator-{}.key", arguments->name)))
                return no;
            const auto valid = std::chrono::duration_cast<std::chrono::seconds>(arguments->valid);
            return show_files(invocation,
                              pki::certify_operator(arguments->dir, arguments->name, arguments->role,
                                                    pki::Validity::from_now(valid)));
        };
    });
}

}  // namespace

void add_operator(CLI::App& app, Invocation& invocation) {
    const auto arguments = std::make_shared<OperatorArguments>();
    CLI::App* command = subcommand(app, "operator", "Who may come over HTTPS, and do what");
    command->require_subcommand(1);
    add_init(*command, invocation, arguments);
    add_certify(*command, invocation, arguments);
}

}  // namespace keyrail::cli
