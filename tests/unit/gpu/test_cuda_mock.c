/* SPDX-License-Identifier: Apache-2.0 */
/* What is the CUDA backend's own, on the mock of the driver: which calls it makes, what it says of
 * a driver that is not there or too old, how it shares registrations, what it leaves behind. A
 * plain program; each check runs in a process of its own, because a driver is loaded once. It shows
 * nothing of a real device. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_cuda.h"
#include "gpu/backend.h"
#include "gpu/quant.h"
#include "plain_check.h"

#define LEN (1u << 20)
#define PIECE 4096u
#define PIECES (LEN / PIECE)

static const struct gpu_backend *const cuda = &gpu_backend_cuda;
static const struct gpu_device_options engines = {.gather_below = 16};
static const struct gpu_device_options kernels = {.gather_below = 1u << 20};
static _Alignas(4096) uint8_t host[LEN], back[LEN];

/* The mock's own functions; NULL before the backend has loaded it. */
static void *mock(const char *name)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *function = library ? dlsym(library, name) : NULL;

    if (!function) {
        printf("the driver here is no mock\n");
        _exit(77);
    }
    return function;
}

static struct fake_cuda_counts counts(void)
{
    fake_cuda_count_fn *count;
    struct fake_cuda_counts now;
    void *function = mock("fake_cuda_count");

    memcpy(&count, &function, sizeof(count));
    count(&now);
    return now;
}

static void fail_after(uint64_t nr, unsigned nr_resets)
{
    fake_cuda_fail_after_fn *call;
    void *function = mock("fake_cuda_fail_after");

    memcpy(&call, &function, sizeof(call));
    call(nr, nr_resets);
}

static void hold(int on)
{
    fake_cuda_hold_fn *call;
    void *function = mock("fake_cuda_hold");

    memcpy(&call, &function, sizeof(call));
    call(on);
}

static struct gpu_device *open_device(unsigned index, const struct gpu_device_options *options)
{
    struct gpu_device *device = NULL;
    unsigned nr;
    char why[160];

    if (cuda->probe(&nr, why, sizeof(why)) || cuda->open(index, options, &device))
        return NULL;
    return device;
}

static void fill(uint8_t *bytes, unsigned seed)
{
    for (unsigned i = 0; i < LEN; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13 ^ seed);
}

/* Pieces that lie together at the host and apart at the device. */
static struct gpu_strip strip_of(const struct gpu_memory *memory)
{
    return (struct gpu_strip){.near = (uintptr_t)host,
                              .near_step = PIECE,
                              .device = memory->address,
                              .device_step = 2 * PIECE,
                              .piece_bytes = PIECE,
                              .nr_pieces = PIECES};
}

static int copy(struct gpu_device *device, enum gpu_direction direction,
                const struct gpu_strip *strip)
{
    unsigned lane = direction == GPU_STORE;
    uint64_t ticket;
    int rc = cuda->submit(device, lane, direction, strip, 1, &ticket);

    while (rc == 0) {
        struct timespec pause = {.tv_nsec = 10000};

        rc = cuda->poll(device, lane, ticket);
        nanosleep(&pause, NULL);
    }
    return rc < 0 ? rc : 0;
}

/* There and back. */
static bool round_trip(struct gpu_device *device, const struct gpu_memory *memory, unsigned seed)
{
    struct gpu_strip strip = strip_of(memory);

    fill(host, seed);
    memcpy(back, host, LEN);
    CHECK(copy(device, GPU_LOAD, &strip) == 0);
    memset(host, 0, LEN);
    CHECK(copy(device, GPU_STORE, &strip) == 0);
    CHECK(memcmp(host, back, LEN) == 0);
    return true;
}

/* Why there are none. */

static bool refuses(const char *reason)
{
    unsigned nr = 0;
    char why[160] = "";

    CHECK(cuda->probe(&nr, why, sizeof(why)) == -ENODEV);
    if (strstr(why, reason))
        return true;
    printf("it says: %s\n", why);
    return false;
}

static bool an_old_driver_is_refused_with_its_version(void)
{
    setenv("FAKE_CUDA_VERSION", "11080", 1);
    return refuses("11.8");
}

static bool a_driver_without_devices_says_so(void)
{
    setenv("FAKE_CUDA_DEVICES", "0", 1);
    return refuses("no device");
}

/* Which calls. */

