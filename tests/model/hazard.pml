/* SPDX-License-Identifier: Apache-2.0 */
/* Hazard slots: shm/hazard.h against shm/reclaim.c. Each block has an owner core that unlinks it,
 * waits for it to come back and writes the next generation into its memory. Clients find it,
 * publish a slot, fence, look again, read twice, release. One reclaimer serves all.
 *
 * Wanted: no client and no core of the dataplane reads bytes other than those of the generation it
 * found, no read races with a write, and every block comes back (no invalid end state).
 *
 * Sizes: BLOCKS (1 or 2, each with an owner of its own), CLIENTS (1 or 2), ATTEMPTS of a client,
 * GENERATIONS of a block. BATCH: a client takes two blocks with one fence, of which block MOVES is
 * evicted (2: both). ASYMMETRIC: the reclaimer fences for the clients. CORE: an RCU reader besides.
 * SHORT: the client's short way (client/find.h), which asks the descriptor and not the version, and
 * reads all of it before it publishes the slot.
 * USED_BEFORE: slots_used is as high as it gets. DEATH: client 0 dies anywhere. LATE: clients are
 * added while all runs. tests/model/run lists the variants that must fail, each without one
 * ingredient. */

#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef CLIENTS
#define CLIENTS 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 1
#endif
#ifndef GENERATIONS
#define GENERATIONS 2
#endif
#ifndef MOVES
#define MOVES 2
#endif

#define HISTORY (3 * GENERATIONS + 1)
#ifdef CORE
#define NR_CORES 1
#else
#define NR_CORES 0
#endif
#define NR_THREADS (BLOCKS + 1 + CLIENTS + NR_CORES)
#define OWNER(b) (b)
#define RECLAIMER BLOCKS
#define CLIENT(c) (BLOCKS + 1 + (c))
#define THE_CORE (BLOCKS + 1 + CLIENTS)

#define DESC(b) (6 * (b))       /* word 0 of the descriptor: generation and state */
#define BUCKET(b) (6 * (b) + 1) /* generation that a lookup finds; 0: none */
#define VALUE(b) (6 * (b) + 2)  /* the bytes: generation that wrote them */
#define DEFER(b) (6 * (b) + 3)  /* tail of the lane to the reclaimer, and the reference in it */
#define TAKE(b) (6 * (b) + 4)   /* and back */
#define HELD(b) (6 * (b) + 5)   /* bit of the last scan */
#define PER_CLIENT (2 + BLOCKS)
#define SLOT(c, b) (6 * BLOCKS + PER_CLIENT * (c) + (b))
#define USED(c) (6 * BLOCKS + PER_CLIENT * (c) + BLOCKS)
#define CLOCK(c) (6 * BLOCKS + PER_CLIENT * (c) + BLOCKS + 1)
#define PERIOD (6 * BLOCKS + PER_CLIENT * CLIENTS) /* QSBR: number of the grace period */
#define DETAIL (PERIOD + 3) /* SHORT: a later word of block 0's descriptor: its generation */
#define QUIET (PERIOD + 1)                         /* the core's answer; 255: offline */
#define CORE_CLOCK (PERIOD + 2)
#if defined(SHORT)
#define NR_WORDS (PERIOD + 4)
#elif defined(CORE)
#define NR_WORDS (PERIOD + 3)
#else
#define NR_WORDS PERIOD
#endif

#include "views.pml"

#define SEALED 0
#define UNLINKED 1
#define word0(generation, state) (2 * (generation) + (state))
#define ref(b, generation) (BLOCKS * (generation) + (b))

bool dying[CLIENTS], gone[CLIENTS], removed[CLIENTS], added[CLIENTS];
byte stamps[(CLIENTS + 1) * BLOCKS]; /* last read of each block by each client; the core's behind */
byte done; /* owners that have ended */

#if defined(NO_SLOT_RELEASE)
#define SLOT_RELEASE RELAXED
#else
#define SLOT_RELEASE ORDERED
#endif
#if defined(NO_SCAN_ACQUIRE)
#define SCAN_ORDER RELAXED
#else
#define SCAN_ORDER ORDERED
#endif
#if defined(NO_SEAL_RELEASE)
#define SEAL_RELEASE RELAXED
#else
#define SEAL_RELEASE ORDERED
#endif

