/* SPDX-License-Identifier: Apache-2.0 */
/* The version of a chain: shm/index.c against shm/index_write.c. The chain has room for two entries
 * and holds the keys L (block 1) and K (block 0). Its owner removes L, which moves K's entry into the
 * hole; writes the next use of block 1 for a key of another chain, whose version says nothing here;
 * overwrites K with block 2; and writes the next use of block 0. A reader looks K up meanwhile.
 *
 * Wanted: it finds K, as one of K's two blocks was described, and never misses it.
 *
 * WRAP: the version has one bit, as if it had wrapped while the reader was stopped. Then a miss says
 * nothing, but what hazard_holds compares still makes a hit right. tests/model/run lists the
 * variants that must fail. */

#define NR_THREADS 2
#define OWNER 0
#define READER 1
#define HISTORY 8

#define VERSION 0
#define ENTRY(i) (1 + (i))        /* block + 1; 0: empty */
#define DESC(b) (3 + 3 * (b))     /* word 0: generation and state */
#define NAME(b) (3 + 3 * (b) + 1) /* a later word: the key */
#define PLACE(b) (3 + 3 * (b) + 2) /* a later word: says which generation wrote it */
#define NR_WORDS 12

#include "views.pml"

#define SEALED 0
#define UNLINKED 1
#define RESERVED 2
#define word0(generation, state) (4 * (generation) + (state))
#define K 1
#define L 2
#define OTHER 3

#ifdef NO_STORE_RELEASE
#define STORE_ORDER RELAXED
#else
#define STORE_ORDER ORDERED
#endif
#ifdef NO_LOAD_ACQUIRE
#define LOAD_ORDER RELAXED
#else
#define LOAD_ORDER ORDERED
#endif
#ifdef NO_END_RELEASE
#define END_ORDER RELAXED
#else
#define END_ORDER ORDERED
#endif
#ifdef NO_FIRST_ACQUIRE
#define FIRST_ORDER RELAXED
#else
#define FIRST_ORDER ORDERED
#endif
#ifdef WRAP
#define next_version ((newest(VERSION) + 1) % 2)
#else
#define next_version (newest(VERSION) + 1)
#endif

inline chain_begin()
{
#ifndef NO_BEGIN
    store(OWNER, VERSION, next_version, RELAXED)
#else
    skip
#endif
}

inline chain_end()
{
#ifdef NO_BEGIN
    store(OWNER, VERSION, next_version + 1, END_ORDER)
#else
    store(OWNER, VERSION, next_version, END_ORDER)
#endif
}

inline desc_publish(b, generation, state, name)
{
    store(OWNER, NAME(b), name, STORE_ORDER);
    store(OWNER, PLACE(b), generation, STORE_ORDER);
    store(OWNER, DESC(b), word0(generation, state), STORE_ORDER)
}

proctype owner()
{
    /* partition_del of L */
    chain_begin();
    store(OWNER, ENTRY(0), newest(ENTRY(1)), STORE_ORDER);
    store(OWNER, ENTRY(1), 0, STORE_ORDER);
    chain_end();
    store(OWNER, DESC(1), word0(1, UNLINKED), STORE_ORDER);
    /* partition_reserve */
    desc_publish(1, 2, RESERVED, OTHER);
    /* partition_seal of K, over the older block */
    desc_publish(2, 1, RESERVED, K);
    chain_begin();
    desc_publish(2, 1, SEALED, K);
    store(OWNER, ENTRY(0), 3, STORE_ORDER);
    chain_end();
    store(OWNER, DESC(0), word0(1, UNLINKED), STORE_ORDER);
    desc_publish(0, 2, RESERVED, OTHER);
    desc_publish(0, 2, SEALED, OTHER)
}

/* chain_search: found is block + 1. */
inline chain_search()
{
    i = 0;
    found = 0;
    do
    :: i < 2 && found == 0 ->
        load(READER, ENTRY(i), block, LOAD_ORDER);
        if
        :: block != 0 ->
            block--;
            load(READER, DESC(block), desc, LOAD_ORDER);
            load(READER, NAME(block), name, LOAD_ORDER);
            load(READER, PLACE(block), place, LOAD_ORDER);
            if
            :: desc % 4 == SEALED && name == K -> found = block + 1
            :: else
            fi
        :: else
        fi;
        i++
    :: else -> break
    od
}

proctype reader()
{
    byte version, again, i, block, desc, name, place, found;

    do
    :: load(READER, VERSION, version, FIRST_ORDER);
#ifndef ODD_TAKEN
        if
        :: version % 2 == 1 -> has_news(READER, VERSION); goto next
        :: else
        fi;
#endif
        chain_search();
#ifndef NO_SECOND_LOOK
        load(READER, VERSION, again, RELAXED);
        if
        :: again != version -> goto next
        :: else
        fi;
#endif
#ifdef WRAP
        if
        :: found == 0 -> break
        :: else
        fi;
#ifndef NO_RECHECK
        load(READER, DESC(found - 1), again, ORDERED);
        if
        :: again != desc -> break
        :: else
        fi;
#endif
#endif
        assert(found != 0);               /* else: K was missed */
        assert(found == 1 || found == 3); /* else: another key's block */
        assert(desc == word0(1, SEALED)); /* else: another use of it */
        assert(place == 1);               /* else: torn */
        break;
    next:
        skip
    od
}

init {
    atomic {
        word_start(ENTRY(0), 2);
        word_start(ENTRY(1), 1);
        word_start(DESC(0), word0(1, SEALED));
        word_start(NAME(0), K);
        word_start(PLACE(0), 1);
        word_start(DESC(1), word0(1, SEALED));
        word_start(NAME(1), L);
        word_start(PLACE(1), 1);
        run owner();
        run reader()
    }
}
