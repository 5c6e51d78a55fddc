/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of memory and of failure: who may name which bytes, what another process sees, and
 * what is left after a reset. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contract.h"

#define LEN (1u << 20)
#define NOWHERE 4096ull /* a device address of no memory */

extern char **environ;

static bool a_device_says_what_it_is(struct rig *rig)
{
    struct gpu_device_info info;
    struct gpu_device *none = NULL;
    unsigned nr_devices;
    char why[64];

    CHECK(rig->backend->probe(&nr_devices, why, sizeof(why)) == 0 && nr_devices > 0);
    CHECK(rig->backend->open(nr_devices, NULL, &none) == -ENODEV && !none);
    rig->backend->info(rig->device, &info);
    CHECK(info.name[0] && info.where[0]);
    CHECK(info.memory_total > 0 && info.memory_free <= info.memory_total);
    CHECK(info.load_bytes_s > 0 && info.store_bytes_s > 0);
    return true;
}

static bool read_gives_what_write_took(struct rig *rig)
{
    static uint8_t from[LEN], to[LEN];
    struct gpu_memory memory;

    contract_fill(from, LEN, 1);
    CHECK(rig->backend->alloc(rig->device, LEN, &memory) == 0);
    CHECK(memory.address % 256 == 0 && memory.size >= LEN);
    CHECK(rig->backend->write(rig->device, memory.address, from, LEN) == 0);
    CHECK(rig->backend->write(rig->device, memory.address + 100, from, 1000) == 0);
    memmove(from + 100, from, 1000);
    CHECK(rig->backend->read(rig->device, memory.address, to, LEN) == 0);
    CHECK(memcmp(from, to, LEN) == 0);
    CHECK(rig->backend->read(rig->device, NOWHERE, to, 16) == -EINVAL);
    CHECK(rig->backend->write(rig->device, memory.address + memory.size - 8, from, 16) == -EINVAL);
    rig->backend->free(rig->device, &memory);
    return true;
}

static bool memory_has_an_end_and_comes_back(struct rig *rig)
{
    struct gpu_device_info before, info;
    struct gpu_memory memory, more;

    rig->backend->info(rig->device, &before);
    CHECK(rig->backend->alloc(rig->device, before.memory_total + LEN, &memory) == -ENOMEM);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(rig->backend->alloc(rig->device, before.memory_free / 10 * 6, &memory) == 0);
        CHECK(rig->backend->alloc(rig->device, before.memory_free / 10 * 6, &more) == -ENOMEM);
        rig->backend->info(rig->device, &info);
        CHECK(info.memory_free < before.memory_free);
        rig->backend->free(rig->device, &memory);
    }
    return true;
}

static void to_hex(char *text, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
}

