/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the dataplane that an earlier kvraild on the same control socket has left, and takes it
 * over: as it runs, or, where it says nothing any more, its cache and its clients only. Main
 * thread, at start; it waits some seconds at most. */
#pragma once

#include "controlplane/child.h"
#include "controlplane/peer.h"

#define ADOPT_LINES_MAX 48u
#define ADOPT_SETTINGS_MAX 96u

struct kvraild;

/* What was found of it. */
struct adoption {
    bool living; /* it serves: peer and ctl are there */
    struct peer peer;
    int ctl;
    int index_fd, data_fd, roster_fd;
    struct local_spec clients[LOCAL_CLIENTS_MAX];
    unsigned nr_clients;
    char lines[ADOPT_LINES_MAX][CHILD_LINE_MAX]; /* notes, recovered, ready */
    unsigned nr_lines;
    char settings[ADOPT_SETTINGS_MAX][CHILD_LINE_MAX]; /* "KEY VALUE" */
    unsigned nr_settings;
    char version[64];
};

/* Looks for one; sets kvraild->adoption, arena and roster if there is one of use. One that is of no
 * use is stopped, and that is said. 0 also if there is none. -errno: it cannot be got out of the
 * way. */
[[nodiscard]] int adopt_setup(struct kvraild *kvraild);
/* Forgets the adoption; a dataplane that was not taken over serves on. */
void adopt_teardown(struct kvraild *kvraild);

/* Makes the dataplane that was found kvraild's child, with its clients; told again what it said
 * before. False: there is none that lives; its clients are kvraild's now all the same. */
[[nodiscard]] bool adopt_finish(struct kvraild *kvraild);

/* A socket for the next kvraild, bound and not listened to, to be given to a new dataplane. -1: it
 * cannot be had, which was said. */
int adopt_bind(struct kvraild *kvraild);
/* After the last dataplane: nobody can be adopted there. */
void adopt_unbind(const struct kvraild *kvraild);