/* shm/block.c, shm/partition.c */
proctype owner(byte b)
{
    byte generation = 1, held, got, i;

    do
    :: generation < GENERATIONS && (MOVES == 2 || MOVES == b) ->
#ifdef UNLINK_AFTER_SCAN
        store(OWNER(b), BUCKET(b), 0, ORDERED);
        store(OWNER(b), DEFER(b), generation, ORDERED);
#else
        store(OWNER(b), BUCKET(b), 0, ORDERED);
        store(OWNER(b), DESC(b), word0(generation, UNLINKED), ORDERED);
        store(OWNER(b), DEFER(b), generation, ORDERED);
#endif
        has_news(OWNER(b), TAKE(b));
        load_newest(OWNER(b), TAKE(b), got, ORDERED);
#ifdef UNLINK_AFTER_SCAN
        store(OWNER(b), DESC(b), word0(generation, UNLINKED), ORDERED);
#endif
#ifndef NO_HELD_LOOK
        do
        :: load(OWNER(b), HELD(b), held, ORDERED);
            if
            :: held == 0 -> break
            :: else -> has_news(OWNER(b), HELD(b)) /* parked */
            fi
        od;
        held = 0;
#endif
        /* The memory is taken again: a plain write. Whoever read it must be known to have read. */
        d_step {
            generation++;
            i = 0;
            do
            :: i < CLIENTS ->
                assert(read_is_known(OWNER(b), CLOCK(i), stamps[i * BLOCKS + b]));
                i++
            :: else -> break
            od;
            i = 0;
#ifdef CORE
            assert(read_is_known(OWNER(b), CORE_CLOCK, stamps[CLIENTS * BLOCKS + b]));
#endif
            store_body(OWNER(b), VALUE(b), generation, RELAXED)
        }
#ifdef SHORT
        store(OWNER(b), DETAIL, 0, ORDERED); /* reserved */
#ifdef FIRST_WORD_FIRST
        store(OWNER(b), DESC(b), word0(generation, SEALED), SEAL_RELEASE);
#endif
        store(OWNER(b), DETAIL, generation, ORDERED);
#endif
#ifndef FIRST_WORD_FIRST
        store(OWNER(b), DESC(b), word0(generation, SEALED), SEAL_RELEASE);
#endif
        store(OWNER(b), BUCKET(b), generation, SEAL_RELEASE)
    :: else -> break
    od;
    done++
}

/* client/: a hit. */
#define client_fence(c) fence(CLIENT(c))
#ifdef ASYMMETRIC
#undef client_fence
#define client_fence(c) skip
#endif
#ifdef NO_CLIENT_FENCE
#undef client_fence
#define client_fence(c) skip
#endif

inline client_find(c, b, generation)
{
    load(CLIENT(c), BUCKET(b), generation, ORDERED);
#ifdef SHORT
    if
    :: generation != 0 ->
#ifdef DETAIL_BEFORE
        load(CLIENT(c), DETAIL, detail, ORDERED);
#endif
        load(CLIENT(c), DESC(b), seen, ORDERED);
        generation = (seen % 2 == SEALED -> seen / 2 : 0);
#ifndef DETAIL_BEFORE
        load(CLIENT(c), DETAIL, detail, ORDERED);
#endif
        seen = 0
    :: else
    fi
#endif
}

inline client_publish(c, b, generation)
{
    if
    :: generation != 0 ->
#ifndef USED_AFTER_FENCE
        if
        :: used < b + 1 ->
            used = b + 1;
            store(CLIENT(c), USED(c), used, ORDERED)
        :: else
        fi;
#endif
        store(CLIENT(c), SLOT(c, b), ref(b, generation), ORDERED)
    :: else
    fi
}

