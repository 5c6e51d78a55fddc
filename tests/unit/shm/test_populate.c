/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/populate.h"

static size_t present(void *start, size_t size)
{
    static unsigned char pages[1 << 16];
    size_t nr = size / (size_t)sysconf(_SC_PAGESIZE), n = 0;

    cr_assert_leq(nr, sizeof(pages));
    cr_assert_eq(mincore(start, size, pages), 0);
    for (size_t i = 0; i < nr; i++)
        n += pages[i] & 1;
    return n;
}

static void create(struct arena *arena)
{
    struct arena_spec spec = {.data_size = 16 << 20, .nr_partitions = 1, .nr_cores = 1};

    cr_assert_eq(arena_create(&spec, arena), 0);
}

Test(populate, makes_every_page_present_and_changes_no_byte)
{
    struct populator *populator;
    struct arena arena;
    size_t nr;

    create(&arena);
    nr = arena.data_size / (size_t)sysconf(_SC_PAGESIZE);
    memset(arena.data + 12345, 7, 1000);
    cr_assert_lt(present(arena.data, arena.data_size), nr / 2);
    cr_assert_eq(populate_start(&arena, &populator), 0);
    for (int i = 0; i < 5000 && !populate_ended(populator); i++)
        usleep(1000);
    cr_assert(populate_ended(populator));
    cr_assert_eq(present(arena.data, arena.data_size), nr);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(arena.data[12345 + i], 7);
    cr_assert_eq(arena.data[12344], 0);
    populate_stop(populator);
    arena_close(&arena);
}

Test(populate, stops_when_asked)
{
    struct populator *populator;
    struct arena arena;

    create(&arena);
    cr_assert_eq(populate_start(&arena, &populator), 0);
    populate_stop(populator);
    arena_close(&arena);
}
