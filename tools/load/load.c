/* SPDX-License-Identifier: Apache-2.0 */
/* From settings to a result: port, greeting, threads, phases. The main thread only watches while
 * they run. */
#include "tools/load/load.h"

#include <errno.h>
#include <netdb.h>
#include <rte_cycles.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "client/url.h"
#include "dataplane/eth/address.h"
#include "tools/load/eal.h"
#include "tools/load/greet.h"
#include "tools/load/worker.h"
#include "tools/progress.h"
#include "tools/units.h"

#define FIRST_PORT 20000u
#define GREET_NS (5 * NS_PER_S)
#define TABLE_LEAST (1ull << 22)
#define WATCH_NS (50 * NS_PER_MS)

struct run {
    const struct cli *cli;
    const struct load_settings *settings;
    const char *url;
    struct load_port port;
    struct peer peer;
    struct proof proof; /* the main thread's own */
    struct draw_table table;
    struct crew crew;
    unsigned nr_created;
};

/* ---- addresses ----------------------------------------------------------------------------- */

static int own_address(struct run *run)
{
    const struct load_settings *s = run->settings;
    struct frame_self *self = &run->crew.self;
    uint8_t ip4[4];
    unsigned prefix;
    char text[64];

    if (s->ipv4) {
        snprintf(text, sizeof(text), "%s%s", s->ipv4, strchr(s->ipv4, '/') ? "" : "/24");
        if (address4_parse(text, ip4, &prefix))
            return cli_usage(run->cli, "--ipv4 %s: no host address", s->ipv4);
        frame_self_set_ip4(self, ip4, prefix);
    }
    if (s->ipv6) {
        snprintf(text, sizeof(text), "%s%s", s->ipv6, strchr(s->ipv6, '/') ? "" : "/64");
        if (address6_parse(text, self->ip6, &prefix))
            return cli_usage(run->cli, "--ipv6 %s: no host address", s->ipv6);
        self->has_ip6 = true;
    }
    self->first_port = FIRST_PORT;
    self->nr_ports = (uint16_t)(s->bench.threads + 1);
    return CLI_OK;
}

/* The server's first address of a family of which we have one, too. */
static int server_address(struct run *run)
{
    const struct frame_self *self = &run->crew.self;
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
    struct peer *peer = &run->peer;
    struct url url;
    bool known = false;
    int rc;

    if (url_parse(run->url, &url) || url.scheme != URL_UDP)
        return cli_usage(run->cli, "--server %s: not udp://HOST[:PORT]", run->url);
    rc = getaddrinfo(url.host, NULL, &hints, &list);
    if (rc)
        return cli_error(run->cli, CLI_UNREACHABLE, "--server %s: %s", run->url, gai_strerror(rc));
    for (const struct addrinfo *at = list; at && !known; at = at->ai_next) {
        if (at->ai_family == AF_INET && self->has_ip4) {
            memcpy(peer->ip, self->mapped4, 12);
            memcpy(peer->ip + 12,
                   &((const struct sockaddr_in *)(const void *)at->ai_addr)->sin_addr, 4);
            memcpy(peer->local_ip, self->mapped4, 16);
            known = true;
        } else if (at->ai_family == AF_INET6 && self->has_ip6) {
            memcpy(peer->ip, &((const struct sockaddr_in6 *)(const void *)at->ai_addr)->sin6_addr,
                   16);
            memcpy(peer->local_ip, self->ip6, 16);
            peer->ipv6 = known = true;
        }
    }
    freeaddrinfo(list);
    if (!known)
        return cli_usage(run->cli, "--server %s: needs an own address of its kind (--ipv4, --ipv6)",
                         run->url);
    peer->port = url.port;
    peer->local_port = (uint16_t)(FIRST_PORT + run->settings->bench.threads);
    return CLI_OK;
}

/* ---- phases -------------------------------------------------------------------------------- */

