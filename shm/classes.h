/* SPDX-License-Identifier: Apache-2.0 */
/* Which slot size serves a block: geometric classes for small blocks, exact ones made on the fly
 * for large ones, whole runs of chunks for the rest. Owner core only, private memory. */
#pragma once

#include <stdint.h>

#define CLASSES_GEOMETRIC_MAX 128u
#define CLASSES_EXACT_MAX 64u
#define CLASS_RUN (CLASSES_GEOMETRIC_MAX + CLASSES_EXACT_MAX) /* any size, one slot a slab */
#define CLASSES_MAX (CLASS_RUN + 1)
#define CLASS_NONE UINT16_MAX

struct size_class {
    uint32_t units;   /* of a slot; 0 = unused; CLASS_RUN: not used */
    uint32_t slabs;   /* that exist */
    uint32_t slots;   /* in those that are not being emptied */
    uint32_t used;    /* of these, by blocks in any state */
    uint32_t pending; /* of these, by unlinked blocks on their way back to this class */
    uint32_t partial; /* first slab with a free slot */
    uint32_t asked;   /* requests turned away in turn asked_turn: so many may wait for memory */
    uint32_t asked_turn;
};

struct class_table {
    struct size_class classes[CLASSES_MAX];
    uint32_t nr_geometric, nr_exact_max, chunk_units;
    uint8_t small[65]; /* class by units, up to 4 KiB */
};

void classes_setup(struct class_table *table, uint32_t chunk_units, uint32_t nr_chunks);
/* The class for a block of so many units, > 0; makes an exact one where that saves memory. */
uint16_t class_choose(struct class_table *table, uint32_t units);
/* The class whose slots are exactly that large, made if there is none; CLASS_NONE if it cannot be.
 * For recovery. */
uint16_t class_exactly(struct class_table *table, uint32_t units);
