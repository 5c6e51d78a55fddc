/* SPDX-License-Identifier: Apache-2.0 */
/* kvraild over a stand-in for the dataplane (tests/fixture/dataplane.c), and a client of it that
 * attaches by hand. One at a time. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "shm/arena.h"
#include "shm/attach.h"
#include "shm/segment.h"

extern char dir[64], path[96], file[96], errors[96]; /* control socket, settings, what was said */
extern pid_t pid;                                    /* ended by the teardown; -1: none */

void daemon_setup(void);
void daemon_teardown(void);

void write_file(const char *text);
/* behaviour: of the stand-in. flag: one more, or NULL. */
pid_t start(const char *behaviour, const char *flag);
int end_of(pid_t process);

bool said(const char *text);
bool said_in_time(const char *text);
unsigned lines_said(void);

/* One line to the control socket; NULL while nobody answers. */
json_t *ask(const char *request);
/* Waits for this state; the answer to "status". */
json_t *wait_state(const char *state);
/* The same "ok" with another dataplane than this one. */
json_t *wait_other(pid_t before);
/* Parts of it. */
const char *state_of(json_t *answer);
json_t *dataplane_of(json_t *status);
pid_t dataplane_pid(json_t *status);
const char *first_of(json_t *status, const char *array);

struct guest {
    int conn, index_fd, data_fd;
    struct attach_offer offer;
    struct attach_done done;
    struct arena arena;
    struct segment segment;
};
/* Waits for the socket. */
void guest_connect(struct guest *guest);
/* Says hello, and takes the offer; its status. */
uint32_t guest_hello(struct guest *guest, enum attach_rights wish);
/* Maps the arena and hands a segment over; does not wait for the answer. */
void guest_segment(struct guest *guest);
/* Takes the answer; its status. */
uint32_t guest_done(struct guest *guest);
/* All of it. */
void guest_attach(struct guest *guest, enum attach_rights wish);
/* Whether the other side has hung up, within some seconds. */
bool guest_hung_up(const struct guest *guest);
/* A process that attaches and then waits to be killed. */
pid_t guest_fork(void);
/* The list of clients with as many of them; waits for it. */
json_t *wait_clients(size_t nr);
