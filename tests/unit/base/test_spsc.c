/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "base/spsc.h"

Test(spsc, holds_its_capacity_and_keeps_the_order)
{
    struct spsc ring;
    uint64_t word;

    cr_assert_eq(spsc_create(&ring, 8), 0);
    for (int turn = 0; turn < 5; turn++) {
        for (uint64_t i = 0; i < 8; i++)
            cr_assert(spsc_push(&ring, i));
        cr_assert_not(spsc_push(&ring, 99));
        for (uint64_t i = 0; i < 8; i++) {
            cr_assert(spsc_pop(&ring, &word));
            cr_assert_eq(word, i);
        }
        cr_assert_not(spsc_pop(&ring, &word));
    }
    spsc_destroy(&ring);
}

static void *producer(void *arg)
{
    for (uint64_t i = 0; i < 200000;)
        i += spsc_push(arg, i);
    return NULL;
}

Test(spsc, carries_words_between_threads_in_order)
{
    struct spsc ring;
    pthread_t thread;
    uint64_t word;

    cr_assert_eq(spsc_create(&ring, 64), 0);
    cr_assert_eq(pthread_create(&thread, NULL, producer, &ring), 0);
    for (uint64_t i = 0; i < 200000;)
        if (spsc_pop(&ring, &word))
            cr_assert_eq(word, i++);
    pthread_join(thread, NULL);
    spsc_destroy(&ring);
}
