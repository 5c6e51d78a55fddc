/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory as C11 has it, not as one machine does: every word keeps all values that were ever
 * stored in it, and every thread has a view, which says for each word the oldest value that it may
 * still load. A release store hands its thread's view on with the value, an acquire load takes it
 * over, a sequentially consistent fence exchanges views with all fences before it. Loads choose
 * freely among what their view allows. (Kang et al., A promising semantics for relaxed-memory
 * concurrency, POPL 2017, without promises; race detection as in ORC11, Dang et al., POPL 2020.)
 *
 * Every word has one writer at a time, so a store always comes last in its word's order.
 *
 * The model that includes this defines NR_WORDS, NR_THREADS and HISTORY (most values of a word). */

typedef View { byte at[NR_WORDS] };
typedef Message { byte value; View seen };
typedef Word { byte last; Message at[HISTORY] };

Word words[NR_WORDS];
View views[NR_THREADS];
View fenced; /* what the fences so far have seen */
byte pick, k;

#define RELAXED 0
#define ORDERED 1 /* release for a store, acquire for a load */

#define newest(word) (words[word].at[words[word].last].value)

inline view_join(into, from)
{
    k = 0;
    do
    :: k < NR_WORDS ->
        if
        :: from.at[k] > into.at[k] -> into.at[k] = from.at[k]
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0
}

/* A view: no value of the word but this one was ever there. Before any thread runs. */
inline word_start(word, new)
{
    words[word].at[0].value = new
}

inline store_body(thread, word, new, order)
{
    assert(words[word].last < HISTORY - 1);
    words[word].at[words[word].last + 1].value = new; /* new may speak of the value until now */
    words[word].last++;
    views[thread].at[word] = words[word].last;
    if
    :: order == ORDERED -> view_join(words[word].at[words[word].last].seen, views[thread])
    :: else -> words[word].at[words[word].last].seen.at[word] = words[word].last
    fi
}

inline store(thread, word, new, order)
{
    d_step { store_body(thread, word, new, order) }
}

inline load_body(thread, word, into, order)
{
    into = words[word].at[pick].value;
    views[thread].at[word] = pick;
    if
    :: order == ORDERED -> view_join(views[thread], words[word].at[pick].seen)
    :: else
    fi;
    pick = 0
}

inline load(thread, word, into, order)
{
    atomic {
        pick = views[thread].at[word];
        do
        :: pick < words[word].last -> pick++
        :: break
        od;
        skip; /* od may not lead straight into a d_step */
        d_step { load_body(thread, word, into, order) }
    }
}

/* The newest value: for rings, where an older one only means to wait longer. */
inline load_newest(thread, word, into, order)
{
    d_step { pick = words[word].last; load_body(thread, word, into, order) }
}

#define has_news(thread, word) (words[word].last > views[thread].at[word])

inline fence_body(thread)
{
    view_join(views[thread], fenced);
    view_join(fenced, views[thread])
}

inline fence(thread)
{
    d_step { fence_body(thread) }
}

/* Plain accesses. A word that is read this way while a store to it is not yet in the reader's view
 * is a race: undefined behaviour in C, the wrong bytes in life. What a reader has read is a word of
 * the model too (its clock), so that the next writer's view can be asked for it. */
inline plain_read(thread, word, wanted, clock, stamp)
{
    d_step {
        assert(views[thread].at[word] == words[word].last); /* else: race with a writer */
        assert(newest(word) == wanted);                     /* else: the wrong bytes */
        store_body(thread, clock, 0, RELAXED);
        stamp = words[clock].last
    }
}

/* stamp: of the last such read of the word by the clock's thread. */
#define read_is_known(thread, clock, stamp) (views[thread].at[clock] >= stamp)
