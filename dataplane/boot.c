/* SPDX-License-Identifier: Apache-2.0 */
/* The boot table: the only place that knows the order in which the parts of the dataplane start.
 * Each poll core is a thread of its own between the last step and its undoing. */
#include "dataplane/boot.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "dataplane/adopt.h"
#include "dataplane/control.h"
#include "dataplane/core.h"
#include "dataplane/eth/eal.h"
#include "dataplane/eth/eal_log.h"
#include "dataplane/eth/port.h"
#include "dataplane/eth/transport.h"
#include "dataplane/export.h"
#include "dataplane/gpus.h"
#include "dataplane/local/local.h"
#include "dataplane/note.h"
#include "dataplane/pools.h"
#include "shm/evict.h"
#include "shm/populate.h"
#include "shm/reclaim.h"

#define TURN_MS 100u       /* of the main thread, at least */
#define LINK_LOOK_MS 1000u /* between looks at the port's link */

struct dataplane {
    const struct arguments *arguments;
    struct settings settings;
    unsigned nr_cores;
    struct cpu_plan cpus;
    uint64_t boot_id;
    struct arena arena;
    struct port port;
    struct populator *populator; /* NULL: not wanted */
    struct reclaimer *reclaimer;
    struct local *local;
    struct gpu_fleet *fleet; /* NULL: off, or none */
    struct handoff *handoff;
    struct cookie_keys *cookies;
    struct transport *transports[KVR_PARTITIONS_MAX];
    struct core *cores[KVR_PARTITIONS_MAX];
};

static struct live_settings live_of(const struct settings *settings)
{
    struct live_settings live = {
        .idle = settings->idle,
        .train_max = (uint32_t)settings->train_max,
        .cookie_ms = (uint32_t)settings->cookie_ms,
        .upload_idle_ms = (uint32_t)settings->upload_idle_ms,
        .lease_max_ms = (uint32_t)settings->lease_max_ms,
        .deadline_default_ms = (uint32_t)settings->deadline_default_ms,
        .zero_copy_min = (uint32_t)settings->zero_copy_min,
    };

    snprintf(live.policy, sizeof(live.policy), "%.15s", settings->policy);
    return live;
}

static int start_arena(struct dataplane *d, struct fault *fault)
{
    int rc = arena_attach(d->arguments->index_fd, d->arguments->data_fd,
                          ARENA_WRITE_INDEX | ARENA_WRITE_DATA, &d->arena);

    if (rc)
        return fault_set(fault, rc, "arena cannot be attached (%s): %s", strerror(-rc),
                         rc == -EPROTO ? "kvraild and kvrail-dataplane are of different versions"
                                       : "restart kvraild");
    if (d->nr_cores < 1 || d->nr_cores > d->arena.sb->nr_cores ||
        d->nr_cores > d->arena.sb->nr_partitions) {
        rc = fault_set(fault, -EINVAL,
                       "workers: %u; this arena was made for 1 to %u: lower workers, or restart "
                       "kvraild for a new arena",
                       d->nr_cores, d->arena.sb->nr_cores);
        arena_close(&d->arena);
    }
    return rc;
}

static void stop_arena(struct dataplane *d)
{
    arena_clock_note(&d->arena);
    __atomic_store_n(&d->arena.sb->dataplane_pid, 0, __ATOMIC_RELEASE);
    arena_close(&d->arena);
}

static int start_populate(struct dataplane *d, struct fault *fault)
{
    int rc = d->settings.populate ? populate_start(&d->arena, &d->populator) : 0;

    return rc ? fault_set(fault, rc, "populate thread does not start: %s", strerror(-rc)) : 0;
}

static void stop_populate(struct dataplane *d)
{
    if (d->populator)
        populate_stop(d->populator);
    d->populator = NULL;
}

