// SPDX-License-Identifier: Apache-2.0
// From configuration, keys and the state of the blades to what others get: the dataplane's Snapshot, a
// blade's Keys. Pure functions. Both messages carry keys: wipe() them (channel.h, dataplane_link.h) when they
// have been sent.
#pragma once

#include <cstdint>

#include "control/daemon/blades/blades.h"
#include "control/daemon/config/config.h"
#include "control/daemon/keys/secrets.h"
#include "control/daemon/moves/economics.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace link {
class Snapshot;
}
namespace chassis {
class Keys;
}

/// Without the generation. A blade that takes clients, but has no server for one service, is left out of that
/// service's pool: it gets none of its clients, and its sessions of that service are moved away. Blades that
/// have left the configuration are in no pool, and there for the flows that they have. `wishes`: services
/// that take nobody; nullptr: none.
link::Snapshot make_snapshot(const Config& config, const Secrets& secrets, const Blades& blades,
                             const Economics& economics, const Wishes* wishes = nullptr);

/// `checks_from`: addresses of ours from which checks come.
chassis::Keys make_keys(const Config& config, const Secrets& secrets, BladeId blade,
                        const std::vector<IpAddress>& checks_from = {});

}  // namespace keyrail
