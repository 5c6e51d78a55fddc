/* SPDX-License-Identifier: Apache-2.0 */
/* The pool and its devices: several of them, what reads their slots, and what happens when one
 * fails.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gpu/quant.h"
#include "pool_bed.h"

static const struct pool_options few = {.classes = {{4096, 4}}, .nr_classes = 1, .promote_hits = 3};

Test(pool_devices, spreads_blocks_over_devices_and_keeps_copies_apart)
{
    struct bed *bed = bed_open(3, &few);
    struct pool_place place;

    for (uint32_t i = 0; i < 12; i++)
        cr_assert_eq(bed_load(bed, i, GPU_ANY), 0);
    for (unsigned device = 0; device < 3; device++)
        cr_assert_eq(bed_stats(bed, device).ready, 4, "as many on each");
    cr_assert_eq(bed_stats(bed, 0).evictions, 0);
    cr_assert_eq(bed_load(bed, 0, GPU_ANY), -EEXIST);
    for (int device = 0; device < 3; device++)
        if (!bed_has(bed, 0, device))
            cr_assert_eq(bed_load(bed, 0, device), 0);
    for (int device = 0; device < 3; device++) {
        cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), device, 0, &place), 0);
        cr_assert_eq(place.device, device);
        cr_assert(bed_place_holds(bed, &place, bed_ref(bed, 0)));
    }
    pool_forget(bed->pool, bed_ref(bed, 0));
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), GPU_ANY, 0, &place), -ENOENT);
    cr_assert_eq(pool_release(bed->pool, 0), 3);
    bed_close(bed);
}

Test(pool_devices, keeps_to_the_devices_that_it_was_given)
{
    struct pool_options options = few;
    struct pool_stats stats;
    struct bed *bed;

    options.devices = 1u << 1;
    bed = bed_open(3, &options);
    cr_assert_eq(bed_load(bed, 0, 0), -ENODEV);
    cr_assert_eq(bed_load(bed, 0, 1), 0);
    cr_assert_eq(pool_stats(bed->pool, 0, &stats), -ENODEV);
    cr_assert_eq(bed_stats(bed, 1).ready, 1);
    bed_close(bed);
}

/* An engine's cache on the device, for blocks of 4 layers, 2 kinds and 2 pieces of 256 bytes. */
static const struct kvr_form engine_form = {.nr_layers = 4,
                                            .nr_kinds = 2,
                                            .nr_pieces = 2,
                                            .piece_bytes = 256,
                                            .layer_step = 64 << 10,
                                            .kind_step = 16 << 10,
                                            .piece_step = 1024};

static void move(struct bed *bed, const struct pool_place *place, struct gpu_region *engine)
{
    struct gpu_job job = {.direction = GPU_MOVE,
                          .priority = KVR_NORMAL,
                          .device = place->device,
                          .region = engine,
                          .region_off = 2048,
                          .from = place->region,
                          .from_off = place->offset,
                          .from_form = pool_form(&engine_form),
                          .form = engine_form};
    struct gpu_job *ended;

    cr_assert(gpu_push(bed->fleet, BED_PRODUCER, &job));
    while (gpu_pop(bed->fleet, BED_PRODUCER, &ended, 1) == 0)
        ;
    cr_assert_eq(ended, &job);
    cr_assert_not(pool_take(bed->pool, ended), "not the pool's");
    cr_assert_eq(job.status, KVR_OK);
}

static void piece_read(struct bed *bed, struct gpu_region *engine, unsigned piece, void *bytes)
{
    uint64_t off = 2048 + piece / 4 * engine_form.layer_step +
                   piece / 2 % 2 * engine_form.kind_step + piece % 2 * engine_form.piece_step;

    cr_assert_eq(gpu_backend_host.read(gpu_fleet_device(bed->fleet, 0),
                                       gpu_region_address(engine, 0) + off, bytes, 256),
                 0);
}