static int start_eal(struct dataplane *d, struct fault *fault)
{
    const char *list = d->settings.cpus;
    cpu_set_t allowed;
    char text[1024];
    int rc;

    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return fault_set(fault, -errno, "CPU affinity cannot be read: %s", strerror(errno));
    cpu_set_text(&allowed, text, sizeof(text));
    rc = cpu_plan(list, &allowed, d->nr_cores, &d->cpus);
    if (rc)
        return fault_set(fault, rc, "cpus: %s is %s %s", list,
                         rc == -ERANGE ? "not within the CPUs this process may use,"
                                       : "no list like",
                         rc == -ERANGE ? text : "1-2,5");
    if (d->cpus.shared)
        note("%u workers share fewer CPUs: they take turns", d->nr_cores);
    rc = eal_log_open();
    if (rc)
        return fault_set(fault, rc, "out of memory");
    return eal_start(&d->settings, &d->cpus, &allowed, fault);
}

static void stop_eal(struct dataplane *d)
{
    (void)d;
    eal_stop();
}

static int start_port(struct dataplane *d, struct fault *fault)
{
    return port_create(&d->settings, d->nr_cores, d->arena.sb->nr_partitions, &d->arena, &d->port,
                       fault);
}

static void stop_port(struct dataplane *d)
{
    port_destroy(&d->port);
}

static int start_reclaimer(struct dataplane *d, struct fault *fault)
{
    int rc = reclaimer_create(&d->arena, &d->reclaimer);

    return rc ? fault_set(fault, rc, "reclaimer thread does not start: %s", strerror(-rc)) : 0;
}

static void stop_reclaimer(struct dataplane *d)
{
    reclaimer_destroy(d->reclaimer);
}

/* Clients that lived before this process did: before anything of theirs could be reused. */
static int start_local(struct dataplane *d, struct fault *fault)
{
    const struct arguments *arguments = d->arguments;
    int rc = local_create(&d->arena, d->reclaimer, d->nr_cores, &d->local);

    if (rc)
        return fault_set(fault, rc, "copy worker does not start: %s", strerror(-rc));
    for (unsigned i = 0; i < arguments->nr_clients; i++) {
        rc = local_add(d->local, &arguments->clients[i]);
        if (rc)
            control_say("client-gone %u it cannot be taken over: %s", arguments->clients[i].id,
                        strerror(-rc));
    }
    return 0;
}

static void stop_local(struct dataplane *d)
{
    local_destroy(d->local);
}

static int start_transports(struct dataplane *d, struct fault *fault)
{
    struct core_stats *stats[KVR_PARTITIONS_MAX];
    int rc;

    for (unsigned i = 0; i < d->nr_cores; i++)
        stats[i] = arena_stats(&d->arena, i);
    rc = eth_transports_create(&d->port, &d->settings, stats, d->transports);
    return rc ? fault_set(fault, rc, "out of memory") : 0;
}

static void stop_transports(struct dataplane *d)
{
    eth_transports_destroy(d->transports, d->nr_cores);
}

static int start_shared(struct dataplane *d, struct fault *fault)
{
    int rc = cookie_keys_create(&d->cookies);

    if (rc)
        return fault_set(fault, rc, "no secret for the cookies: %s", strerror(-rc));
    rc = handoff_create(d->nr_cores, &d->handoff);
    if (!rc)
        return 0;
    cookie_keys_destroy(d->cookies);
    return fault_set(fault, rc, "out of memory");
}

static void stop_shared(struct dataplane *d)
{
    handoff_destroy(d->handoff);
    cookie_keys_destroy(d->cookies);
}

/* Its thread has ended. */
static void audit(const struct core *core)
{
    for (unsigned p = 0; p < core->nr_partitions; p++)
        if (core->partitions[p] && partition_audit(core->partitions[p]) == 0)
            log_info("audit of partition %u: all agrees", p);
        else if (core->partitions[p])
            log_error("audit of partition %u: it contradicts itself", p);
}

static void stop_cores(struct dataplane *d)
{
    for (unsigned i = d->nr_cores; i-- > 0;) {
        if (d->cores[i] && d->settings.audit_on_stop)
            audit(d->cores[i]);
        core_destroy(d->cores[i]);
        d->cores[i] = NULL;
    }
}