inline client_read(c, b, generation)
{
    if
    :: generation != 0 ->
#ifdef USED_AFTER_FENCE
        store(CLIENT(c), USED(c), b + 1, ORDERED);
#endif
        load(CLIENT(c), DESC(b), seen, ORDERED);
#ifdef NO_RECHECK
        seen = word0(generation, SEALED);
#endif
#ifdef NO_GENERATION
        if
        :: seen % 2 == SEALED -> seen = word0(generation, SEALED)
        :: else
        fi;
#endif
        if
        :: seen == word0(generation, SEALED) ->
            seen = 0;
#ifdef SHORT
            assert(detail == generation); /* else: of a block not yet sealed, or another's */
#endif
            plain_read(CLIENT(c), VALUE(b), generation, CLOCK(c), stamps[c * BLOCKS + b]);
            plain_read(CLIENT(c), VALUE(b), generation, CLOCK(c), stamps[c * BLOCKS + b])
        :: else -> seen = 0
        fi;
        store(CLIENT(c), SLOT(c, b), 0, SLOT_RELEASE)
    :: else
    fi;
#ifdef SHORT
    detail = 0;
#endif
    generation = 0
}

proctype client(byte c)
{
#ifdef USED_BEFORE
    byte attempt, g0, g1, seen, used = BLOCKS;
#else
    byte attempt, g0, g1, seen, used;
#endif
#ifdef SHORT
    byte detail;
#endif

    {
#ifndef LOOK_BEFORE_ADD
        added[c];
#endif
        do
        :: attempt < ATTEMPTS ->
            attempt++;
            client_find(c, 0, g0);
#ifdef BATCH
            client_find(c, 1, g1);
#endif
            client_publish(c, 0, g0);
#ifdef BATCH_FENCE_EARLY
            client_fence(c);
            client_publish(c, 1, g1);
#else
#ifdef BATCH
            client_publish(c, 1, g1);
#endif
            client_fence(c);
#endif
#ifdef BATCH
            client_read(c, 1, g1);
#endif
            client_read(c, 0, g0)
        :: else -> break
        od
    } unless { dying[c] };
    gone[c] = true
}

/* Kills one client at any time. */
proctype killer()
{
    if
    :: dying[0] = true
    :: skip
    fi
}

/* A poll core of the dataplane that reads another core's partition: RCU instead of slots. */
#ifdef CORE
proctype core()
{
    byte turn, generation, period;

    do
    :: turn < ATTEMPTS ->
        turn++;
        load(THE_CORE, BUCKET(0), generation, ORDERED);
        if
        :: generation != 0 ->
            plain_read(THE_CORE, VALUE(0), generation, CORE_CLOCK, stamps[CLIENTS * BLOCKS]);
            generation = 0
        :: else
        fi;
        load(THE_CORE, PERIOD, period, RELAXED);
        fence(THE_CORE);
        store(THE_CORE, QUIET, period, RELAXED);
        period = 0;
        fence(THE_CORE)
    :: else -> break
    od;
    store(THE_CORE, QUIET, 255, ORDERED)
}
#endif

/* shm/reclaim.c */
inline grace_period()
{
#if defined(CORE) && !defined(NO_GRACE)
    fence(RECLAIMER);
    store(RECLAIMER, PERIOD, newest(PERIOD) + 1, ORDERED);
    newest(QUIET) >= newest(PERIOD);
    load_newest(RECLAIMER, QUIET, got, ORDERED);
    got = 0;
    fence(RECLAIMER)
#else
    skip
#endif
}

inline reclaimer_fence()
{
#ifndef NO_RECLAIMER_FENCE
    fence(RECLAIMER);
#endif
#if defined(ASYMMETRIC) && !defined(NO_MEMBARRIER)
    /* Some time before it returns, each client's CPU has executed a fence where it just was. */
    do
    :: i < CLIENTS -> d_step { fence_body(CLIENT(i)); i++ }
    :: else -> break
    od;
    i = 0;
    fence(RECLAIMER);
#endif
    skip
}

/* found[b]: whether any slot names the block as it is now. One step: a load may as well come later
 * and find what it would have found, up to the thread's next store or fence. */
