/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of blocks through their own descriptors. */
#include <criterion/criterion.h>
#include <string.h>

#include "shm/queue.h"

static struct block_desc descs[8];

Test(queue, gives_back_what_came_first_first)
{
    struct queue queue;

    queue_clear(&queue);
    cr_assert_eq(queue_pop(&queue, descs), BLOCK_NONE);
    queue_append(&queue, descs, 5);
    cr_assert_eq(queue_pop(&queue, descs), 5);
    cr_assert_eq(queue_pop(&queue, descs), BLOCK_NONE);
    for (uint32_t block = 7; block > 2; block--)
        queue_append(&queue, descs, block);
    cr_assert_eq(queue_pop(&queue, descs), 7);
    queue_append(&queue, descs, 7);
    for (uint32_t block = 6; block > 2; block--)
        cr_assert_eq(queue_pop(&queue, descs), block);
    cr_assert_eq(queue_pop(&queue, descs), 7);
    cr_assert_eq(queue_pop(&queue, descs), BLOCK_NONE);
}

Test(queue, changes_nothing_else_of_a_descriptor)
{
    struct block_desc before;
    struct queue queue;

    memset(descs, 0xa5, sizeof(descs));
    before = descs[3];
    queue_clear(&queue);
    queue_append(&queue, descs, 3);
    queue_append(&queue, descs, 4);
    before.next = 4;
    cr_assert_eq(memcmp(&before, &descs[3], sizeof(before)), 0);
}
