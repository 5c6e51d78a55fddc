/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the heartbeats of a dataplane that is ready, and kills one whose poll core or worker
 * does not turn any more. What a thread waits for a CPU does not count: it is not its fault, and
 * another would get no more. Main thread. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "controlplane/kvraild.h"
#include "controlplane/proc_stat.h"

#define LOOK_MAX_MS 250u
#define LOOK_MIN_MS 10u
#define WAIT_LIMITS 19u /* of waiting are borne with; then another may be better off */

/* A heartbeat, and whose. */
struct beat {
    char name[32], thread[16];
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
        snprintf(found->thread, sizeof(found->thread), "kvrail-poll-%u", core % 1000);
    }
    if (reclaim && reclaim < found->ns)
        *found = (struct beat){"the reclaimer", "kvrail-reclaim", reclaim};
    if (copy && copy < found->ns)
        *found = (struct beat){"the copy worker", "kvrail-copy", copy};
}

/* Between two looks. */
static uint64_t look_ms(const struct kvraild *kvraild)
{
    uint64_t wait = options_number(&kvraild->options, OPT_stall_ms) / 4;

    return wait > LOOK_MAX_MS ? LOOK_MAX_MS : wait < LOOK_MIN_MS ? LOOK_MIN_MS : wait;
}

/* Another heartbeat is the oldest. */
static void begin_anew(struct stall *stall, const struct beat *beat)
{
    if (stall->told && strcmp(stall->thread, beat->thread) == 0)
        log_info("%s turns again", beat->name);
    memcpy(stall->thread, beat->thread, sizeof(stall->thread));
    stall->beat_ns = beat->ns;
    stall->sampled_ns = stall->waited_ns = 0;
    stall->told = false;
}

/* The thread was runnable at the last look and is now: the time between, without what it ran. */
static void count_wait(struct kvraild *kvraild, const struct beat *beat, uint64_t now)
{
    struct stall *stall = &kvraild->stall;
    struct thread_time time;

    if (stall->beat_ns != beat->ns || strcmp(stall->thread, beat->thread) != 0)
        begin_anew(stall, beat);
    if (now < beat->ns + look_ms(kvraild) * NS_PER_MS)
        return; /* it turns, and to find the thread costs something */
    if (!thread_time_read(kvraild->child.pid, beat->thread, &time) || time.state != 'R') {
        stall->sampled_ns = 0;
        return;
    }
    if (stall->sampled_ns && now - stall->sampled_ns > time.run_ns - stall->run_ns)
        stall->waited_ns += now - stall->sampled_ns - (time.run_ns - stall->run_ns);
    stall->sampled_ns = now;
    stall->run_ns = time.run_ns;
}

/* How much of the time since the heartbeat does not count. */
static uint64_t excuse_ns(const struct stall *stall, uint64_t limit)
{
    return stall->waited_ns < WAIT_LIMITS * limit ? stall->waited_ns : WAIT_LIMITS * limit;
}

static void tell_wait(struct stall *stall, const struct beat *beat, uint64_t ns)
{
    if (stall->told)
        return;
    stall->told = true;
    log_warning("%s has not turned for %.2f s: it waited %.2f s for a CPU, which others use; give "
                "the dataplane CPUs of its own",
                beat->name, (double)ns / 1e9, (double)stall->waited_ns / 1e9);
}

static void look(void *owner);

static void look_later(struct kvraild *kvraild)
{
    loop_arm(&kvraild->loop, &kvraild->stall.timer, look_ms(kvraild), look, kvraild);
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
    count_wait(kvraild, &beat, now);
    if (now < since + limit)
        return;
    if (now < since + limit + excuse_ns(stall, limit)) {
        tell_wait(stall, &beat, now - since);
        return;
    }
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
