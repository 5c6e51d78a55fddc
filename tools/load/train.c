/* SPDX-License-Identifier: Apache-2.0 */
/* Trains are kept once they were made: there are never more than ops in flight. */
#include "tools/load/train.h"

#include <stdlib.h>
#include <string.h>

void trains_setup(struct trains *trains, uint32_t largest, bool keeps_bytes)
{
    *trains = (struct trains){.largest = largest, .keeps_bytes = keeps_bytes};
}

static void destroy(struct train *train)
{
    gaps_teardown(&train->gaps);
    free(train->bytes);
    free(train);
}

void trains_teardown(struct trains *trains)
{
    struct train *train;

    while ((train = trains->free_trains)) {
        trains->free_trains = train->next;
        destroy(train);
    }
}

static struct train *take(struct trains *trains)
{
    struct train *train = trains->free_trains;

    if (train) {
        trains->free_trains = train->next;
        return train;
    }
    train = calloc(1, sizeof(*train));
    if (!train)
        return NULL;
    gaps_setup(&train->gaps);
    if (trains->keeps_bytes && !(train->bytes = malloc(trains->largest))) {
        destroy(train);
        return NULL;
    }
    return train;
}

static bool begin(struct trains *trains, struct train **train, const struct kvr_get_rep *part)
{
    if (part->view_len > trains->largest || !(*train = take(trains)))
        return false;
    (*train)->ref = part->ref;
    (*train)->total = part->view_len;
    (*train)->crc = part->value_crc;
    gaps_reset(&(*train)->gaps, part->view_len);
    return true;
}

enum train_state train_add(struct trains *trains, struct train **train,
                           const struct kvr_get_rep *part)
{
    if (!*train && !begin(trains, train, part))
        return TRAIN_WRONG;
    if (part->ref != (*train)->ref || part->view_len != (*train)->total)
        return TRAIN_WRONG;
    if (part->len > 0) {
        if (!gaps_fill(&(*train)->gaps, part->pos, part->pos + part->len))
            return TRAIN_MORE; /* as if it was lost */
        if ((*train)->bytes)
            memcpy((*train)->bytes + part->pos, part + 1, part->len);
    }
    return gaps_none(&(*train)->gaps) ? TRAIN_WHOLE : TRAIN_MORE;
}

void train_end(struct trains *trains, struct train **train)
{
    if (!*train)
        return;
    (*train)->next = trains->free_trains;
    trains->free_trains = *train;
    *train = NULL;
}
