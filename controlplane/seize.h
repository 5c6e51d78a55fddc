/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors of a dataplane that says nothing any more, through the kernel. Main thread. */
#pragma once

#include "controlplane/adopt.h"

/* Fills in index, data, roster and the clients that live. 0, or -errno: something that the cache
 * cannot be used without could not be had; what was had is the adoption's all the same. */
[[nodiscard]] int seize(struct adoption *found);
