/* SPDX-License-Identifier: Apache-2.0 */
/* Geometric classes grow by at most 15 %, so small blocks waste some 6 % on average. A large block
 * that would waste more than 1/64 of its slot gets a class of its own size, as models store many
 * blocks of few sizes. */
#include "shm/classes.h"

#include <string.h>

#define SMALL_UNITS 64u /* 4 KiB */
#define EXACT_WASTE 64u /* an exact class from 1/64 of waste on */
#define PARTIAL_NONE UINT32_MAX

void classes_setup(struct class_table *table, uint32_t chunk_units, uint32_t nr_chunks)
{
    uint32_t units = 0, number = 0, power = 1;

    memset(table, 0, sizeof(*table));
    for (unsigned i = 0; i < CLASSES_MAX; i++)
        table->classes[i].partial = PARTIAL_NONE;
    table->chunk_units = chunk_units;
    table->nr_exact_max = nr_chunks / 8 < CLASSES_EXACT_MAX ? nr_chunks / 8 : CLASSES_EXACT_MAX;
    while (units < chunk_units && number < CLASSES_GEOMETRIC_MAX) {
        uint32_t next = (uint32_t)((uint64_t)units * 115 / 100);

        next = next > units ? next : units + 1;
        if (next > power)
            next = power; /* powers of two are what people store */
        units = next;
        power = units == power ? 2 * power : power;
        table->classes[number++].units = units;
    }
    table->nr_geometric = number;
    for (uint32_t want = 1, class = 0; want <= SMALL_UNITS; want++) {
        while (table->classes[class].units < want)
            class ++;
        table->small[want] = (uint8_t) class;
    }
}

static uint16_t geometric(const struct class_table *table, uint32_t units)
{
    uint32_t low = 0, high = table->nr_geometric - 1;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (table->classes[middle].units < units)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint16_t)low;
}

/* The smallest exact class that is at least so large, or CLASS_NONE. */
static uint16_t exact(const struct class_table *table, uint32_t units)
{
    uint16_t best = CLASS_NONE;
    uint32_t best_units = UINT32_MAX;

    for (uint32_t i = 0; i < table->nr_exact_max; i++) {
        uint32_t have = table->classes[CLASSES_GEOMETRIC_MAX + i].units;

        if (have >= units && have < best_units) {
            best_units = have;
            best = (uint16_t)(CLASSES_GEOMETRIC_MAX + i);
        }
    }
    return best;
}

static uint16_t exact_make(struct class_table *table, uint32_t units)
{
    for (uint32_t i = 0; i < table->nr_exact_max; i++) {
        struct size_class *class = &table->classes[CLASSES_GEOMETRIC_MAX + i];

        if (!class->slabs) {
            class->units = units;
            return (uint16_t)(CLASSES_GEOMETRIC_MAX + i);
        }
    }
    return CLASS_NONE;
}

uint16_t class_choose(struct class_table *table, uint32_t units)
{
    uint16_t best = CLASS_RUN, own;
    uint32_t slot;

    if (units <= SMALL_UNITS)
        return table->small[units];
    slot = (units + table->chunk_units - 1) / table->chunk_units * table->chunk_units;
    if (units <= table->chunk_units) {
        best = geometric(table, units);
        slot = table->classes[best].units;
    }
    own = exact(table, units);
    if (own != CLASS_NONE && table->classes[own].units < slot) {
        best = own;
        slot = table->classes[own].units;
    }
    if ((uint64_t)(slot - units) * EXACT_WASTE <= slot)
        return best;
    own = exact_make(table, units);
    return own == CLASS_NONE ? best : own;
}

uint16_t class_exactly(struct class_table *table, uint32_t units)
{
    uint16_t class;

    if (units <= table->chunk_units) {
        class = geometric(table, units);
        if (table->classes[class].units == units)
            return class;
    }
    class = exact(table, units);
    if (class != CLASS_NONE && table->classes[class].units == units)
        return class;
    return exact_make(table, units);
}
