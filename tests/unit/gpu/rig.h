/* SPDX-License-Identifier: Apache-2.0 */
/* A fleet of host devices and a paged cache that is imported in all of them; one producer. */
#pragma once

#include "gpu/fleet.h"
#include "paged.h"

#define RIG_JOBS_MAX 64u
#define RIG_PATIENCE_NS 20000000000ull

struct rig {
    struct gpu_fleet *fleet;
    struct paged paged;
    struct gpu_device_options devices[GPU_DEVICES_MAX];
};

struct rig_options {
    const struct gpu_backend *backend; /* NULL: the host's */
    unsigned nr_devices;
    uint64_t bytes_s[4]; /* of the first ones; 0: as fast as memory */
    uint32_t batch_bytes, batch_wait_us;
    uint32_t hang_timeout_ms;      /* as long as the patience, or tests that stall would race it */
    unsigned nr_blocks, nr_layers; /* 64, 4 */
    uint32_t piece_bytes;          /* 4096; two kinds */
};

void rig_open(struct rig *rig, const struct rig_options *options);
void rig_close(struct rig *rig);
/* Asserts that it is taken. */
void rig_push(struct rig *rig, struct gpu_job *job);
/* The next job that ends; asserts that one does. */
struct gpu_job *rig_pop(struct rig *rig);
/* Pushes and waits for it alone. */
enum kvr_status rig_run(struct rig *rig, struct gpu_job *job);
/* Stalls device 0 with two jobs in flight, of one layer each. With batch_bytes 1 nothing that is
 * pushed then begins before rig_unplug, which waits until nr_waiting jobs wait. */
void rig_plug(struct rig *rig, struct gpu_job plugs[2]);
void rig_unplug(struct rig *rig, unsigned nr_waiting);
struct gpu_device_stats rig_stats(struct rig *rig, unsigned device);
/* These wait. */
void rig_await_running(struct rig *rig, unsigned device, uint64_t nr);
void rig_await_waiting(struct rig *rig, unsigned device, uint64_t nr);
void rig_await_state(struct rig *rig, unsigned device, enum gpu_state state);
