/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on their way to the core that owns the next of their ops. One ring for each ordered pair
 * of cores: the sending core pushes, the receiving core pops. A request in a ring has no other
 * owner; the ring's release and acquire make its bytes visible to the receiver. */
#pragma once

#include <stdbool.h>

#include "dataplane/core.h"

/* False: the ring is full and the request still the caller's. */
[[nodiscard]] bool handoff_push(struct core *core, unsigned to, struct request *request);
/* The next request for this core, from all rings in turn; NULL: none. */
struct request *handoff_pop(struct core *core, unsigned *ring);