static bool pieces_go_in(const char *version, struct fake_cuda_counts *used)
{
    struct fake_cuda_counts before, after;
    struct gpu_device *device;
    struct gpu_memory memory;
    struct gpu_strip strip;

    setenv("FAKE_CUDA_VERSION", version, 1);
    device = open_device(0, &engines);
    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(cuda->host_register(device, host, LEN) == 0);
    CHECK(round_trip(device, &memory, 1));
    strip = strip_of(&memory);
    before = counts();
    CHECK(copy(device, GPU_LOAD, &strip) == 0);
    after = counts();
    *used = (struct fake_cuda_counts){.copies = after.copies - before.copies,
                                      .batches = after.batches - before.batches,
                                      .batched = after.batched - before.batched,
                                      .planes = after.planes - before.planes,
                                      .launches = after.launches - before.launches};
    cuda->close(device);
    return true;
}

static bool pieces_go_in_batches_where_the_driver_has_them(void)
{
    struct fake_cuda_counts used;

    CHECK(pieces_go_in("13000", &used));
    CHECK(used.batched == PIECES && used.batches <= 1 + PIECES / 256 && used.copies == 0);
    return true;
}

static bool pieces_go_in_batches_of_the_first_form_too(void)
{
    struct fake_cuda_counts used;

    CHECK(pieces_go_in("12080", &used));
    CHECK(used.batched == PIECES && used.copies == 0 && used.planes == 0);
    return true;
}

static bool a_strip_is_one_call_where_there_are_no_batches(void)
{
    struct fake_cuda_counts used;

    CHECK(pieces_go_in("12000", &used));
    CHECK(used.planes == 1 && used.batches == 0 && used.copies == 0);
    return true;
}

static bool small_pieces_take_one_launch(void)
{
    struct gpu_device *device = open_device(0, &kernels);
    struct gpu_memory memory;
    struct gpu_strip strip;
    uint64_t launches;

    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(cuda->host_register(device, host, LEN) == 0);
    CHECK(round_trip(device, &memory, 2));
    launches = counts().launches;
    strip = strip_of(&memory);
    CHECK(copy(device, GPU_LOAD, &strip) == 0);
    CHECK(counts().launches == launches + 1);
    cuda->close(device);
    return true;
}

static bool batches_that_are_refused_go_piece_by_piece(void)
{
    struct fake_cuda_counts used;

    setenv("FAKE_CUDA_NO_BATCH", "1", 1);
    CHECK(pieces_go_in("13000", &used));
    CHECK(used.planes == 1 && used.batches == 0);
    return true;
}

static bool kernels_that_do_not_run_leave_the_engines(void)
{
    struct gpu_device *device;
    struct gpu_memory memory;
    struct gpu_strip strip;
    uint64_t ticket;

    setenv("FAKE_CUDA_NO_KERNELS", "1", 1);
    device = open_device(0, &kernels);
    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(cuda->host_register(device, host, LEN) == 0);
        CHECK(round_trip(device, &memory, 10 + i));
        strip = strip_of(&memory);
        strip.conversion = (struct kvr_conversion){8, KVR_BF16, 128};
        CHECK(cuda->submit(device, 1, GPU_STORE, &strip, 1, &ticket) == -ENOTSUP);
        CHECK(cuda->reset(device) == 0);
        CHECK(cuda->alloc(device, 2 * LEN, &memory) == 0);
    }
    cuda->close(device);
    return true;
}

/* The mock refuses a copy that is in two registrations, or only partly in one. */
static bool copies_stay_within_registrations(const struct gpu_device_options *options)
{
    struct gpu_device *device = open_device(0, options);
    struct gpu_memory memory;

    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(cuda->host_register(device, host + 3 * PIECE / 2, PIECE * 10) == 0);
    CHECK(round_trip(device, &memory, 3));
    CHECK(cuda->host_register(device, host + 3 * PIECE / 2 + PIECE * 10, PIECE * 50) == 0);
    CHECK(round_trip(device, &memory, 4));
    CHECK(cuda->host_register(device, host, PIECE * 2) == -EEXIST);
    CHECK(cuda->host_register(device, host, 3 * PIECE / 2) == 0);
    CHECK(round_trip(device, &memory, 5));
    cuda->host_unregister(device, host + 3 * PIECE / 2, PIECE * 10);
    CHECK(round_trip(device, &memory, 6));
    cuda->close(device);
    return true;
}

static bool copies_by_engine_stay_within_registrations(void)
{
    return copies_stay_within_registrations(&engines);
}

static bool copies_without_batches_stay_within_registrations(void)
{
    setenv("FAKE_CUDA_VERSION", "12000", 1);
    return copies_stay_within_registrations(&engines);
}

static bool kernels_stay_within_registrations(void)
{
    return copies_stay_within_registrations(&kernels);
}