static void tell_recovery(const struct partition_recovery *found)
{
    control_say("recovered kept=%lu kept_bytes=%lu kept_reserved=%lu dropped_unsealed=%lu "
                "dropped_damaged=%lu dropped_expired=%lu",
                (unsigned long)found->kept, (unsigned long)found->kept_bytes,
                (unsigned long)found->kept_reserved, (unsigned long)found->dropped_unsealed,
                (unsigned long)found->dropped_damaged, (unsigned long)found->dropped_expired);
    if (found->kept)
        log_info("arena keeps %lu blocks, %lu bytes", (unsigned long)found->kept,
                 (unsigned long)found->kept_bytes);
    if (found->dropped_unsealed || found->dropped_damaged || found->dropped_expired)
        log_info("arena dropped %lu unfinished, %lu damaged, %lu expired blocks",
                 (unsigned long)found->dropped_unsealed, (unsigned long)found->dropped_damaged,
                 (unsigned long)found->dropped_expired);
}

static int start_cores(struct dataplane *d, struct fault *fault)
{
    struct partition_recovery found, sum = {0};
    struct core_options options = {
        .nr_cores = d->nr_cores,
        .arena = &d->arena,
        .handoff = d->handoff,
        .cookies = d->cookies,
        .reclaimer = d->reclaimer,
        .local = d->local,
        .live = live_of(&d->settings),
        .sessions_max = (uint32_t)d->settings.sessions_max,
        .uploads_max = (uint32_t)d->settings.uploads_max,
        .base_port = (uint16_t)d->settings.port,
        .boot_id = d->boot_id,
        .verify = d->settings.verify_on_start,
    };
    int rc;

    arena_recovery_begin(&d->arena);
    for (unsigned i = 0; i < d->nr_cores; i++) {
        options.index = i;
        options.transport = d->transports[i];
        rc = core_create(&options, &d->cores[i], &found);
        if (rc) {
            d->cores[i] = NULL;
            stop_cores(d);
            return fault_set(fault, rc, "core %u cannot be made: %s", i,
                             rc == -EINVAL ? "policy or another setting is not known"
                                           : strerror(-rc));
        }
        sum.kept += found.kept;
        sum.kept_bytes += found.kept_bytes;
        sum.kept_reserved += found.kept_reserved;
        sum.dropped_unsealed += found.dropped_unsealed;
        sum.dropped_damaged += found.dropped_damaged;
        sum.dropped_expired += found.dropped_expired;
    }
    arena_recovery_end(&d->arena);
    tell_recovery(&sum);
    return 0;
}

/* No core runs any more; when it returns, no device touches a block. */
static void stop_gpu(struct dataplane *d)
{
    pools_quiet(d->cores, d->nr_cores);
    local_set_fleet(d->local, NULL);
    pools_stop(d->cores, d->nr_cores);
    gpus_stop(d->fleet, &d->arena);
    d->fleet = NULL;
}

static int start_gpu(struct dataplane *d, struct fault *fault)
{
    int rc = gpus_start(&d->settings, &d->arena, d->nr_cores, &d->fleet, fault);

    local_set_fleet(d->local, d->fleet);
    if (rc == 0 && gpus_take_pool(&d->settings, d->fleet))
        rc = pools_start(&d->settings, d->fleet, d->cores, d->nr_cores, fault);
    if (rc && d->fleet)
        stop_gpu(d);
    return rc;
}

static int start_traffic(struct dataplane *d, struct fault *fault)
{
    int rc = port_start(&d->port, &d->settings, fault);

    if (rc)
        port_stop(&d->port);
    return rc;
}

static void stop_traffic(struct dataplane *d)
{
    port_stop(&d->port);
}

static int poll_core(void *arg)
{
    struct core *core = arg;
    char name[16];

    snprintf(name, sizeof(name), "kvrail-poll-%u", core->index % 1000);
    pthread_setname_np(pthread_self(), name);
    loop_run(core);
    return 0;
}

static void stop_threads(struct dataplane *d)
{
    for (unsigned i = 0; i < d->nr_cores; i++)
        __atomic_store_n(&d->cores[i]->stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < d->nr_cores; i++)
        eal_wait(i);
    eth_transports_drain(d->transports, d->nr_cores);
}

