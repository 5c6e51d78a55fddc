/* SPDX-License-Identifier: Apache-2.0 */
/* Checks over several settings, and of settings against this machine. */
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/option_value.h"
#include "controlplane/options.h"
#include "kvrail/proto.h"

#define REGION_MIN MIB      /* smallest part of the data segment that is worth a partition */
#define INDEX_PER_BLOCK 90u /* bytes: descriptor, shares of buckets and hints, private memory */

static uint64_t memory_size(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void check_memory(const struct options *options, struct faults *faults)
{
    uint64_t cache = options_number(options, OPT_cache_size), memory = memory_size();
    const char *text = options_text(options, OPT_cache_size);
    uint64_t blocks = options_number(options, OPT_blocks_max);
    unsigned partitions = options_partitions(options);

    if (!blocks)
        blocks = cache / KIB;
    if (cache <= memory && blocks * INDEX_PER_BLOCK > memory - cache)
        faults_add(faults,
                   "blocks_max: an index of %llu blocks takes about %.1f GiB; with a cache_size of "
                   "%s that is more than the %.1f GiB of memory that this machine has",
                   (unsigned long long)blocks, (double)(blocks * INDEX_PER_BLOCK) / (double)GIB,
                   text, (double)memory / (double)GIB);
    if (cache > memory)
        faults_add(faults,
                   "cache_size: %s is more than the %.1f GiB of memory that this machine has", text,
                   (double)memory / (double)GIB);
    if (cache < partitions * REGION_MIN)
        faults_add(faults, "cache_size: %s is too small for %u partitions; at least %uMiB", text,
                   partitions, partitions);
}

static void check_cores(const struct options *options, struct faults *faults)
{
    uint64_t workers = options_number(options, OPT_workers);
    unsigned partitions = options_partitions(options);
    uint64_t last_port = options_number(options, OPT_port) + partitions - 1;

    if (workers > partitions)
        faults_add(faults,
                   "workers: %llu is more than partitions (%u); a core without a partition "
                   "has nothing to own",
                   (unsigned long long)workers, partitions);
    if (last_port > UINT16_MAX)
        faults_add(faults, "port: %s leaves no room for %u partitions below 65536",
                   options_text(options, OPT_port), partitions);
}

static void check_cpus(const struct options *options, struct faults *faults)
{
    const char *list = options_text(options, OPT_cpus);
    uint64_t given = options_number(options, OPT_cpus);
    uint64_t workers = options_number(options, OPT_workers);
    bool wanted[CPU_SETSIZE] = {false};
    cpu_set_t allowed;

    if (given == 0)
        return;
    if (given < workers)
        faults_add(faults, "cpus: '%s' names %llu CPUs for %llu workers", list,
                   (unsigned long long)given, (unsigned long long)workers);
    if (cpus_parse(list, CPU_SETSIZE, wanted) < 0 ||
        sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (wanted[cpu] && !CPU_ISSET(cpu, &allowed)) {
            faults_add(faults, "cpus: '%s': CPU %u does not exist here or may not be used", list,
                       cpu);
            return;
        }
}

/* Splits "ADDRESS/PREFIX" that option_parse let through. */
static bool address_of(const struct options *options, enum option_id id, int family, uint8_t ip[16])
{
    const char *text = options_text(options, id);
    char host[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");

    if (len == 0 || len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    return inet_pton(family, host, ip) == 1;
}

static bool same_network(const uint8_t *a, const uint8_t *b, uint64_t prefix)
{
    size_t whole = prefix / 8;
    unsigned rest = prefix % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static void check_pair(const struct options *options, enum option_id own_id, enum option_id host_id,
                       int family, struct faults *faults)
{
    uint8_t own[16], host[16];

    if (!address_of(options, own_id, family, own) || !address_of(options, host_id, family, host))
        return;
    if (memcmp(own, host, family == AF_INET ? 4 : 16) == 0)
        faults_add(faults, "%s: %s is also %s; the two ends need different addresses",
                   option_table[host_id].name, options_text(options, host_id),
                   option_table[own_id].name);
    else if (!same_network(own, host, options_number(options, own_id)))
        faults_add(faults, "%s: %s is not in the network of %s (%s)", option_table[host_id].name,
                   options_text(options, host_id), option_table[own_id].name,
                   options_text(options, own_id));
}

static void check_network(const struct options *options, struct faults *faults)
{
    bool ipv4 = options_text(options, OPT_ipv4)[0], ipv6 = options_text(options, OPT_ipv6)[0];

    if (!ipv4 && !ipv6)
        faults_add(faults, "ipv4, ipv6: both are empty; the device needs an address");
    if (strncmp(options_text(options, OPT_device), "net_tap", 7) == 0) {
        check_pair(options, OPT_ipv4, OPT_host_ipv4, AF_INET, faults);
        check_pair(options, OPT_ipv6, OPT_host_ipv6, AF_INET6, faults);
    }
}

/* The parts of a path device string that must hold a name: "net_tap0,iface=" is a common slip. */
static void check_device(const struct options *options, struct faults *faults)
{
    const char *device = options_text(options, OPT_device), *at = strstr(device, "iface=");

    if (strchr(device, ' '))
        faults_add(faults, "device: '%s' holds a space; arguments are separated by commas", device);
    if (at && (at[6] == '\0' || at[6] == ','))
        faults_add(faults, "device: '%s' names no interface after iface=", device);
}

static void check_sockets(const struct options *options, struct faults *faults)
{
    const char *local = options_text(options, OPT_local_socket);
    char path[2 * OPTION_TEXT_MAX];

    if (!*local && options_number(options, OPT_clients_max) > 0 &&
        !control_socket_beside(options, "local", path, sizeof(path)))
        faults_add(faults, "local_socket: %s is too long for a socket; set local_socket", path);
    if (!control_socket_beside(options, "adopt", path, sizeof(path)))
        faults_add(faults, "control_socket: %s is too long for a socket beside control_socket",
                   path);
    if (*local && strcmp(local, options_text(options, OPT_control_socket)) == 0)
        faults_add(faults, "local_socket: %s is the control_socket", local);
}

static void check_arena_file(const struct options *options, struct faults *faults)
{
    const char *path = options_text(options, OPT_arena_file);

    if (*path && *path != '/')
        faults_add(faults, "arena_file: '%s' is no absolute path", path);
}

/* Whether the devices have so much is known when they are open: dataplane/pools.c. */
static void check_gpu_pool(const struct options *options, struct faults *faults)
{
    uint64_t bytes = options_number(options, OPT_gpu_pool), sizes[SIZES_MAX];
    uint64_t workers = options_number(options, OPT_workers);
    unsigned nr = size_list_parse(options_text(options, OPT_gpu_pool_blocks), sizes);
    uint64_t share = nr > 0 && workers > 0 ? bytes / workers / nr : 0;

    if (bytes == 0)
        return;
    if (strcmp(options_text(options, OPT_gpu), "off") == 0)
        faults_add(faults, "gpu_pool: %s, and gpu is off: there is no device to have it",
                   options_text(options, OPT_gpu_pool));
    if (nr > 0 && share < sizes[nr - 1])
        faults_add(faults,
                   "gpu_pool: %s is too small: each of %llu workers has a share for each of %u "
                   "sizes of gpu_pool_blocks, and one block of %.1f MiB must fit it",
                   options_text(options, OPT_gpu_pool), (unsigned long long)workers, nr,
                   (double)sizes[nr - 1] / (double)MIB);
}

void options_check(const struct options *options, struct faults *faults)
{
    check_memory(options, faults);
    check_cores(options, faults);
    check_cpus(options, faults);
    check_network(options, faults);
    check_device(options, faults);
    check_sockets(options, faults);
    check_arena_file(options, faults);
    check_gpu_pool(options, faults);
}
