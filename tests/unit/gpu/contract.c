/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the contract suite on one backend: contract host|cuda. Exit 0: kept. 1: broken. 77: there is
 * no such device here, and why. Each check has a device that was just opened. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "contract.h"

#define SKIPPED 77

static const struct gpu_backend *const backends[] = {
    &gpu_backend_host,
#ifdef GPU_CUDA
    &gpu_backend_cuda,
#endif
};

int contract_wait(struct rig *rig, unsigned lane, uint64_t ticket)
{
    int rc;

    while ((rc = rig->backend->poll(rig->device, lane, ticket)) == 0) {
        struct timespec pause = {.tv_nsec = 10000};

        nanosleep(&pause, NULL);
    }
    return rc < 0 ? rc : 0;
}

int contract_copy(struct rig *rig, unsigned lane, enum gpu_direction direction,
                  const struct gpu_strip *strips, unsigned nr)
{
    uint64_t ticket;
    int rc = rig->backend->submit(rig->device, lane, direction, strips, nr, &ticket);

    return rc < 0 ? rc : contract_wait(rig, lane, ticket);
}

void contract_fill(uint8_t *bytes, size_t len, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word = rng_next(&rng);

        memcpy(bytes + i, &word, len - i < sizeof(word) ? len - i : sizeof(word));
    }
}

static const struct gpu_backend *find(const char *name)
{
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return NULL;
}

static bool run(struct rig *rig, const struct contract_check *check)
{
    const struct gpu_device_options options = {0};
    bool good;

    if (rig->backend->open(0, &options, &rig->device) < 0) {
        printf("%s: device 0 does not open\n", check->name);
        return false;
    }
    good = check->function(rig);
    rig->backend->close(rig->device);
    printf("%s: %s\n", check->name, good ? "kept" : "BROKEN");
    return good;
}

static int run_all(struct rig *rig)
{
    const struct contract_check *const suites[] = {contract_copies, contract_memory};
    unsigned nr_broken = 0;

    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
        for (const struct contract_check *check = suites[i]; check->name; check++)
            nr_broken += !run(rig, check);
    return nr_broken > 0;
}

int main(int argc, char **argv)
{
    struct rig rig = {.program = argv[0]};
    char why[128] = "it is not built in";
    unsigned nr_devices;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2) {
        fprintf(stderr, "usage: contract BACKEND\n");
        return 2;
    }
    rig.backend = find(argv[1]);
    if (!rig.backend || rig.backend->probe(&nr_devices, why, sizeof(why)) < 0) {
        printf("no %s device: %s\n", argv[1], why);
        return SKIPPED;
    }
    return argc > 2 ? contract_import(&rig, argv + 2, argc - 2) : run_all(&rig);
}