static int start_threads(struct dataplane *d, struct fault *fault)
{
    struct superblock *sb = d->arena.sb;

    sb->boot_id = d->boot_id;
    sb->cores_used = d->nr_cores;
    sb->started_ns = clock_ns();
    __atomic_store_n(&sb->dataplane_pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
    for (unsigned i = 0; i < d->nr_cores; i++) {
        int rc = eal_launch(i, poll_core, d->cores[i]);

        if (rc) {
            stop_threads(d);
            return fault_set(fault, rc, "poll core %u does not start: %s", i, strerror(-rc));
        }
    }
    return 0;
}

static const struct {
    int (*start)(struct dataplane *dataplane, struct fault *fault);
    void (*stop)(struct dataplane *dataplane);
} steps[] = {
    {start_arena, stop_arena},           /* memory that outlives this process */
    {start_eal, stop_eal},               /* DPDK, and the threads that become poll cores */
    {start_port, stop_port},             /* device, packet buffers, queues */
    {start_reclaimer, stop_reclaimer},   /* grace periods for the partitions */
    {start_local, stop_local},           /* clients on this host, and the copy worker */
    {start_transports, stop_transports}, /* each core's side of the port */
    {start_shared, stop_shared},         /* cookies and rings between cores */
    {start_cores, stop_cores},           /* partitions with what survived, sessions, uploads */
    {start_gpu, stop_gpu},               /* what moves blocks to and from clients' regions */
    {start_populate, stop_populate},     /* pages, in the background */
    {start_traffic, stop_traffic},       /* packets arrive */
    {start_threads, stop_threads},       /* and are served */
};

static void stop_steps(struct dataplane *dataplane, unsigned nr)
{
    while (nr-- > 0)
        steps[nr].stop(dataplane);
}

int dataplane_start(const struct arguments *arguments, struct dataplane **out, struct fault *fault)
{
    struct dataplane *d = calloc(1, sizeof(*d));
    int rc;

    if (!d)
        return fault_set(fault, -ENOMEM, "out of memory");
    d->arguments = arguments;
    d->settings = arguments->settings;
    d->nr_cores = d->settings.workers <= KVR_PARTITIONS_MAX ? (unsigned)d->settings.workers : 0;
    if (getrandom(&d->boot_id, sizeof(d->boot_id), 0) != sizeof(d->boot_id))
        d->boot_id = clock_ns();
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        rc = steps[i].start(d, fault);
        if (rc) {
            stop_steps(d, i);
            free(d);
            return rc;
        }
    }
    *out = d;
    return 0;
}

void dataplane_stop(struct dataplane *d)
{
    stop_steps(d, sizeof(steps) / sizeof(steps[0]));
    free(d);
}

static void say_ready(const struct dataplane *d)
{
    const struct frame_self *self = &d->port.self;
    const char *ip4 = self->has_ip4 ? d->settings.ipv4 : "-";
    const char *ip6 = self->has_ip6 ? d->settings.ipv6 : "-";
    char cpus[1024] = "";
    size_t used = 0;

    for (unsigned i = 0; i < d->nr_cores && used < sizeof(cpus); i++)
        used += (size_t)snprintf(cpus + used, sizeof(cpus) - used, "%s%u", i ? "," : "",
                                 d->cpus.cpus[i]);
    control_say("ready mac=%02x:%02x:%02x:%02x:%02x:%02x mtu=%u address4=%s address6=%s "
                "hugepages=%d cores=%s",
                self->mac[0], self->mac[1], self->mac[2], self->mac[3], self->mac[4], self->mac[5],
                d->port.mtu, ip4, ip6, eal_has_hugepages() ? 1 : 0, cpus);
    log_info("serving on %s, %u poll cores, UDP ports %u to %u", d->settings.device, d->nr_cores,
             self->first_port, self->first_port + self->nr_ports - 1u);
}

