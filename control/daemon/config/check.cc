// SPDX-License-Identifier: Apache-2.0
// A configuration and its certificates.
#include "control/daemon/config/config.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

tl::expected<Config, ConfigMistakes> with_certificates(tl::expected<Config, ConfigMistakes> config) {
    if (!config) return config;
    if (const auto tls = control_tls(*config); !tls)
        return tl::make_unexpected(
            ConfigMistakes{fmt::format("{}: {}", config->file.string(), tls.error().message)});
    return config;
}

}  // namespace

tl::expected<Config, ConfigMistakes> check_config(const fs::path& file) {
    return with_certificates(read_config(file));
}

tl::expected<Config, ConfigMistakes> check_config_text(std::string text, const fs::path& file) {
    return with_certificates(read_config_text(std::move(text), file));
}

Result<TlsContext> control_tls(const Config& config) {
    auto tls = TlsContext::load(config.tls);
    if (tls && !tls->self().is_control())
        return fail("{}: the certificate of {}, not of control; use control.pem of 'keyrail chassis init'",
                    config.tls.certificate.string(), tls->self().text());
    return tls;
}

}  // namespace keyrail
