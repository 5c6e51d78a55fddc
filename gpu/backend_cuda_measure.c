/* SPDX-License-Identifier: Apache-2.0 */
/* What a device does, measured when it is opened: bandwidth of large copies each way, and the size
 * of pieces at which copy engines overtake kernels. Runs before the worker. */
#include <errno.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "gpu/cuda_device.h"

#define MEASURE_BYTES (32u << 20)
#define MEASURE_MOVED (4u << 20) /* in pieces, per run */
#define MEASURE_RUNS 3u
#define PIECE_LEAST (4u << 10)
#define PIECE_MOST (1u << 20)

struct measure {
    struct gpu_device *device;
    void *host;
    struct gpu_memory memory;
};

/* How a strip is begun: by copy engine or by kernel. */
typedef int strip_way(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip);

/* Best of some runs, in nanoseconds. */
static int measure_strip(const struct measure *m, enum gpu_direction direction, strip_way *way,
                         const struct gpu_strip *strip, uint64_t *best_ns)
{
    struct gpu_device *device = m->device;
    struct cuda_lane *lane = &device->lanes[direction == GPU_STORE];
    int rc = 0;

    *best_ns = UINT64_MAX;
    for (unsigned run = 0; run <= MEASURE_RUNS && !rc; run++) {
        uint64_t began = clock_ns(), ns;

        rc = way(device, lane, direction, strip);
        if (!rc)
            rc = cuda_copy_flush(device, lane, direction);
        if (!rc)
            rc = cuda_kernel_flush(device, lane);
        if (!rc)
            rc = cuda_result(device, device->driver->StreamSynchronize(lane->stream), "measure");
        ns = clock_ns() - began;
        if (run > 0 && ns < *best_ns) /* the first one warms up */
            *best_ns = ns ? ns : 1;
    }
    return rc;
}

static int measure_peak(const struct measure *m, enum gpu_direction direction, uint64_t *bytes_s)
{
    struct gpu_strip whole = {.near = (uintptr_t)m->host,
                              .device = m->memory.address,
                              .near_step = MEASURE_BYTES,
                              .device_step = MEASURE_BYTES,
                              .piece_bytes = MEASURE_BYTES,
                              .nr_pieces = 1};
    uint64_t ns;
    int rc = measure_strip(m, direction, cuda_copy_strip, &whole, &ns);

    if (!rc)
        *bytes_s = (uint64_t)((double)MEASURE_BYTES * (double)NS_PER_S / (double)ns);
    return rc;
}

/* Pieces lie together at the host, as in the arena, and apart at the device. */
static int measure_pieces(const struct measure *m, uint32_t piece, strip_way *way, uint64_t *ns)
{
    struct gpu_strip strip = {.near = (uintptr_t)m->host,
                              .device = m->memory.address,
                              .near_step = piece,
                              .device_step = 2 * (uint64_t)piece,
                              .piece_bytes = piece,
                              .nr_pieces = MEASURE_MOVED / piece};
    uint64_t load = 0, store = 0;
    int rc = measure_strip(m, GPU_LOAD, way, &strip, &load);

    if (!rc)
        rc = measure_strip(m, GPU_STORE, way, &strip, &store);
    *ns = load + store;
    return rc;
}

static int measure_crossover(const struct measure *m, uint32_t *gather_below)
{
    uint64_t by_engine = 0, by_kernel = 0;
    uint32_t piece;
    int rc = 0;

    for (piece = PIECE_LEAST; piece <= PIECE_MOST; piece *= 2) {
        rc = measure_pieces(m, piece, cuda_copy_strip, &by_engine);
        if (!rc)
            rc = measure_pieces(m, piece, cuda_kernel_strip, &by_kernel);
        if (rc || by_engine <= by_kernel)
            break;
    }
    *gather_below = piece == PIECE_LEAST ? 0 : piece;
    return rc;
}

/* Where kernels do not run this is found out here, and not by a job. */
static int measure_kernels(const struct measure *m, uint32_t *gather_below)
{
    struct gpu_device *device = m->device;
    bool reach = cuda_ranges_reach(device, (uintptr_t)m->host, MEASURE_BYTES);
    uint64_t ns;
    int rc = 0;

    if (device->has_kernels && reach)
        rc = measure_pieces(m, PIECE_LEAST, cuda_kernel_strip, &ns);
    if (rc && rc != -EIO) {
        cuda_kernels_refuse(device);
        rc = 0;
    }
    if (!rc && device->has_kernels && reach && *gather_below == 0)
        return measure_crossover(m, gather_below);
    if (!device->has_kernels)
        *gather_below = 0;
    return rc;
}

int cuda_measure(struct gpu_device *device, uint32_t gather_below)
{
    struct measure m = {.device = device};
    int rc = 0;

    m.host = mmap(NULL, MEASURE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m.host == MAP_FAILED)
        return -errno;
    rc = cuda_register(device, m.host, MEASURE_BYTES);
    if (rc)
        goto unmap;
    rc = cuda_alloc(device, MEASURE_BYTES, &m.memory);
    if (rc)
        goto unregister;
    rc = cuda_use(device);
    if (!rc)
        rc = measure_peak(&m, GPU_LOAD, &device->load_bytes_s);
    if (!rc)
        rc = measure_peak(&m, GPU_STORE, &device->store_bytes_s);
    device->gather_below = gather_below;
    if (!rc)
        rc = measure_kernels(&m, &device->gather_below);
    cuda_free(device, &m.memory);
unregister:
    cuda_unregister(device, m.host, MEASURE_BYTES);
unmap:
    munmap(m.host, MEASURE_BYTES);
    return rc;
}