/* Failure. */

static bool a_fault_in_flight_ends_with_a_reset(void)
{
    struct gpu_device *device = open_device(0, &kernels);
    struct gpu_memory memory, own;
    struct gpu_strip strip;

    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(cuda->host_register(device, host, LEN) == 0);
    CHECK(round_trip(device, &memory, 7));
    strip = strip_of(&memory);
    fail_after(0, 2);
    CHECK(copy(device, GPU_LOAD, &strip) == -EIO);
    CHECK(copy(device, GPU_LOAD, &strip) == -EIO);
    CHECK(cuda->alloc(device, LEN, &own) == -EIO);
    CHECK(cuda->read(device, memory.address, back, 1) == -EIO);
    CHECK(cuda->reset(device) == -EIO);
    CHECK(counts().contexts == 0);
    CHECK(copy(device, GPU_LOAD, &strip) == -EIO);
    CHECK(cuda->reset(device) == -EIO);
    CHECK(cuda->reset(device) == 0);
    CHECK(counts().contexts == 1 && counts().memories == 0 && counts().handles == 0);
    CHECK(counts().registered == 0);
    cuda->free(device, &memory); /* gone already */
    CHECK(cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(round_trip(device, &memory, 8));
    cuda->close(device);
    return true;
}

static bool a_lane_takes_no_more_than_it_has_events(void)
{
    struct gpu_device *device = open_device(0, &engines);
    struct gpu_memory memory;
    struct gpu_strip strip;
    uint64_t ticket = 0, last = 0;
    int rc = 0;

    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(cuda->host_register(device, host, LEN) == 0);
    strip = strip_of(&memory);
    strip.nr_pieces = 1;
    hold(1);
    while ((rc = cuda->submit(device, 0, GPU_LOAD, &strip, 1, &ticket)) == 0)
        last = ticket;
    CHECK(rc == -EAGAIN && last == 64);
    CHECK(cuda->poll(device, 0, 1) == 0 && cuda->poll(device, 0, last + 1) == -EINVAL);
    hold(0);
    while ((rc = cuda->poll(device, 0, last)) == 0)
        usleep(100);
    CHECK(rc == 1 && cuda->poll(device, 0, 1) == 1);
    CHECK(cuda->submit(device, 0, GPU_LOAD, &strip, 1, &ticket) == 0 && ticket == 65);
    cuda->close(device);
    return true;
}

/* Two devices. */

static bool converts(struct gpu_device *device, const struct gpu_memory *memory)
{
    struct gpu_strip strip = strip_of(memory);

    strip.conversion = (struct kvr_conversion){8, KVR_BF16, 128};
    strip.near_step = quant_packed_len(&strip.conversion, PIECE / 2);
    return copy(device, GPU_STORE, &strip) == 0;
}

static bool one_devices_reset_leaves_anothers_registrations(void)
{
    struct gpu_device *devices[2];
    struct gpu_memory memory;

    setenv("FAKE_CUDA_DEVICES", "2", 1);
    for (unsigned i = 0; i < 2; i++) {
        devices[i] = open_device(i, &kernels);
        CHECK(devices[i] && cuda->host_register(devices[i], host, LEN) == 0);
    }
    CHECK(counts().registered == 1);
    CHECK(cuda->alloc(devices[1], 2 * LEN, &memory) == 0);
    CHECK(cuda->reset(devices[0]) == 0);
    CHECK(counts().registered == 1 && converts(devices[1], &memory));
    CHECK(cuda->host_register(devices[0], host, LEN) == 0);
    cuda->host_unregister(devices[1], host, LEN);
    CHECK(counts().registered == 1);
    cuda->close(devices[0]);
    CHECK(counts().registered == 0);
    CHECK(converts(devices[1], &memory)); /* by way of scratch memory */
    cuda->close(devices[1]);
    CHECK(counts().contexts == 0);
    return true;
}

static bool nothing_is_left_after_close(const struct gpu_device_options *options)
{
    struct gpu_device *device = open_device(0, options);
    struct gpu_memory memory, again;
    struct gpu_handle handle;

    CHECK(device && cuda->alloc(device, 2 * LEN, &memory) == 0);
    CHECK(cuda->host_register(device, host, LEN / 2) == 0);
    CHECK(round_trip(device, &memory, 9) && converts(device, &memory));
    CHECK(cuda->export(device, &memory, &handle) == 0);
    if (handle.kind == GPU_HANDLE_CUDA_FD) {
        CHECK(cuda->import(device, &handle, &again) == 0);
        close(handle.fd);
    }
    cuda->close(device);
    CHECK(counts().contexts == 0 && counts().memories == 0 && counts().handles == 0);
    CHECK(counts().registered == 0);
    return true;
}

static bool nothing_is_left_after_close_by_descriptor(void)
{
    return nothing_is_left_after_close(&engines);
}

static bool nothing_is_left_after_close_by_ipc(void)
{
    setenv("FAKE_CUDA_NO_VMM", "1", 1);
    return nothing_is_left_after_close(&kernels);
}

/* Threads. */

struct others {
    struct gpu_device *device;
    uint32_t stop; /* atomic: the worker's */
    uint64_t done; /* atomic: calls that succeeded */
};

static void *other_thread(void *arg)
{
    static _Alignas(4096) uint8_t pages[8][8192];
    struct others *others = arg;
    static uint32_t next;
    uint8_t *own = pages[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)];
    struct gpu_device_info info;
    struct gpu_memory memory;

    while (!__atomic_load_n(&others->stop, __ATOMIC_RELAXED)) {
        cuda->info(others->device, &info);
        if (cuda->host_register(others->device, own, 4096) == 0)
            cuda->host_unregister(others->device, own, 4096);
        if (cuda->alloc(others->device, LEN, &memory))
            continue;
        if (cuda->write(others->device, memory.address, own, 8192) == 0)
            __atomic_fetch_add(&others->done, 1, __ATOMIC_RELAXED);
        cuda->free(others->device, &memory);
    }
    return NULL;
}