inline scan()
{
    atomic {
        do
        :: i < CLIENTS ->
            if
            :: added[i] && !removed[i] ->
                load(RECLAIMER, USED(i), limit, SCAN_ORDER);
                j = 0;
                do
                :: j < limit ->
                    load(RECLAIMER, SLOT(i, j), got, SCAN_ORDER);
                    if
                    :: got != 0 && got == ref(j, generation[j]) -> found[j] = 1
                    :: else
                    fi;
                    got = 0;
                    j++
                :: else -> break
                od;
                limit = 0;
                j = 0
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

/* A bit changes from what one scan found to what the next one found, never through something else.
 * Nobody but the block's owner looks at it, and not before it takes the block. */
inline bits_publish()
{
    do
    :: i < BLOCKS ->
        d_step {
            if
            :: generation[i] != 0 && found[i] != newest(HELD(i)) ->
                store_body(RECLAIMER, HELD(i), found[i], ORDERED)
            :: else
            fi;
            found[i] = 0;
            if
            :: fresh[i] ->
                store_body(RECLAIMER, TAKE(i), generation[i], ORDERED);
                fresh[i] = false
            :: else
            fi;
            if
            :: newest(HELD(i)) == 0 -> generation[i] = 0
            :: else
            fi;
            i++
        }
    :: else -> break
    od;
    i = 0
}

inline lanes_take()
{
    atomic {
        do
        :: i < BLOCKS ->
            if
            :: has_news(RECLAIMER, DEFER(i)) ->
                load(RECLAIMER, DEFER(i), got, ORDERED);
                if
                :: got > taken[i] ->
                    taken[i] = got;
                    generation[i] = got;
                    fresh[i] = true;
                    waits = true
                :: else
                fi;
                got = 0
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline bits_clear()
{
#ifdef BITS_CLEARED_FIRST
    do
    :: i < BLOCKS ->
        if
        :: newest(HELD(i)) != 0 -> store(RECLAIMER, HELD(i), 0, ORDERED)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
#else
    skip
#endif
}

/* Something is held and may be so no longer. */
#define slot_news(c) (has_news(RECLAIMER, SLOT(c, 0)) || has_news(RECLAIMER, SLOT(c, BLOCKS - 1)))
#define any_held (generation[0] != 0 || generation[BLOCKS - 1] != 0)
#define any_deferred (has_news(RECLAIMER, DEFER(0)) || has_news(RECLAIMER, DEFER(BLOCKS - 1)))

#ifdef EARLY_REMOVAL
#define has_left(c) true
#else
#define has_left(c) gone[c]
#endif

inline client_add(c)
{
    /* The reclaimer's lock, then the main thread, kvraild and the client: all in order. */
    d_step { added[c] = true; view_join(views[CLIENT(c)], views[RECLAIMER]) }
}

inline client_remove(c)
{
    /* What a process did it did before the kernel says that it has ended. */
    d_step { removed[c] = true; dirty = true; view_join(views[RECLAIMER], views[CLIENT(c)]) }
}

proctype reclaimer()
{
    byte generation[BLOCKS], found[BLOCKS], taken[BLOCKS], i, j, got, limit;
    bool fresh[BLOCKS], dirty, waits;

    do
    :: any_deferred || (any_held && (dirty || slot_news(0) || slot_news(CLIENTS - 1))) ->
        dirty = false;
#ifdef FENCE_BEFORE_TAKE
        reclaimer_fence();
        scan();
        lanes_take();
        waits = false;
#else
        lanes_take();
        if
        :: waits -> grace_period(); waits = false
        :: else
        fi;
        reclaimer_fence();
        bits_clear();
#ifndef NO_SCAN
        scan();
#endif
#endif
        bits_publish()
    :: !added[0] -> client_add(0)
    :: !added[CLIENTS - 1] -> client_add(CLIENTS - 1)
    :: has_left(0) && added[0] && !removed[0] -> client_remove(0)
    :: has_left(CLIENTS - 1) && added[CLIENTS - 1] && !removed[CLIENTS - 1] ->
        client_remove(CLIENTS - 1)
    :: done == BLOCKS && added[0] && added[CLIENTS - 1] -> break
    od
}

init {
    byte n;

    atomic {
        do
        :: n < BLOCKS ->
            word_start(DESC(n), word0(1, SEALED));
            word_start(BUCKET(n), 1);
            word_start(VALUE(n), 1);
#ifdef SHORT
            word_start(DETAIL, 1);
#endif
            run owner(n);
            n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < CLIENTS ->
#ifndef LATE
            added[n] = true;
#endif
#ifdef USED_BEFORE
            word_start(USED(n), BLOCKS);
#endif
            run client(n);
            n++
        :: else -> break
        od;
        n = 0;
        run reclaimer();
#ifdef DEATH
        run killer();
#endif
#ifdef CORE
        run core();
#endif
    }
}
