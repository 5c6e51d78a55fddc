/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that clients registered: asked for on their connections (shm/attach.h), handed to the
 * dataplane, and again to each that comes after. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "shm/attach.h"

struct client;

enum held_state {
    HELD_FREE,
    HELD_OPENS, /* the dataplane, or the next one, has yet to say that it has it */
    HELD_OPEN,
    HELD_CLOSES, /* until the dataplane says that it has let go */
};

/* A region as kvraild keeps it. */
struct held_region {
    struct client *client;
    uint32_t kind;
    uint64_t size;
    uint8_t bytes[ATTACH_HANDLE_MAX];
    int fd;        /* -1: the kind has none */
    uint8_t state; /* enum held_state */
    bool told;     /* this dataplane has it, or is being told */
    bool asked;    /* the client waits for an answer */
};

struct region_rules {
    uint32_t most; /* regions of a client */
    uint64_t bytes_most;
};

/* There is something on the client's connection. False: it has hung up, or said nonsense. */
[[nodiscard]] bool regions_hear(struct client *client, const struct region_rules *rules);
/* A dataplane is ready that knows none of the client's regions. */
void regions_dataplane_ready(struct client *client);
void regions_dataplane_gone(struct client *client);
/* It has let go of one. */
void regions_gone(struct client *client, unsigned number);
/* The client ends: nobody is told. */
void regions_forget(struct client *client);
/* For the list of clients. */
unsigned regions_count(const struct client *client, uint64_t *bytes);
