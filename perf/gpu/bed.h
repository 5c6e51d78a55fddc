/* SPDX-License-Identifier: Apache-2.0 */
/* What all runs stand on: an arena that is registered, memory of a device in which the arena's
 * blocks lie as in vLLM's paged cache ([layer][kind][block]), and runs over them. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/fleet.h"

#define BATCH_BYTES (4u << 20) /* of a submit of the bare backend; the fleet's default */

struct bed {
    const struct gpu_backend *backend;
    unsigned index;  /* of the device */
    size_t len;      /* of the arena and of the device's memory */
    uint64_t run_ns; /* of one measurement, at least */
    bool spin;
    uint8_t *arena;
};

/* -errno. */
[[nodiscard]] int bed_create(struct bed *bed);
void bed_destroy(struct bed *bed);

/* A block of 32 layers (fewer if it would have more than 16 MiB), two kinds, one piece each. */
struct kvr_form bed_form(const struct bed *bed, uint32_t piece);
unsigned bed_blocks(const struct bed *bed, const struct kvr_form *form);

/* bare.c: the backend alone, batches in flight two at a time. -errno; bytes a second. */
[[nodiscard]] int bare_run(struct bed *bed, enum gpu_direction direction, uint32_t piece,
                           double *bytes_s);

/* through_fleet.c */
struct through;
[[nodiscard]] int through_create(struct bed *bed, struct through **through);
void through_destroy(struct through *through);
/* One direction, or both at once (the arena's halves): bytes a second, at the device's side. */
[[nodiscard]] int through_run(struct through *through, enum gpu_direction direction, uint32_t piece,
                              struct kvr_conversion conversion, double *bytes_s);
[[nodiscard]] int through_both(struct through *through, uint32_t piece, double *load_bytes_s,
                               double *store_bytes_s);

/* Medians of a prompt's load, in nanoseconds from the first push. */
struct profile {
    unsigned nr_blocks, nr_layers, runs;
    uint64_t first_layer; /* of the first block */
    uint64_t first_block; /* all of its layers */
    uint64_t all_first;   /* the first layer of every block */
    uint64_t all;
};
[[nodiscard]] int through_profile(struct through *through, unsigned nr_blocks,
                                  struct profile *profile);
void through_info(struct through *through, struct gpu_device_info *info);