/* A process of its own, not a fork: drivers do not survive one. */
static int run_other(struct rig *rig, const struct gpu_handle *handle)
{
    char kind[12], fd[12], size[24], hex[2 * GPU_HANDLE_MAX + 1] = "", name[16];
    char *argv[] = {NULL, name, kind, fd, size, hex, NULL};
    int status;
    pid_t pid;

    snprintf(name, sizeof(name), "%s", rig->backend->name);
    snprintf(kind, sizeof(kind), "%d", (int)handle->kind);
    snprintf(fd, sizeof(fd), "%d", handle->fd);
    snprintf(size, sizeof(size), "%llu", (unsigned long long)handle->size);
    to_hex(hex, handle->bytes, sizeof(handle->bytes));
    argv[0] = name;
    if (handle->fd >= 0 && fcntl(handle->fd, F_SETFD, 0) < 0)
        return -1;
    if (posix_spawn(&pid, rig->program, NULL, NULL, argv, environ) != 0)
        return -1;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool another_process_shares_exported_memory(struct rig *rig)
{
    static uint8_t bytes[LEN], want[LEN];
    struct gpu_handle handle;
    struct gpu_memory memory;
    int rc;

    contract_fill(bytes, LEN, 21);
    CHECK(rig->backend->alloc(rig->device, LEN, &memory) == 0);
    CHECK(rig->backend->write(rig->device, memory.address, bytes, LEN) == 0);
    CHECK(rig->backend->export(rig->device, &memory, &handle) == 0);
    CHECK(handle.size == memory.size);
    fflush(stdout);
    rc = run_other(rig, &handle);
    CHECK(rc == 0);
    /* It read what was here, and left other bytes. */
    contract_fill(want, LEN, 22);
    CHECK(rig->backend->read(rig->device, memory.address, bytes, LEN) == 0);
    CHECK(memcmp(bytes, want, LEN) == 0);
    if (handle.fd >= 0)
        close(handle.fd);
    rig->backend->free(rig->device, &memory);
    return true;
}

static bool import_and_answer(struct rig *rig, const struct gpu_handle *handle)
{
    static uint8_t bytes[LEN], want[LEN];
    struct gpu_memory memory;
    struct gpu_strip strip = {.piece_bytes = 256,
                              .nr_pieces = LEN / 256,
                              .near_step = 256,
                              .device_step = 256,
                              .near = (uintptr_t)bytes};

    contract_fill(want, LEN, 21);
    CHECK(rig->backend->import(rig->device, handle, &memory) == 0);
    strip.device = memory.address;
    CHECK(contract_copy(rig, 1, GPU_STORE, &strip, 1) == 0);
    CHECK(memcmp(bytes, want, LEN) == 0);
    contract_fill(bytes, LEN, 22);
    CHECK(contract_copy(rig, 0, GPU_LOAD, &strip, 1) == 0);
    rig->backend->unimport(rig->device, &memory);
    return true;
}

int contract_import(struct rig *rig, char **args, int nr_args)
{
    struct gpu_handle handle;
    bool good;

    if (nr_args != 4 || strlen(args[3]) != sizeof(handle.bytes) * 2)
        return 1;
    handle.kind = (enum gpu_handle_kind)atoi(args[0]);
    handle.fd = atoi(args[1]);
    handle.size = strtoull(args[2], NULL, 10);
    for (size_t i = 0; i < sizeof(handle.bytes); i++) {
        const char digits[3] = {args[3][2 * i], args[3][2 * i + 1], '\0'};

        handle.bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    if (rig->backend->open(0, NULL, &rig->device) < 0)
        return 1;
    good = import_and_answer(rig, &handle);
    rig->backend->close(rig->device);
    return good ? 0 : 1;
}

static bool handles_that_name_no_memory_are_refused(struct rig *rig)
{
    struct gpu_handle handle, bad;
    struct gpu_memory memory, import;
    uint8_t byte;

    CHECK(rig->backend->alloc(rig->device, LEN, &memory) == 0);
    CHECK(rig->backend->export(rig->device, &memory, &handle) == 0);
    bad = handle;
    bad.kind = (enum gpu_handle_kind)77;
    CHECK(rig->backend->import(rig->device, &bad, &import) == -ENOTSUP);
    bad = handle;
    bad.fd = handle.fd >= 0 ? open("/dev/null", O_RDWR) : -1;
    memset(bad.bytes, 0x5a, sizeof(bad.bytes));
    CHECK(rig->backend->import(rig->device, &bad, &import) == -EINVAL);
    if (bad.fd >= 0)
        close(bad.fd);
    bad = handle;
    bad.size = memory.size + (64u << 20);
    CHECK(rig->backend->import(rig->device, &bad, &import) == -EINVAL);
    bad.size = 0;
    CHECK(rig->backend->import(rig->device, &bad, &import) == -EINVAL);
    /* None of them has made the device fail. */
    CHECK(rig->backend->read(rig->device, memory.address, &byte, 1) == 0);
    if (handle.fd >= 0)
        close(handle.fd);
    rig->backend->free(rig->device, &memory);
    return true;
}

/* A kernel that follows an address into nowhere: small pieces, which no copy engine checks. */
static bool break_device(struct rig *rig)
{
    static uint8_t near[16 * 1024];
    struct gpu_strip strip = {.near = (uintptr_t)near,
                              .near_step = 16,
                              .device = NOWHERE,
                              .device_step = 16,
                              .piece_bytes = 16,
                              .nr_pieces = 1024};
    uint64_t ticket;
    int rc = rig->backend->submit(rig->device, 0, GPU_LOAD, &strip, 1, &ticket);

    CHECK(rc == 0 || rc == -EIO);
    CHECK(rc == -EIO || contract_wait(rig, 0, ticket) == -EIO);
    return true;
}

static bool a_failed_device_does_nothing_until_it_is_reset(struct rig *rig)
{
    static uint8_t bytes[LEN], want[LEN];
    struct gpu_device_info before, after;
    struct gpu_memory memory;
    struct gpu_strip strip = {.near = (uintptr_t)bytes, .piece_bytes = LEN, .nr_pieces = 1};
    uint64_t ticket;

    CHECK(rig->backend->host_register(rig->device, bytes, LEN) == 0);
    rig->backend->info(rig->device, &before);
    CHECK(rig->backend->alloc(rig->device, before.memory_free / 10 * 6, &memory) == 0);
    CHECK(break_device(rig));
    strip.device = memory.address;
    for (unsigned i = 0; i < 3; i++) {
        CHECK(rig->backend->submit(rig->device, i % 2, GPU_LOAD, &strip, 1, &ticket) == -EIO);
        CHECK(rig->backend->read(rig->device, memory.address, bytes, 16) == -EIO);
    }
    CHECK(rig->backend->reset(rig->device) == 0);
    /* Gone: the memory, so that as much can be had again, and the registration. */
    rig->backend->info(rig->device, &after);
    CHECK(after.memory_free > before.memory_free / 10 * 6);
    CHECK(rig->backend->read(rig->device, memory.address, bytes, 16) == -EINVAL);
    CHECK(rig->backend->host_register(rig->device, bytes, LEN) == 0);
    /* And it works. */
    CHECK(rig->backend->alloc(rig->device, before.memory_free / 10 * 6, &memory) == 0);
    strip.device = memory.address;
    contract_fill(bytes, LEN, 31);
    memcpy(want, bytes, LEN);
    CHECK(rig->backend->submit(rig->device, 0, GPU_LOAD, &strip, 1, &ticket) == 0);
    CHECK(ticket == 1 && contract_wait(rig, 0, ticket) == 0);
    memset(bytes, 0, LEN);
    CHECK(contract_copy(rig, 1, GPU_STORE, &strip, 1) == 0);
    CHECK(memcmp(bytes, want, LEN) == 0);
    return true;
}

/* What was in flight does not go on in memory that is somebody else's by then. */
static bool nothing_is_written_after_a_reset(struct rig *rig)
{
    static uint8_t near[32][LEN], want[LEN];
    struct gpu_memory memory;
    struct gpu_strip strip = {.piece_bytes = 64, .nr_pieces = LEN / 64, .near_step = 64};
    uint64_t ticket;

    CHECK(rig->backend->alloc(rig->device, LEN, &memory) == 0);
    strip.device = memory.address;
    strip.device_step = 64;
    for (unsigned i = 0; i < 32; i++) {
        strip.near = (uintptr_t)near[i];
        CHECK(rig->backend->submit(rig->device, 1, GPU_STORE, &strip, 1, &ticket) == 0);
    }
    CHECK(break_device(rig));
    CHECK(rig->backend->reset(rig->device) == 0);
    memset(near, 0x77, sizeof(near));
    memset(want, 0x77, sizeof(want));
    usleep(20000);
    for (unsigned i = 0; i < 32; i++)
        CHECK(memcmp(near[i], want, LEN) == 0);
    return true;
}

/* Its address, or the allocator's memory of it, may be another's by then. */
static bool what_a_reset_took_frees_nothing(struct rig *rig)
{
    static uint8_t bytes[LEN], want[LEN];
    struct gpu_memory gone[8], memory[8];
    struct gpu_handle handle;

    for (unsigned i = 0; i < 8; i++)
        CHECK(rig->backend->alloc(rig->device, LEN, &gone[i]) == 0);
    CHECK(rig->backend->reset(rig->device) == 0);
    contract_fill(want, LEN, 41);
    for (unsigned i = 0; i < 8; i++) {
        CHECK(rig->backend->alloc(rig->device, LEN, &memory[i]) == 0);
        CHECK(rig->backend->write(rig->device, memory[i].address, want, LEN) == 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        CHECK(rig->backend->export(rig->device, &gone[i], &handle) == -EINVAL);
        rig->backend->free(rig->device, &gone[i]);
    }
    for (unsigned i = 0; i < 8; i++) {
        CHECK(rig->backend->read(rig->device, memory[i].address, bytes, LEN) == 0);
        CHECK(memcmp(bytes, want, LEN) == 0);
        rig->backend->free(rig->device, &memory[i]);
    }
    return true;
}

const struct contract_check contract_memory[] = {
    {"a device says what it is", a_device_says_what_it_is},
    {"read gives what write took", read_gives_what_write_took},
    {"memory has an end and comes back", memory_has_an_end_and_comes_back},
    {"another process shares exported memory", another_process_shares_exported_memory},
    {"handles that name no memory are refused", handles_that_name_no_memory_are_refused},
    {"a failed device does nothing until it is reset",
     a_failed_device_does_nothing_until_it_is_reset},
    {"nothing is written after a reset", nothing_is_written_after_a_reset},
    {"what a reset took frees nothing", what_a_reset_took_frees_nothing},
    {NULL, NULL},
};