static void change(struct dataplane *d, const struct control_command *command)
{
    struct settings changed = d->settings;
    struct live_settings live;
    enum log_level level;
    int rc = settings_set(&changed, command->key, command->value, true);

    if (!rc && !policy_find(changed.policy))
        rc = -EINVAL;
    if (!rc)
        rc = log_level_find(changed.log_level, &level);
    if (rc) {
        control_say("error %s: %s", command->key,
                    rc == -ENOENT  ? "no such setting"
                    : rc == -EBUSY ? "cannot change while running"
                                   : "not a valid value");
        return;
    }
    live = live_of(&changed);
    rc = live_publish(d->cores, d->nr_cores, &live);
    if (rc) {
        control_say("error %s: %s", command->key, strerror(-rc));
        return;
    }
    log_set_level(level);
    d->settings = changed;
    control_say("ok");
}

static void client_add(struct dataplane *d, const struct local_spec *client)
{
    int rc = local_add(d->local, client);

    if (rc)
        control_say("error client %u: %s", client->id, strerror(-rc));
    else
        control_say("ok");
}

static void client_drop(struct dataplane *d, uint32_t id)
{
    int rc = local_drop(d->local, id);

    if (rc)
        control_say("error client %u: %s", id, strerror(-rc));
    else
        control_say("ok");
}

static void region_add(struct dataplane *d, const struct control_command *command)
{
    uint32_t id = command->client.id;
    int rc = local_region_add(d->local, id, command->region, &command->handle);

    if (command->handle.fd >= 0)
        close(command->handle.fd);
    if (rc)
        control_say("error %d", -rc);
    else
        control_say("ok");
}

static void region_drop(struct dataplane *d, const struct control_command *command)
{
    int rc = local_region_drop(d->local, command->client.id, command->region);

    if (rc)
        control_say("error %d", -rc);
    else
        control_say("ok");
}

static void region_gone(void *context, uint32_t id, unsigned region)
{
    (void)context;
    control_say("region-gone %u %u", id, region);
}

static void client_gone(void *context, uint32_t id, const char *why)
{
    (void)context;
    control_say("client-gone %u %s", id, why);
}

static bool client_at(void *context, unsigned i, struct local_spec *client)
{
    return local_client(context, i, client);
}

static void tell_all(struct dataplane *d)
{
    struct adopt_told told = {.index_fd = d->arguments->index_fd,
                              .data_fd = d->arguments->data_fd,
                              .roster_fd = d->arguments->roster_fd,
                              .settings = &d->settings,
                              .client = client_at,
                              .context = d->local};

    adopt_tell(&told);
}

static void serve_event(struct dataplane *d, enum control_event event,
                        const struct control_command *command)
{
    if (event == CONTROL_SET)
        change(d, command);
    else if (event == CONTROL_CLIENT_ADD)
        client_add(d, &command->client);
    else if (event == CONTROL_CLIENT_DROP)
        client_drop(d, command->client.id);
    else if (event == CONTROL_REGION_ADD)
        region_add(d, command);
    else if (event == CONTROL_REGION_DROP)
        region_drop(d, command);
    else if (event == CONTROL_POOL_EXPORT)
        export_pool(d->cores, d->nr_cores, command);
    else if (event == CONTROL_ADOPT)
        tell_all(d);
}

void dataplane_serve(struct dataplane *d)
{
    struct control_command command;
    enum control_event event;
    uint64_t now = clock_ns(), looked_ns = now;

    say_ready(d);
    while ((event = control_wait(TURN_MS, local_fd(d->local), &command)) != CONTROL_STOP) {
        serve_event(d, event, &command);
        now = clock_ns();
        local_tick(d->local, now, client_gone, NULL);
        local_regions_tick(d->local, region_gone, NULL);
        gpus_tell(d->fleet, &d->arena);
        pools_tell(d->cores, d->nr_cores, &d->arena);
        if (now - looked_ns < LINK_LOOK_MS * NS_PER_MS)
            continue;
        looked_ns = now;
        port_watch(&d->port);
        arena_clock_note(&d->arena);
    }
    log_info("stopping");
}
