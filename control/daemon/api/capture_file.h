// SPDX-License-Identifier: Apache-2.0
// A trace with frames as a pcapng file (draft-ietf-opsawg-pcapng): what became of each packet is its comment.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "link.pb.h"

namespace keyrail {

/// `comment`: of a packet, one line.
std::string capture_file(std::span<const link::TraceRecord> records, uint32_t snap,
                         const std::function<std::string(const link::TraceRecord&)>& comment);

}  // namespace keyrail
