/* SPDX-License-Identifier: Apache-2.0 */
/* A ring with one producer and one consumer: base/spsc.h and the rings of a client's segment
 * (shm/segment.h). Free-running head and tail, cells written and read plainly. tests/model/run
 * lists the variants that must fail. */

#define NR_THREADS 2
#define PRODUCER 0
#define CONSUMER 1
#define CELLS 2
#ifndef MESSAGES
#define MESSAGES 4
#endif
#define HISTORY 10

#define TAIL 0
#define HEAD 1
#define CLOCK 2
#define CELL(i) (3 + (i) % CELLS)
#define NR_WORDS (3 + CELLS)

#include "views.pml"

#ifdef NO_TAIL_RELEASE
#define TAIL_STORE RELAXED
#else
#define TAIL_STORE ORDERED
#endif
#ifdef NO_TAIL_ACQUIRE
#define TAIL_LOAD RELAXED
#else
#define TAIL_LOAD ORDERED
#endif
#ifdef NO_HEAD_RELEASE
#define HEAD_STORE RELAXED
#else
#define HEAD_STORE ORDERED
#endif
#ifdef NO_HEAD_ACQUIRE
#define HEAD_LOAD RELAXED
#else
#define HEAD_LOAD ORDERED
#endif

byte stamps[CELLS];

proctype producer()
{
    byte tail, head;

    do
    :: tail < MESSAGES ->
#ifndef NO_FULL_LOOK
        do
        :: tail - head < CELLS -> break
        :: else ->
            has_news(PRODUCER, HEAD);
            load(PRODUCER, HEAD, head, HEAD_LOAD)
        od;
#endif
        skip; /* od may not lead straight into a d_step */
        d_step {
            assert(read_is_known(PRODUCER, CLOCK, stamps[tail % CELLS]));
            store_body(PRODUCER, CELL(tail), tail, RELAXED)
        }
        tail++;
        store(PRODUCER, TAIL, tail, TAIL_STORE)
    :: else -> break
    od
}

proctype consumer()
{
    byte tail, head;

    do
    :: head < MESSAGES ->
        do
        :: head < tail -> break
        :: else ->
            has_news(CONSUMER, TAIL);
            load(CONSUMER, TAIL, tail, TAIL_LOAD)
        od;
#ifdef HEAD_FIRST
        store(CONSUMER, HEAD, head + 1, HEAD_STORE);
#endif
        skip;
        plain_read(CONSUMER, CELL(head), head, CLOCK, stamps[head % CELLS]);
        head++;
#ifndef HEAD_FIRST
        store(CONSUMER, HEAD, head, HEAD_STORE)
#endif
    :: else -> break
    od
}

init {
    atomic {
        run producer();
        run consumer()
    }
}
