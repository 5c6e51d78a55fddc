/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "tools/load/train.h"

static _Alignas(8) struct {
    struct kvr_get_rep rep;
    uint8_t bytes[64];
} part;
static struct trains trains;

/* Bytes [pos, pos + len) of a value of total bytes, byte i being i. */
static enum train_state add(struct train **train, uint64_t ref, uint32_t total, uint32_t pos,
                            uint32_t len)
{
    part.rep = (struct kvr_get_rep){
        .ref = ref, .value_len = total, .view_len = total, .pos = pos, .len = len, .value_crc = 77};
    for (uint32_t i = 0; i < len; i++)
        part.bytes[i] = (uint8_t)(pos + i);
    return train_add(&trains, train, &part.rep);
}

Test(train, parts_come_in_any_order_and_twice)
{
    struct train *train = NULL;

    trains_setup(&trains, 200, true);
    cr_assert_eq(add(&train, 1, 150, 64, 64), TRAIN_MORE);
    cr_assert_eq(add(&train, 1, 150, 64, 64), TRAIN_MORE);
    cr_assert_eq(add(&train, 1, 150, 128, 22), TRAIN_MORE);
    cr_assert_eq(add(&train, 1, 150, 0, 64), TRAIN_WHOLE);
    cr_assert_eq(train->total, 150);
    cr_assert_eq(train->crc, 77);
    for (unsigned i = 0; i < 150; i++)
        cr_assert_eq(train->bytes[i], i);
    train_end(&trains, &train);
    cr_assert_null(train);
    trains_teardown(&trains);
}

Test(train, parts_of_two_blocks_make_no_value)
{
    struct train *train = NULL;

    trains_setup(&trains, 200, false);
    cr_assert_eq(add(&train, 1, 150, 0, 64), TRAIN_MORE);
    cr_assert_eq(add(&train, 2, 150, 64, 64), TRAIN_WRONG);
    cr_assert_eq(add(&train, 1, 151, 64, 64), TRAIN_WRONG);
    train_end(&trains, &train);
    trains_teardown(&trains);
}

Test(train, no_value_may_be_larger_than_the_largest)
{
    struct train *train = NULL;

    trains_setup(&trains, 200, true);
    cr_assert_eq(add(&train, 1, 201, 0, 64), TRAIN_WRONG);
    cr_assert_null(train);
    train_end(&trains, &train);
    trains_teardown(&trains);
}

Test(train, the_next_one_begins_from_nothing)
{
    struct train *train = NULL;

    trains_setup(&trains, 200, true);
    cr_assert_eq(add(&train, 1, 128, 0, 64), TRAIN_MORE);
    train_end(&trains, &train);
    cr_assert_eq(add(&train, 2, 128, 64, 64), TRAIN_MORE);
    cr_assert_eq(add(&train, 2, 128, 0, 64), TRAIN_WHOLE);
    train_end(&trains, &train);
    trains_teardown(&trains);
}
