/* SPDX-License-Identifier: Apache-2.0 */
/* A running kvr_transfer: a MATCH, then calls for its blocks (by a device: move.c) or for the parts
 * of them that are copied here (copy.c). Owned by the handle's thread. */
#pragma once

#include "client/handle.h"
#include "client/region.h"

#define PENDING ((enum kvr_status)KVR_STATUS_WIRE_MAX) /* of a block: not over yet */

/* A call of a transfer: about a block, or some layers of it. */
struct part {
    struct kvr_call call; /* first: the task knows only that */
    struct transfer *transfer;
    uint32_t index; /* of the block */
    /* By a device. */
    uint32_t token, layers; /* layers: that are there */
    uint16_t word;          /* of the segment; KVR_NO_WORD */
    /* Copied here. */
    uint32_t first, nr; /* layers */
    uint8_t *buffer;
};

struct transfer {
    TAILQ_ENTRY(transfer) all; /* client->transfers */
    struct kvr_client *client;
    struct kvr_transfer *said;
    bool stores;
    bool watches;           /* layers by a device */
    bool ended;             /* no part runs and none will: to be reported */
    bool *over;             /* kvr_load, kvr_store: set at the end. NULL: done is called */
    uint32_t nr;            /* blocks: of the prefix that is stored; all of a store */
    uint32_t first, layers; /* asked for */
    uint32_t told;          /* layers that on_layer was called with */
    uint32_t nr_running;    /* parts */
    uint64_t started_ns, deadline_ns, until_ns;
    enum kvr_status *statuses; /* of all keys */
    struct kvr_call match;
    struct kvr_match *matches; /* where layers are asked for one by one, else NULL */
    struct part *parts;
    /* Copied here: steps go layer by layer, in each from block to block; or block by block. */
    uint32_t nr_parts, steps; /* steps of a block */
    uint64_t next_step;
    uint32_t *left;       /* of each layer: blocks to come; NULL: nobody asks */
    uint32_t *steps_left; /* of each block */
    uint8_t *buffers;
};

/* transfer.c. Time left for a call of it in ms, at least 1; 0: over. */
uint32_t transfer_left_ms(const struct transfer *transfer);
/* The block will not be there, or is. */
void transfer_failed(struct transfer *transfer, uint32_t index, enum kvr_status status);
void transfer_arrived(struct transfer *transfer, uint32_t index);
/* on_layer, if that is more than was told. */
void transfer_tell(struct transfer *transfer, uint32_t layers);
/* No part runs and none will. */
void transfer_end(struct transfer *transfer);
/* Tells of those that ended. Returns how many. */
int transfers_report(struct kvr_client *client);
/* From kvr_poll: how far devices are. */
void transfers_look(struct kvr_client *client);

/* move.c. KVR_OK: the parts run, or have ended and been noted. */
[[nodiscard]] enum kvr_status moves_start(struct transfer *transfer);
void moves_free(struct transfer *transfer);
/* Of the layers asked for, those that all blocks of the prefix have. */
uint32_t moves_layers(struct transfer *transfer);

/* copy.c. The same. */
[[nodiscard]] enum kvr_status copies_start(struct transfer *transfer);
void copies_free(struct transfer *transfer);