static uint64_t ops_done(const struct run *run, enum worker_phase phase)
{
    uint64_t done = 0;

    for (unsigned i = 0; i < run->crew.nr_workers; i++) {
        const struct asker *a = &run->crew.workers[i].asker;

        if (phase == WORKER_WARM)
            done += counter_read(&a->warm.ops);
        for (unsigned op = 0; phase == WORKER_MEASURE && op < BENCH_OPS; op++)
            done += counter_read(&a->tallies[op].ops);
    }
    return done;
}

static void watch(struct run *run, enum worker_phase phase, uint64_t total_ops, uint64_t start_ns,
                  struct progress *progress)
{
    uint64_t last = 0, last_ns = start_ns;
    char detail[64] = "";

    for (unsigned i = 0; i < run->crew.nr_workers;) {
        uint64_t now = clock_ns(), done;
        struct timespec pause = {.tv_nsec = (long)WATCH_NS};

        if (!load_eal_runs(i)) {
            i++;
            continue;
        }
        done = ops_done(run, phase);
        if (now - last_ns >= NS_PER_S / 2) {
            snprintf(detail, sizeof(detail), "%s ops/s",
                     units_count((double)(done - last) * 1e9 / (double)(now - last_ns)).s);
            last = done;
            last_ns = now;
        }
        progress_update(progress, total_ops ? done : now - start_ns, detail);
        if (now - start_ns < WATCH_NS)
            pause.tv_nsec = (long)NS_PER_MS; /* greeting takes no longer */
        nanosleep(&pause, NULL);
    }
}

static void prepare(struct run *run, struct worker *w, enum worker_phase phase, uint64_t start_ns)
{
    const struct bench_settings *b = &run->settings->bench;
    uint64_t total = phase == WORKER_WARM ? b->keys : b->count;

    w->phase = phase;
    w->start_ns = start_ns;
    w->end_ns = total || phase != WORKER_MEASURE ? UINT64_MAX : start_ns + b->run_ns;
    w->quota = total ? total / b->threads + (w->index < total % b->threads) : UINT64_MAX;
    if (phase == WORKER_WARM)
        asker_warm(&w->asker);
    else if (phase == WORKER_MEASURE)
        asker_measure(&w->asker, w->quota);
}

/* One phase of all threads, to its end. */
static int run_phase(struct run *run, enum worker_phase phase)
{
    const struct bench_settings *b = &run->settings->bench;
    uint64_t start_ns = clock_ns(), total_ops = phase == WORKER_WARM ? b->keys : b->count;
    struct progress progress;
    int rc = 0;

    run->crew.ticks = ticks_make(rte_rdtsc(), start_ns, rte_get_tsc_hz());
    if (phase != WORKER_GREET)
        progress_begin(&progress, phase == WORKER_WARM ? "warm" : "load",
                       total_ops ? total_ops : b->run_ns, run->cli->quiet);
    else
        progress_begin(&progress, "greet", 1, true);
    for (unsigned i = 0; i < run->crew.nr_workers; i++)
        prepare(run, &run->crew.workers[i], phase, start_ns);
    run->crew.nr_working = run->crew.nr_workers;
    for (unsigned i = 0; i < run->crew.nr_workers && !rc; i++) {
        rc = load_eal_launch(i, worker_run, &run->crew.workers[i]);
        if (rc) {
            __atomic_store_n(&run->crew.stop, true, __ATOMIC_RELAXED);
            __atomic_sub_fetch(&run->crew.nr_working, run->crew.nr_workers - i, __ATOMIC_RELAXED);
        }
    }
    watch(run, phase, total_ops, start_ns, &progress);
    progress_end(&progress, "");
    if (rc)
        return cli_error(run->cli, CLI_ERROR, "a thread does not start: %s", strerror(-rc));
    for (unsigned i = 0; i < run->crew.nr_workers; i++)
        if (run->crew.workers[i].failed)
            return cli_error(run->cli, CLI_UNREACHABLE, "%s: does not answer any more", run->url);
    return CLI_OK;
}

