/* SPDX-License-Identifier: Apache-2.0 */
/* Regions as a handle knows them. A mount's server learns of each over the connection that it was
 * attached by. Owned by the handle's thread. */
#pragma once

#include "client/handle.h"
#include "kvrail/transfer.h"

enum region_word {
    REGION_UNSAID, /* the mount's server has not heard of it */
    REGION_SAID,   /* asked for, no answer yet */
    REGION_HERE,
    REGION_REFUSED,
    REGION_LEAVES, /* forget was said, no answer yet */
    REGION_GONE,
};

struct kvr_region {
    struct kvr_region_spec spec; /* its fd is the region's own, or -1 */
    uint8_t number;              /* as the server knows it */
    uint8_t word;                /* enum region_word */
    bool by_device;              /* a device of the server moves its bytes */
    uint32_t mount;              /* that word is of */
    enum kvr_status refused;     /* REGION_REFUSED: why */
    bool abandoned;              /* nobody knows it any more; it goes when the server has let go */
    uint32_t nr_transfers;       /* running */
};

/* Whether the server has it by now; asks where it must, waits for nothing. PREPARE_DONE: *status is
 * why it never will. */
enum prepared region_prepare(struct kvr_client *client, struct kvr_region *region,
                             enum kvr_status *status);
/* Takes what has come on the mount's socket; also about pools (look.h). */
void regions_hear(struct kvr_client *client);
/* The handle ends. */
void regions_free(struct kvr_client *client);