/* The worker copies, fails and resets meanwhile. */
static bool others_may_call_while_the_worker_resets(void)
{
    struct others others = {.device = open_device(0, &engines)};
    pthread_t threads[3];

    CHECK(others.device);
    for (unsigned i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, other_thread, &others) == 0);
    for (unsigned round = 0; round < 12; round++) {
        struct gpu_memory memory;
        struct gpu_strip strip;

        CHECK(cuda->alloc(others.device, 2 * LEN, &memory) == 0);
        CHECK(round_trip(others.device, &memory, round));
        strip = strip_of(&memory);
        if (round % 2) {
            fail_after(round, 0);
            CHECK(copy(others.device, GPU_LOAD, &strip) == -EIO);
        }
        CHECK(cuda->reset(others.device) == 0);
    }
    __atomic_store_n(&others.stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK(__atomic_load_n(&others.done, __ATOMIC_RELAXED) > 0);
    cuda->close(others.device);
    CHECK(counts().contexts == 0 && counts().memories == 0 && counts().handles == 0);
    return true;
}

static const struct {
    const char *name;
    bool (*good)(void);
} checks[] = {
    {"an old driver is refused with its version", an_old_driver_is_refused_with_its_version},
    {"a driver without devices says so", a_driver_without_devices_says_so},
    {"pieces go in batches where the driver has them",
     pieces_go_in_batches_where_the_driver_has_them},
    {"pieces go in batches of the first form, too", pieces_go_in_batches_of_the_first_form_too},
    {"a strip is one call where there are no batches",
     a_strip_is_one_call_where_there_are_no_batches},
    {"batches that are refused go piece by piece", batches_that_are_refused_go_piece_by_piece},
    {"small pieces take one launch", small_pieces_take_one_launch},
    {"kernels that do not run leave the engines", kernels_that_do_not_run_leave_the_engines},
    {"copies by engine stay within registrations", copies_by_engine_stay_within_registrations},
    {"copies without batches stay within registrations",
     copies_without_batches_stay_within_registrations},
    {"kernels stay within registrations", kernels_stay_within_registrations},
    {"a fault in flight ends with a reset", a_fault_in_flight_ends_with_a_reset},
    {"a lane takes no more than it has events", a_lane_takes_no_more_than_it_has_events},
    {"one device's reset leaves another's registrations",
     one_devices_reset_leaves_anothers_registrations},
    {"nothing is left after close, by descriptor", nothing_is_left_after_close_by_descriptor},
    {"nothing is left after close, by IPC", nothing_is_left_after_close_by_ipc},
    {"others may call while the worker resets", others_may_call_while_the_worker_resets},
};

static bool run(unsigned i)
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        bool good = checks[i].good();

        fflush(stdout);
        exit(good ? 0 : 1); /* with what a leak checker has to say */
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
        WEXITSTATUS(status) == 0) {
        printf("ok   %s\n", checks[i].name);
        return true;
    }
    printf("FAIL %s (status %d)\n", checks[i].name, status);
    return false;
}

int main(void)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        failed += !run(i);
    return failed ? 1 : 0;
}
