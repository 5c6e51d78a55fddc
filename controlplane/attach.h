/* SPDX-License-Identifier: Apache-2.0 */
/* The local socket (shm/attach.h): lets clients on this host in, if they may, and hands them the
 * arena. A stranger costs a descriptor and a few bytes, for a short while. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "controlplane/clients.h"
#include "controlplane/loop.h"
#include "shm/arena.h"
#include "shm/attach.h"

#define ATTACHERS_MAX 16u /* in the middle of it */

enum attach_write { ATTACH_WRITE_NONE, ATTACH_WRITE_OWNER, ATTACH_WRITE_ALL };
enum attach_mode { ATTACH_MODE_OWNER, ATTACH_MODE_GROUP, ATTACH_MODE_ALL };

struct attach_rules {
    enum attach_write write; /* owner: this process's user, and root */
    bool write_owner_only;   /* whatever write says: the arena's files cannot be sealed */
    enum attach_mode mode;   /* of the socket */
    uint32_t clients_max, slots_max;
    uint64_t pinned_max;
};

struct attach;

struct attacher {
    struct attach *attach;
    int fd, pidfd; /* fd -1: free entry */
    pid_t pid;
    uid_t uid;
    uint64_t order;
    bool offered, adding, may_write;
    char name[ATTACH_NAME_MAX];
    struct timer deadline;
};

struct attach {
    struct loop *loop;
    struct clients *clients;
    const struct arena *arena;
    struct attach_rules rules;
    int fd;
    struct sockaddr_un address;
    uint64_t refused, late; /* since the start */
    uint64_t orders;
    struct attacher attachers[ATTACHERS_MAX];
};

/* Listens at path. -ENOTSOCK: something else is there; -EADDRINUSE: somebody else listens there;
 * -ENAMETOOLONG; -errno. */
[[nodiscard]] int attach_open(struct attach *attach, struct loop *loop, struct clients *clients,
                              const struct arena *arena, const struct attach_rules *rules,
                              const char *path);
/* The arena is another now: those in the middle of it are turned away. */
void attach_arena(struct attach *attach);
void attach_close(struct attach *attach);
