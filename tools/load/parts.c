/* SPDX-License-Identifier: Apache-2.0 */
/* Every place is in one list: free, sent or again; but for one that is being written. */
#include "tools/load/parts.h"

#include <errno.h>
#include <stdlib.h>

int parts_create(struct parts *parts, uint32_t nr)
{
    *parts = (struct parts){.nr = nr, .nr_free = nr};
    TAILQ_INIT(&parts->free);
    TAILQ_INIT(&parts->sent);
    TAILQ_INIT(&parts->again);
    parts->places = calloc(nr, sizeof(parts->places[0]));
    if (!parts->places)
        return -ENOMEM;
    for (uint32_t i = 0; i < nr; i++)
        TAILQ_INSERT_TAIL(&parts->free, &parts->places[i], entry);
    return 0;
}

void parts_destroy(struct parts *parts)
{
    free(parts->places);
    parts->places = NULL;
}

static uint64_t next_id(struct parts *parts, uint64_t place)
{
    return ++parts->serial << FLIGHT_BITS | place;
}

static uint64_t id_of(struct parts *parts, const struct part *part)
{
    return next_id(parts, PARTS_FIRST + (uint64_t)(part - parts->places));
}

uint64_t parts_quiet_id(struct parts *parts)
{
    return next_id(parts, PART_QUIET);
}

struct part *parts_take(struct parts *parts, struct job *job)
{
    struct part *part = TAILQ_FIRST(&parts->free);

    TAILQ_REMOVE(&parts->free, part, entry);
    parts->nr_free--;
    *part = (struct part){.job = job, .id = id_of(parts, part)};
    return part;
}

static struct part_list *list_of(struct parts *parts, const struct part *part)
{
    return part->waits ? &parts->again : &parts->sent;
}

void parts_sent(struct parts *parts, struct part *part, uint64_t now_ns)
{
    if (part->tries++ > 0)
        TAILQ_REMOVE(list_of(parts, part), part, entry);
    part->waits = false;
    part->sent_ns = now_ns;
    TAILQ_INSERT_TAIL(&parts->sent, part, entry);
}

void parts_again(struct parts *parts, struct part *part)
{
    TAILQ_REMOVE(list_of(parts, part), part, entry);
    part->waits = true;
    if (part->reads)
        part->id = id_of(parts, part);
    TAILQ_INSERT_TAIL(&parts->again, part, entry);
}

void parts_end(struct parts *parts, struct part *part)
{
    if (part->tries > 0)
        TAILQ_REMOVE(list_of(parts, part), part, entry);
    part->id = 0;
    parts->nr_free++;
    TAILQ_INSERT_HEAD(&parts->free, part, entry);
}

struct part *parts_find(const struct parts *parts, uint64_t id)
{
    uint32_t place = ((uint32_t)id & FLIGHT_NONE) - PARTS_FIRST;

    if (place >= parts->nr || parts->places[place].id != id)
        return NULL;
    return &parts->places[place];
}

struct part *parts_overdue(const struct parts *parts, uint64_t now_ns, uint64_t timeout_ns)
{
    struct part *part = TAILQ_FIRST(&parts->sent);

    if (part && now_ns > part->sent_ns && now_ns - part->sent_ns >= timeout_ns)
        return part;
    return NULL;
}
