// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline.h"

#include "dataplane/bind/bind.h"
#include "dataplane/bind/settle.h"
#include "dataplane/parse/parse.h"
#include "dataplane/rewrite/egress.h"
#include "dataplane/steer/steer.h"

namespace keyrail {

void run_pipeline(Burst& burst, Context& context) {
    burst.forget_hellos();
    parse::process(burst, context);  // what is each packet to us?
    bind::process(burst, context);   // known flows go on, SYNs are answered, ClientHellos wait for a decision
    steer::process(burst, context);  // which blade gets each hello, and must its session move?
    settle::process(burst, context);  // hellos go there, or are held until it has
    egress::process(burst, context);  // out, and counted
}

void run_timers(Burst& burst, Context& context) {
    burst.count = 0;
    burst.forget_hellos();
    bind::expire(burst, context);
    steer::process(burst, context);
    settle::process(burst, context);
}

}  // namespace keyrail
