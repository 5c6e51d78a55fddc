/* SPDX-License-Identifier: Apache-2.0 */
/* The local socket: clients on this host come, are checked, and get the arena (shm/attach.h). Main
 * thread. */
#pragma once

#include <stdint.h>
#include <sys/un.h>

#include "controlplane/loop.h"

#define ATTACHERS_MAX 16u /* in the middle of their handshake */

struct kvraild;
struct attacher;

struct attach {
    int fd; /* -1: nobody may attach */
    struct sockaddr_un address;
    struct attacher *half[ATTACHERS_MAX];
};

[[nodiscard]] int attach_setup(struct kvraild *kvraild);
void attach_teardown(struct kvraild *kvraild);

/* The last word of the handshake. status: 0 or an errno, then with text. */
void attach_done_send(int conn, uint32_t status, uint32_t id, const char *text);