static int warm(struct run *run, struct load_result *r)
{
    uint64_t keys = run->settings->bench.keys, start_ns = clock_ns();
    int code = run_phase(run, WORKER_WARM);

    r->bench.warm_seconds = (double)(clock_ns() - start_ns) / 1e9;
    for (unsigned i = 0; i < run->crew.nr_workers; i++) {
        const struct asker *a = &run->crew.workers[i].asker;

        tally_merge(&r->bench.warm, &a->warm);
        if (!code && a->warm_failed)
            code = cli_fail(run->cli, a->warm_failed, "warm-up: %llu of %llu keys are stored",
                            (unsigned long long)r->bench.warm.ops, (unsigned long long)keys);
    }
    if (!code && r->bench.warm.ops != keys)
        code = cli_error(run->cli, CLI_ERROR, "warm-up: interrupted with %llu of %llu keys stored",
                         (unsigned long long)r->bench.warm.ops, (unsigned long long)keys);
    return code;
}

/* ---- result -------------------------------------------------------------------------------- */

static double per(uint64_t sum, uint64_t nr)
{
    return nr ? (double)sum / (double)nr : 0;
}

static void collect(const struct worker *w, unsigned cpu, struct load_result *r,
                    uint64_t *answered_ns)
{
    const struct asker *a = &w->asker;
    struct load_thread_result *t = &r->threads[w->index];

    t->cpu = cpu;
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        tally_merge(&r->bench.tallies[op], &a->tallies[op]);
        t->ops += a->tallies[op].ops;
    }
    t->preempted = w->account.preempted;
    r->mean.preempted += w->account.preempted;
    t->busy = per(w->account.busy, w->account.cycles);
    t->cycles_per_op = per(w->account.busy, t->ops);
    t->engine_cycles_per_op = per(w->account.busy - w->account.device, t->ops);
    r->bench.moved_in += a->moved_in;
    r->bench.moved_out += a->moved_out;
    r->bench.unstarted += w->account.unstarted;
    r->tx_datagrams += a->tx_datagrams;
    r->rx_datagrams += a->rx_datagrams;
    r->lost += a->lost + a->jobs.lost;
    r->bench.client.retransmits += a->jobs.repeats;
    r->proven += a->proven;
    r->overtaken += a->overtaken;
    r->unread += a->unread;
    r->late += a->late;
    r->invalid += a->invalid;
    r->foreign += w->account.foreign;
    r->rx_frames += w->account.rx_frames;
    r->rx_bursts += w->account.rx_bursts;
    r->tx_frames += w->account.tx_frames;
    r->tx_bursts += w->account.tx_bursts;
    r->match_keys += a->match_keys;
    r->match_found += a->match_found;
    if (a->answered_ns > *answered_ns)
        *answered_ns = a->answered_ns;
}

static void sum_up(struct run *run, struct load_result *r)
{
    const struct load_settings *s = run->settings;
    uint64_t ops = 0, answered_ns = 0, busy = 0, device = 0, cycles = 0;
    struct kvr_client_stats *c = &r->bench.client;

    for (unsigned i = 0; i < run->crew.nr_workers; i++) {
        const struct worker *w = &run->crew.workers[i];

        collect(w, s->plan.cpus[i], r, &answered_ns);
        ops += r->threads[i].ops;
        busy += w->account.busy;
        device += w->account.device;
        cycles += w->account.cycles;
    }
    r->mean.ops = ops;
    r->mean.busy = per(busy, cycles);
    r->mean.cycles_per_op = per(busy, ops);
    r->mean.engine_cycles_per_op = per(busy - device, ops);
    /* To the last answer: the time in which lost ones were waited for is no work. */
    if (answered_ns > run->crew.workers[0].start_ns)
        r->bench.seconds = (double)(answered_ns - run->crew.workers[0].start_ns) / 1e9;
    c->tx_datagrams = r->tx_datagrams;
    c->rx_datagrams = r->rx_datagrams;
    c->timeouts = r->lost;
    c->rx_corrupt = r->invalid;
    r->bench.server.nr_partitions = run->proof.server.nr_partitions;
    r->bench.server.max_datagram = run->port.max_datagram < run->proof.server.max_datagram
                                       ? run->port.max_datagram
                                       : run->proof.server.max_datagram;
    r->tsc_hz = rte_get_tsc_hz();
    r->hugepages = load_eal_has_hugepages();
    memcpy(r->driver, run->port.driver, sizeof(r->driver));
}

