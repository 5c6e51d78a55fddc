/* SPDX-License-Identifier: Apache-2.0 */
/* A new dataplane over an old arena while clients live: shm/recover.c and superblock.recovery. The
 * old owner touches K (a change of its chain) and unlinks L, and dies at any instruction. The new
 * one clears the buckets, enters K again, enters L if it was still sealed or else gives its memory,
 * once nobody holds it, to another generation. A client looks up both all the time.
 *
 * Wanted: K, which stays sealed, is never missed; L's bytes are never read while another generation
 * is written; nobody waits for ever.
 *
 * DAMAGED: the new one drops L although it is sealed. tests/model/run lists the variants that must
 * fail. */

#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#define NR_THREADS 3
#define OLD 0
#define NEW 1 /* its main thread and its reclaimer: one after the other here */
#define CLIENT 2
#define HISTORY 8

#define RECOVERY 0
#define VERSION 1 /* of K's chain */
#define ENTRY 2   /* of K: 1; 0: none */
#define BUCKET 3  /* of L: generation, 0: none; its version left out */
#define DESC 4    /* of L: word 0 */
#define VALUE 5   /* of L: bytes */
#define SLOT 6
#define CLOCK 7
#define NR_WORDS 8

#include "views.pml"

#define SEALED 0
#define UNLINKED 1
#define word0(generation, state) (2 * (generation) + (state))

#ifdef NO_CLEAR_RELEASE
#define CLEAR_ORDER RELAXED
#else
#define CLEAR_ORDER ORDERED
#endif
#ifdef NO_RECOVERY_ACQUIRE
#define LOOK_ORDER RELAXED
#else
#define LOOK_ORDER ORDERED
#endif
#ifdef NO_RECOVERY_RELEASE
#define RECOVERY_ORDER RELAXED
#else
#define RECOVERY_ORDER ORDERED
#endif

bool dying, dead;
byte stamp;

proctype old()
{
    {
        store(OLD, VERSION, newest(VERSION) + 1, RELAXED);
        store(OLD, VERSION, newest(VERSION) + 1, ORDERED);
        store(OLD, BUCKET, 0, ORDERED);
        store(OLD, DESC, word0(1, UNLINKED), ORDERED)
    } unless { dying };
    dying;
    d_step { dead = true; view_join(views[NEW], views[OLD]) }
}

proctype killer()
{
    dying = true
}

inline release_memory()
{
    /* the reclaimer: fence, scan; the owner: parked while it is held */
    fence(NEW);
#ifndef NO_SCAN
    do
    :: load(NEW, SLOT, got, ORDERED);
        if
        :: got == 1 -> has_news(NEW, SLOT)
        :: else -> break
        fi
    od;
    got = 0;
#endif
    d_step {
        assert(read_is_known(NEW, CLOCK, stamp));
        store_body(NEW, VALUE, 2, RELAXED)
    }
    store(NEW, DESC, word0(2, SEALED), ORDERED);
    store(NEW, BUCKET, 2, ORDERED)
}

proctype new()
{
    byte got;
    bool unlinked;

    dead;
#ifndef RECOVERY_SET_LATE
    store(NEW, RECOVERY, 1, RELAXED);
#endif
    /* index_writer_open */
    if
    :: newest(VERSION) % 2 == 0 -> store(NEW, VERSION, newest(VERSION) + 1, ORDERED)
    :: else
    fi;
    store(NEW, ENTRY, 0, CLEAR_ORDER);
    store(NEW, VERSION, newest(VERSION) + 1, ORDERED);
    store(NEW, BUCKET, 0, CLEAR_ORDER);
#ifdef RECOVERY_SET_LATE
    store(NEW, RECOVERY, 1, RELAXED);
#endif
#ifdef RECOVERY_ENDS_EARLY
    store(NEW, RECOVERY, 2, ORDERED);
#endif
    /* recover */
    store(NEW, VERSION, newest(VERSION) + 1, RELAXED);
    store(NEW, ENTRY, 1, ORDERED);
    store(NEW, VERSION, newest(VERSION) + 1, ORDERED);
#ifdef DAMAGED
    if
    :: newest(DESC) == word0(1, SEALED) ->
#ifndef DROPPED_STAYS_SEALED
        store(NEW, DESC, word0(1, UNLINKED), ORDERED)
#else
        skip
#endif
    :: else
    fi;
    unlinked = true;
#else
    unlinked = (newest(DESC) == word0(1, UNLINKED));
#endif
    if
    :: !unlinked -> store(NEW, BUCKET, 1, ORDERED)
    :: else
    fi;
#ifndef RECOVERY_ENDS_EARLY
    store(NEW, RECOVERY, 2, RECOVERY_ORDER);
#endif
    if
    :: unlinked -> release_memory()
    :: else
    fi
}

/* Looks K up until it is decided: a hit, or a miss that counts. */
inline lookup_k()
{
    do
    :: load(CLIENT, RECOVERY, before, LOOK_ORDER);
        if
        :: before % 2 == 1 -> has_news(CLIENT, RECOVERY); goto again
        :: else
        fi;
        load(CLIENT, VERSION, version, ORDERED);
        if
        :: version % 2 == 1 -> has_news(CLIENT, VERSION); goto again
        :: else
        fi;
        load(CLIENT, ENTRY, found, ORDERED);
        load(CLIENT, VERSION, after, RELAXED);
        if
        :: after != version -> goto again
        :: else
        fi;
        if
        :: found == 1 -> break
        :: else
        fi;
#ifndef NO_RECOVERY_LOOK
        load(CLIENT, RECOVERY, after, RELAXED);
        if
        :: after != before -> goto again
        :: else
        fi;
#endif
        assert(false); /* K was missed */
    again:
        skip
    od;
    before = 0;
    version = 0;
    after = 0;
    found = 0
}

inline hit_l()
{
    load(CLIENT, BUCKET, found, ORDERED);
    if
    :: found != 0 ->
        store(CLIENT, SLOT, found, ORDERED);
        fence(CLIENT);
        load(CLIENT, DESC, after, ORDERED);
        if
        :: after == word0(found, SEALED) ->
            plain_read(CLIENT, VALUE, found, CLOCK, stamp);
            plain_read(CLIENT, VALUE, found, CLOCK, stamp)
        :: else
        fi;
        store(CLIENT, SLOT, 0, ORDERED)
    :: else
    fi;
    after = 0;
    found = 0
}

proctype client()
{
    byte attempt, before, version, found, after;

    do
    :: attempt < ATTEMPTS ->
        attempt++;
#ifndef ONLY_L
        lookup_k();
#endif
#ifndef ONLY_K
        hit_l()
#endif
    :: else -> break
    od
}

init {
    atomic {
        word_start(ENTRY, 1);
        word_start(BUCKET, 1);
        word_start(DESC, word0(1, SEALED));
        word_start(VALUE, 1);
        run old();
        run killer();
        run new();
        run client()
    }
}
