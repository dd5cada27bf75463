// SPDX-License-Identifier: Apache-2.0
// How an answer is written (RFC 9112).
#pragma once

#include <string>
#include <string_view>

#include "control/daemon/api/api_server.h"

namespace keyrail {

/// An error object (error.h) as a whole answer.
ApiReply failure(int status, std::string_view text);

/// `reads_only`: where only GET and HEAD are possible, which a 405 says.
std::string http_text(const ApiReply& reply, bool with_body, bool reads_only);

}  // namespace keyrail
