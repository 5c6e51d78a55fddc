/* SPDX-License-Identifier: Apache-2.0 */
/* Hands the memory of pools to kvraild, for clients (settings.h says in which words). Main thread.
 */
#pragma once

#include "dataplane/control.h"
#include "dataplane/core.h"

/* Answers a CONTROL_POOL_EXPORT. The cores may run. */
void export_pool(struct core **cores, unsigned nr_cores, const struct control_command *command);
