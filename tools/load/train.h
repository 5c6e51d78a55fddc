/* SPDX-License-Identifier: Apache-2.0 */
/* GETs whose answer comes in several datagrams, in any order: which parts are still missing, and,
 * where values are verified, the parts put together. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/gaps.h"
#include "kvrail/proto.h"

struct train {
    struct train *next; /* free */
    struct gaps gaps;
    uint64_t ref;
    uint32_t total, crc; /* of the value */
    uint8_t *bytes;      /* NULL: only counted */
};

struct trains {
    struct train *free_trains;
    uint32_t largest; /* value */
    bool keeps_bytes;
};

void trains_setup(struct trains *trains, uint32_t largest, bool keeps_bytes);
void trains_teardown(struct trains *trains);

enum train_state { TRAIN_MORE, TRAIN_WHOLE, TRAIN_WRONG };

/* A checked part of an answer; *train is NULL at the first one. WRONG: it does not belong to the
 * other parts, or is larger than any value may be, or memory is out. */
enum train_state train_add(struct trains *trains, struct train **train,
                           const struct kvr_get_rep *part);
/* Gives it back; NULL allowed. */
void train_end(struct trains *trains, struct train **train);
