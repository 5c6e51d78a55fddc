/* SPDX-License-Identifier: Apache-2.0 */
/* The real engine in a process of its own (sockserver), and clients of it: behind sockets, or over
 * shared memory if KVRAIL_OVER is "shm", or "staged": without the right to write. One at a time. */
#pragma once

#include "kvrail/client.h"
#include "tests/fixture/child.h"

#define ENGINE_TIMEOUT_MS 10000u /* nothing here is about time, and the machine may be busy */

extern struct child engine_child;
extern char engine_url[128];
extern char engine_path[100]; /* of the local socket; empty = over UDP */

/* port: "0" = anywhere free. */
void engine_start(char *partitions, char *size, char *port);
/* Unless its pid is 0. The test fails if it had lost track of anything. */
void engine_stop(void);
struct kvr_client *engine_open(const char *host);
