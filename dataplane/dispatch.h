/* SPDX-License-Identifier: Apache-2.0 */
/* The middle stage: may this request be executed, by whom, and what becomes of it then. */
#pragma once

#include "dataplane/core.h"

/* A parsed request from the transport: its cookie, overload, then dispatch_run. */
void dispatch_new(struct core *core, struct request *request);

/* Executes what this core owns of the request and is not done, answers it, then parks, passes on or
 * releases the request. Also for requests handed over and parked ones. */
void dispatch_run(struct core *core, struct request *request);