Test(pool_devices, feeds_an_engines_own_cache)
{
    struct bed *bed = bed_open(1, &few);
    struct gpu_region *engine;
    struct pool_place place;

    cr_assert_eq(gpu_region_alloc(bed->fleet, 0, 1 << 20, &engine), 0);
    cr_assert_eq(bed_load(bed, 0, GPU_ANY), 0);
    bed_pin(bed, 0, &place);
    move(bed, &place, engine);
    cr_assert_eq(pool_unpin(bed->pool, 0, place.pin), 0);
    for (unsigned piece = 0; piece < 16; piece++) {
        uint8_t bytes[256];

        piece_read(bed, engine, piece, bytes);
        cr_assert_eq(memcmp(bytes, bed->blocks[0].bytes + piece * 256, 256), 0);
    }
    gpu_region_close(bed->fleet, engine);
    bed_close(bed);
}

Test(pool_devices, holds_converted_blocks_as_the_engine_wants_them)
{
    struct bed *bed = bed_open(1, &few);
    struct pool_block block = bed_block(bed, 0);
    uint16_t elements[16 * 128], expected[16 * 128], found[128];
    struct gpu_region *engine;
    struct pool_place place;

    block.form = engine_form;
    block.conversion = (struct kvr_conversion){.bits = 8, .element = KVR_BF16, .group = 64};
    block.len = 16 * (uint32_t)quant_packed_len(&block.conversion, 128);
    for (unsigned i = 0; i < 16 * 128; i++)
        elements[i] = (uint16_t)(0x3f00 + i % 251 + (i % 3 ? 0x8000 : 0));
    for (unsigned piece = 0; piece < 16; piece++) {
        uint8_t *packed = bed->blocks[0].bytes + piece * (block.len / 16);

        quant_pack(&block.conversion, &elements[piece * 128], 128, packed);
        quant_unpack(&block.conversion, packed, 128, &expected[piece * 128]);
    }
    cr_assert_eq(gpu_region_alloc(bed->fleet, 0, 1 << 20, &engine), 0);
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), 0);
    bed_settle(bed);
    bed_pin(bed, 0, &place);
    cr_assert_eq(place.bytes, 4096);
    move(bed, &place, engine);
    for (unsigned piece = 0; piece < 16; piece++) {
        piece_read(bed, engine, piece, found);
        cr_assert_eq(memcmp(found, &expected[piece * 128], 256), 0);
    }
    cr_assert_eq(pool_unpin(bed->pool, 0, place.pin), 0);
    gpu_region_close(bed->fleet, engine);
    bed_close(bed);
}

Test(pool_devices, takes_values_of_more_bytes_than_a_piece)
{
    struct pool_options options = {.classes = {{40 << 20, 1}}, .nr_classes = 1};
    struct bed *bed = bed_open(1, &options);
    struct pool_block block = bed_block(bed, 0);
    uint64_t *words = malloc(40 << 20);
    struct pool_place place;

    cr_assert(words);
    block.near = (uint8_t *)words;
    for (unsigned i = 0; i < (40 << 20) / 8; i++)
        words[i] = bed_word(block.ref, i);
    block.len = (40 << 20) - 16;
    cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), 0);
    bed_settle(bed);
    bed_pin(bed, 0, &place);
    cr_assert_eq(place.bytes, (40 << 20) - 16);
    cr_assert(bed_place_holds(bed, &place, block.ref));
    cr_assert_eq(pool_unpin(bed->pool, 0, place.pin), 0);
    bed_close(bed);
    free(words);
}

Test(pool_devices, is_read_by_another_process_through_its_handle)
{
    struct bed *bed = bed_open(2, &few);
    struct gpu_handle handle;
    struct pool_place place;
    const uint8_t *mapped;
    uint32_t lost;

    cr_assert_eq(bed_load(bed, 0, 1), 0);
    cr_assert_eq(bed_load(bed, 1, 1), 0);
    cr_assert_eq(pool_export(bed->pool, 2, &handle, &lost), -ENODEV);
    cr_assert_eq(pool_export(bed->pool, 1, &handle, &lost), 0);
    cr_assert_geq(handle.size, 4 * 4096);
    mapped = mmap(NULL, handle.size, PROT_READ, MAP_SHARED, handle.fd, 0);
    cr_assert_neq((const void *)mapped, MAP_FAILED);
    close(handle.fd);
    for (uint32_t i = 0; i < 2; i++) {
        bed_pin(bed, i, &place);
        cr_assert_eq(place.lost, lost);
        cr_assert(bed_bytes_are(mapped + place.offset, bed_ref(bed, i), place.bytes));
    }
    cr_assert_eq(pool_release(bed->pool, 0), 2);
    munmap((void *)(uintptr_t)mapped, handle.size);
    bed_close(bed);
}