/* ---- the run ------------------------------------------------------------------------------- */

static int meet_server(struct run *run)
{
    char text[256];
    const char *step;
    uint32_t most;
    int rc;

    memcpy(run->crew.self.mac, run->port.mac, 6);
    memcpy(run->peer.local_mac, run->port.mac, 6);
    proof_setup(&run->proof, run->port.max_datagram);
    rc = greet(&run->port, &run->crew.self, &run->peer, GREET_NS, &run->proof, &step);
    if (rc == -EPROTO)
        return cli_fail(run->cli, (enum kvr_status)run->proof.refused, "%s", run->url);
    if (rc == -EINTR)
        return CLI_ERROR;
    if (rc)
        return cli_error(run->cli, CLI_UNREACHABLE, "%s: waited for %s in vain", run->url, step);
    most = run->port.max_datagram < run->proof.server.max_datagram ? run->port.max_datagram
                                                                   : run->proof.server.max_datagram;
    if (!settings_fit_server(run->settings, &run->proof.server, most, text, sizeof(text)))
        return cli_usage(run->cli, "%s", text);
    return CLI_OK;
}

static int create_workers(struct run *run)
{
    const struct load_settings *s = run->settings;
    struct crew *crew = &run->crew;

    crew->settings = s;
    crew->port = &run->port;
    crew->server_port = run->proof.server.base_port;
    crew->first_port = FIRST_PORT;
    crew->nr_workers = (uint16_t)s->bench.threads;
    if (draw_table_create(&run->table, &s->bench, TABLE_LEAST))
        return -ENOMEM;
    if (posix_memalign((void **)&crew->workers, 64, crew->nr_workers * sizeof(struct worker)))
        return -ENOMEM;
    for (; run->nr_created < crew->nr_workers; run->nr_created++)
        if (worker_create(&crew->workers[run->nr_created], crew, run->nr_created, &run->table,
                          &run->proof.server, &run->peer))
            return -ENOMEM;
    return 0;
}

static void destroy_workers(struct run *run)
{
    while (run->nr_created > 0)
        worker_destroy(&run->crew.workers[--run->nr_created]);
    free(run->crew.workers);
    draw_table_destroy(&run->table);
}

static int measure(struct run *run, struct load_result *r)
{
    int code = run_phase(run, WORKER_GREET);

    if (!code && run->settings->bench.warm)
        code = warm(run, r);
    if (!code)
        code = run_phase(run, WORKER_MEASURE);
    if (!code)
        sum_up(run, r);
    return code;
}

static int run_on_port(struct run *run, struct load_result *r)
{
    struct fault fault;
    int code;

    if (load_port_open(run->settings, frame_head_size(&run->peer), &run->port, &fault))
        return cli_error(run->cli, CLI_ERROR, "%s", fault.text);
    code = meet_server(run);
    if (!code) {
        if (create_workers(run))
            code = cli_fail(run->cli, KVR_NO_MEMORY, "%llu keys, depth %llu",
                            (unsigned long long)run->settings->bench.keys,
                            (unsigned long long)run->settings->bench.depth);
        else
            code = measure(run, r);
        destroy_workers(run);
    }
    load_port_close(&run->port);
    return code;
}

int load_run(const struct cli *cli, const struct load_settings *s, const char *url,
             struct load_result *r)
{
    static struct run run; /* zeroes, and too large for a stack */
    unsigned memory = s->packet_memory ? (unsigned)s->packet_memory : load_port_memory(s);
    struct fault fault;
    int code;

    run.cli = cli;
    run.settings = s;
    run.url = url;
    code = own_address(&run);
    if (!code)
        code = server_address(&run);
    if (code)
        return code;
    if (load_eal_start(s, memory, &fault))
        return cli_error(cli, CLI_ERROR, "%s", fault.text);
    code = run_on_port(&run, r);
    load_eal_stop();
    return code;
}
