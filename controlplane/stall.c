/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the heartbeats of a dataplane that is ready, and kills one whose poll core or worker
 * does not turn any more. Main thread. */
#include <stdio.h>

#include "base/clock.h"
#include "base/counters.h"
#include "controlplane/kvraild.h"

#define LOOK_MAX_MS 250u
#define LOOK_MIN_MS 10u

/* A heartbeat, and whose. */
struct beat {
    char name[32];
    uint64_t ns;
};

unsigned heartbeat_cores(const struct kvraild *kvraild)
{
    const struct superblock *sb = kvraild->arena.sb;
    uint32_t used = __atomic_load_n(&sb->cores_used, __ATOMIC_RELAXED);

    return used && used < kvraild->arena.nr_cores ? used : kvraild->arena.nr_cores;
}

uint64_t heartbeat_age_ms(const struct kvraild *kvraild, uint64_t beat_ns)
{
    uint64_t now = clock_ns();

    /* One that has not turned yet is as old as its process. */
    if (beat_ns < kvraild->child.started_ns)
        beat_ns = kvraild->child.started_ns;
    return now > beat_ns ? (now - beat_ns) / NS_PER_MS : 0;
}

/* The oldest of all. A worker that has never turned is not there. */
static void oldest(const struct kvraild *kvraild, struct beat *found)
{
    const struct superblock *sb = kvraild->arena.sb;
    uint64_t reclaim = counter_read(&sb->reclaim.heartbeat_ns);
    uint64_t copy = counter_read(&sb->copy.heartbeat_ns);

    *found = (struct beat){.ns = UINT64_MAX};
    for (unsigned core = 0; core < heartbeat_cores(kvraild); core++) {
        uint64_t ns = counter_read(&arena_stats(&kvraild->arena, core)->heartbeat_ns);

        if (ns >= found->ns)
            continue;
        found->ns = ns;
        snprintf(found->name, sizeof(found->name), "core %u", core);
    }
    if (reclaim && reclaim < found->ns)
        *found = (struct beat){"the reclaimer", reclaim};
    if (copy && copy < found->ns)
        *found = (struct beat){"the copy worker", copy};
}

static void look(void *owner);

static void look_later(struct kvraild *kvraild)
{
    uint64_t wait = options_number(&kvraild->options, OPT_stall_ms) / 4;

    wait = wait > LOOK_MAX_MS ? LOOK_MAX_MS : wait < LOOK_MIN_MS ? LOOK_MIN_MS : wait;
    loop_arm(&kvraild->loop, &kvraild->stall.timer, wait, look, kvraild);
}

static void look(void *owner)
{
    struct kvraild *kvraild = owner;
    struct stall *stall = &kvraild->stall;
    uint64_t limit = options_number(&kvraild->options, OPT_stall_ms) * NS_PER_MS;
    uint64_t now = clock_ns(), since = kvraild->child.ready_ns;
    struct beat beat;
    char text[128];

    /* Where kvraild itself got no CPU for so long the dataplane got none perhaps: it is given its
     * time once more. */
    if (now - stall->looked_ns > LOOK_MAX_MS * NS_PER_MS + limit / 2)
        stall->awake_ns = now;
    stall->looked_ns = now;
    look_later(kvraild);
    if (kvraild->child.state != CHILD_READY || kvraild->child.failed[0])
        return;
    oldest(kvraild, &beat);
    if (since < stall->awake_ns)
        since = stall->awake_ns;
    if (since < beat.ns)
        since = beat.ns;
    if (now < since + limit)
        return;
    snprintf(text, sizeof(text),
             "the dataplane stalled and was killed: %s had not turned for %.2f s", beat.name,
             (double)(now - since) / 1e9);
    supervise_kill(kvraild, text);
}

void stall_start(struct kvraild *kvraild)
{
    kvraild->stall.looked_ns = kvraild->stall.awake_ns = clock_ns();
    look_later(kvraild);
}

void stall_stop(struct kvraild *kvraild)
{
    loop_disarm(&kvraild->loop, &kvraild->stall.timer);
}
