// SPDX-License-Identifier: Apache-2.0
// A real nginx with the hooks, one worker, over the store of a blade. It runs in a process namespace of its
// own, so that its workers go with it, and it with the test, however the test ends.
#pragma once

#include <fmt/format.h>

#include <fstream>
#include <set>
#include <string>

#include "control/protocol/tls_context.h"
#include "tests/support/process.h"

namespace keyrail::testing {

/// Needs KR_HOOKS in the environment.
class NginxServer {
  public:
    /// `directory` is its own; it is made.
    NginxServer(const std::filesystem::path& directory, const std::string& address, uint16_t port,
                const TlsFiles& tls, const std::string& store)
        : process_(words(configure(directory, address, port, tls), store), directory / "log") {}

    /// The master first, whose parent then ends by itself: nobody else would wait for it.
    ~NginxServer() {
        if (const pid_t master = first_child(process_.pid())) {
            ::kill(master, SIGKILL);
            (void)process_.wait();
        }
    }
    NginxServer(const NginxServer&) = delete;
    NginxServer& operator=(const NginxServer&) = delete;

    [[nodiscard]] std::set<pid_t> workers() const {
        const pid_t master = first_child(process_.pid());
        return master ? children(master) : std::set<pid_t>{};
    }
    /// kill -9; the master is to start others.
    [[nodiscard]] std::set<pid_t> kill_workers() const {
        std::set<pid_t> victims = workers();
        for (const pid_t victim : victims) ::kill(victim, SIGKILL);
        return victims;
    }
    [[nodiscard]] std::string log() const { return process_.log(); }

  private:
    static std::set<pid_t> children(pid_t parent) {
        std::ifstream listing(fmt::format("/proc/{0}/task/{0}/children", parent));
        return {std::istream_iterator<pid_t>(listing), {}};
    }
    /// 0: there is none.
    static pid_t first_child(pid_t parent) {
        const std::set<pid_t> all = children(parent);
        return all.empty() ? 0 : *all.begin();
    }
    static std::filesystem::path configure(const std::filesystem::path& directory, const std::string& address,
                                           uint16_t port, const TlsFiles& tls) {
        std::filesystem::create_directory(directory);
        auto file = directory / "nginx.conf";
        std::ofstream(file) << fmt::format(
            "daemon off; worker_processes 1; pid {0}/pid; error_log stderr;\n"
            "events {{ worker_connections 64; }}\n"
            "http {{ access_log off; client_body_temp_path {0}/1; proxy_temp_path {0}/2;\n"
            " fastcgi_temp_path {0}/3; uwsgi_temp_path {0}/4; scgi_temp_path {0}/5;\n"
            " server {{ listen {1}:{2} ssl; ssl_certificate {3}; ssl_certificate_key {4};\n"
            "  ssl_protocols TLSv1.2 TLSv1.3; return 200 ok; }}\n}}\n",
            directory.string(), address, port, tls.certificate.string(), tls.key.string());
        return file;
    }
    static std::vector<std::string> words(const std::filesystem::path& config, const std::string& store) {
        const char* hooks = std::getenv("KR_HOOKS");
        if (!hooks) throw std::runtime_error("KR_HOOKS is not set");
        return {"/usr/bin/env",
                "unshare",
                "--pid",
                "--fork",
                "--kill-child",
                "env",
                fmt::format("LD_PRELOAD={}", hooks),
                fmt::format("KEYRAIL_STORE={}", store),
                "nginx",
                "-c",
                config.string(),
                "-e",
                "stderr"};
    }

    Process process_;
};

}  // namespace keyrail::testing
