/* SPDX-License-Identifier: Apache-2.0 */
/* Brings the dataplane up, step by step, and down in the opposite order. Main thread. */
#pragma once

#include "dataplane/arguments.h"
#include "dataplane/eth/fault.h"

struct dataplane;

/* The descriptors in arguments become the dataplane's. -errno and the fault's text; everything is
 * undone then. */
[[nodiscard]] int dataplane_start(const struct arguments *arguments, struct dataplane **out,
                                  struct fault *fault);
/* Tells kvraild; answers its commands until it is told to stop. */
void dataplane_serve(struct dataplane *dataplane);
void dataplane_stop(struct dataplane *dataplane);