Test(pool_devices, forgets_what_a_device_lost)
{
    struct bed *bed = bed_open(2, &few);
    struct pool_place before, other;
    struct gpu_handle handle;
    uint32_t lost;

    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(bed_load(bed, i, 0), 0);
        cr_assert_eq(bed_load(bed, i, 1), 0);
    }
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), 0, 0, &before), 0);
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), 1, 0, &other), 0);
    gpu_host_fail_after(gpu_fleet_device(bed->fleet, 0), 0, 0);
    (void)bed_load(bed, 9, 0); /* somebody has to find out */
    bed_wait_resets(bed, 0, 1);
    bed_settle(bed);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_not(bed_has(bed, i, 0));
        cr_assert(bed_has(bed, i, 1), "the other device's are there");
    }
    cr_assert_eq(bed_stats(bed, 0).lost, 4 - bed_stats(bed, 0).evictions, "but for what made room");
    cr_assert_eq(pool_unpin(bed->pool, 0, before.pin), -EIO, "its reader has to know");
    cr_assert_eq(pool_unpin(bed->pool, 0, other.pin), 0);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(bed_load(bed, i, 0), 0);
    cr_assert(bed_has(bed, 0, 0));
    cr_assert_eq(pool_export(bed->pool, 0, &handle, &lost), 0);
    cr_assert_neq(lost, before.lost);
    close(handle.fd);
    bed_close(bed);
}

Test(pool_devices, finds_the_copy_that_can_be_read)
{
    struct bed *bed = bed_open(2, &few);
    struct pool_block block = bed_block(bed, 1);
    struct pool_place place;

    cr_assert_eq(bed_load(bed, 0, 0), 0);
    cr_assert_eq(bed_load(bed, 0, 1), 0);
    gpu_host_fail_after(gpu_fleet_device(bed->fleet, 0), 0, 6); /* resets fail, too */
    cr_assert_eq(pool_load(bed->pool, 0, &block), 0);
    while (gpu_device_state(bed->fleet, 0) == GPU_UP)
        ;
    cr_assert_eq(pool_pin(bed->pool, bed_ref(bed, 0), 0, 0, &place), -ENOENT);
    bed_pin(bed, 0, &place);
    cr_assert_eq(place.device, 1);
    cr_assert(bed_place_holds(bed, &place, bed_ref(bed, 0)));
    cr_assert_eq(pool_unpin(bed->pool, 0, place.pin), 0);
    bed_close(bed);
}

Test(pool_devices, loads_nothing_to_a_device_that_is_down)
{
    struct bed *bed = bed_open(2, &few);
    struct pool_block block = bed_block(bed, 0);

    gpu_host_fail_after(gpu_fleet_device(bed->fleet, 1), 0, 6); /* resets fail, too */
    cr_assert_eq(pool_load(bed->pool, 1, &block), 0);
    while (gpu_device_state(bed->fleet, 1) == GPU_UP)
        ;
    for (uint32_t i = 1; i < 5; i++) {
        block = bed_block(bed, i);
        cr_assert_eq(pool_load(bed->pool, 1, &block), -ENODEV);
        cr_assert_eq(pool_load(bed->pool, GPU_ANY, &block), 0);
    }
    bed_settle(bed);
    cr_assert_eq(bed_stats(bed, 0).ready, 4);
    cr_assert_eq(bed_stats(bed, 1).ready, 0);
    cr_assert_eq(bed_stats(bed, 1).loads_failed, 1);
    cr_assert_eq(bed->blocks[0].pins, 0);
    bed_close(bed);
}
