/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake with kvraild (shm/attach.h) that makes a mount. */
#pragma once

#include "client/local.h"

struct attach_wish {
    const char *name;  /* NULL: the program's */
    uint32_t held_max; /* values held at once */
    bool read_only;
};

/* Connects, maps the arena, makes the segment, hands it over. Ends by until_ns whatever the other
 * side does. KVR_DENIED, KVR_BAD_VERSION, KVR_NO_MEMORY; KVR_UNREACHABLE: nobody there, or no
 * answer in time, or the server has no room; KVR_PROTOCOL: what it offers is no arena. */
/* One message on a mount's socket, with a copy of fd unless that is -1. Waits for nothing; false
 * with errno. */
[[nodiscard]] bool attach_say(int socket, const void *message, size_t len, int fd);

[[nodiscard]] enum kvr_status attach(const char *path, const struct attach_wish *wish,
                                     uint64_t until_ns, struct mount **out);
