/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: JSON lines over a Unix stream socket, one request object per line, one answer
 * per line, in order (docs/control.md). Clients are not trusted: lines, answers waiting to be read,
 * time and number of clients are all bounded. Main thread only. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "controlplane/loop.h"

#define CTL_CLIENTS_MAX 32u
#define CTL_LINE_MAX 8192u

struct ctl;

struct ctl_client {
    struct ctl *ctl;
    int fd;
    uint64_t token; /* never used again by another client */
    char line[CTL_LINE_MAX];
    size_t line_len;
    char *answer; /* being sent, or NULL */
    size_t answer_len, answer_sent;
    json_t *id;   /* of the request being worked on */
    bool asked;   /* a request is being worked on */
    char waiting; /* what the deadline is for: 'i'dle, 'l'ine, 'a'nswer, 0 = not armed */
    bool closing; /* after the answer */
    struct timer deadline;
};

struct ctl {
    struct loop *loop;
    int fd, lock_fd;
    struct sockaddr_un address;
    /* A request; answered now or later with ctl_answer under its token. */
    void (*request)(void *owner, uint64_t token, const json_t *request);
    void *owner;
    unsigned line_ms, idle_ms; /* to finish a line or take an answer; between requests */
    uint64_t tokens;
    struct ctl_client *clients[CTL_CLIENTS_MAX];
};

/* Opens path. -EADDRINUSE: another process serves it; -ENOTSOCK: something else is there; -errno. A
 * socket that nobody serves any more is replaced. */
[[nodiscard]] int ctl_open(struct ctl *ctl, struct loop *loop, const char *path,
                           void (*request)(void *owner, uint64_t token, const json_t *request),
                           void *owner);
/* Sends what fits of the answers on their way, closes all, removes the socket. */
void ctl_close(struct ctl *ctl);

/* Takes the reference to result. Nothing happens if the client has gone. */
void ctl_answer(struct ctl *ctl, uint64_t token, json_t *result);
void ctl_refuse(struct ctl *ctl, uint64_t token, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Removes a socket of this type that nobody listens on any more. 0 also if there is none;
 * -EADDRINUSE, -ENOTSOCK as above, -errno. */
[[nodiscard]] int ctl_stale_remove(const struct sockaddr_un *address, int type);
