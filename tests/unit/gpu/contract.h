/* SPDX-License-Identifier: Apache-2.0 */
/* What every backend must do (gpu/backend.h), as functions that need nothing but the backend: a
 * plain program runs them (contract.c), also where there is no Criterion. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "gpu/backend.h"
#include "plain_check.h"

struct rig {
    const struct gpu_backend *backend;
    struct gpu_device *device;
    const char *program; /* this one, for the other process */
};

struct contract_check {
    const char *name;
    bool (*function)(struct rig *rig);
};

/* contract_copies.c, contract_memory.c; each ends with a check without a name. */
extern const struct contract_check contract_copies[], contract_memory[];

/* The other process of the check about handles: 0, or 1 and a line that says what is wrong. */
int contract_import(struct rig *rig, char **args, int nr_args);

/* Submits strips and waits until they are done. */
[[nodiscard]] int contract_copy(struct rig *rig, unsigned lane, enum gpu_direction direction,
                                const struct gpu_strip *strips, unsigned nr);
[[nodiscard]] int contract_wait(struct rig *rig, unsigned lane, uint64_t ticket);
/* len bytes that differ from seed to seed. */
void contract_fill(uint8_t *bytes, size_t len, uint64_t seed);
