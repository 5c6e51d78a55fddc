/* SPDX-License-Identifier: Apache-2.0 */
/* Moves pieces between host memory that is registered and the device, plainly or converted as
 * quant.h says, to the bit. A warp takes a tile (a part of a piece) at a time; lanes that follow
 * each other touch bytes that follow each other, which is what the bus wants. Nothing need be
 * aligned: what is goes in words. */
#include <stdint.h>

#include "gpu/kernels.h"
#include "gpu/quant_math.h"

#define LANES 32u
#define ALL_LANES 0xffffffffu
#define LANE_ELEMENTS 8u /* 16 bytes of a lane at a time */
#define SCALES_MAX (KERNEL_TILE_ELEMENTS / 32u)

/* The part of a piece that a warp has before it. */
struct tile {
    uint64_t from, to; /* the piece */
    uint32_t piece;    /* bytes or elements of it */
    uint32_t at, nr;   /* bytes or elements of the tile */
};

static __device__ unsigned lane_of(void)
{
    return threadIdx.x % LANES;
}

static __device__ unsigned first_warp(void)
{
    return (blockIdx.x * blockDim.x + threadIdx.x) / LANES;
}

static __device__ unsigned nr_warps(void)
{
    return gridDim.x * blockDim.x / LANES;
}

static __device__ struct tile tile_of(const struct kernel_args &args, unsigned nr,
                                      unsigned tile_size)
{
    unsigned low = 0, high = args.nr_strips - 1;
    struct tile tile;
    unsigned in_strip, piece;

    while (low < high) { /* the last strip that begins at or before */
        unsigned middle = (low + high + 1) / 2;

        if (args.strips[middle].first_tile <= nr)
            low = middle;
        else
            high = middle - 1;
    }
    const struct kernel_strip &strip = args.strips[low];
    in_strip = nr - strip.first_tile;
    piece = in_strip / strip.piece_tiles;
    tile.from = strip.from + piece * strip.from_step;
    tile.to = strip.to + piece * strip.to_step;
    tile.piece = strip.piece;
    tile.at = (in_strip - piece * strip.piece_tiles) * tile_size;
    tile.nr = min(tile_size, strip.piece - tile.at);
    return tile;
}

/* All loads of a lane first, then all stores: that many are on the bus at once. */
static __device__ void move_words(uint8_t *to, const uint8_t *from, unsigned lane)
{
    const unsigned per_lane = KERNEL_TILE_BYTES / (LANES * sizeof(uint4));
    uint4 words[per_lane];

#pragma unroll
    for (unsigned i = 0; i < per_lane; i++)
        words[i] = ((const uint4 *)from)[i * LANES + lane];
#pragma unroll
    for (unsigned i = 0; i < per_lane; i++)
        ((uint4 *)to)[i * LANES + lane] = words[i];
}

static __device__ void move_tile(uint8_t *to, const uint8_t *from, unsigned nr, unsigned lane)
{
    uint64_t together = (uintptr_t)to | (uintptr_t)from | nr;

    if (together % sizeof(uint4) == 0 && nr == KERNEL_TILE_BYTES) {
        move_words(to, from, lane);
    } else if (together % sizeof(uint4) == 0) {
        for (unsigned i = lane; i < nr / sizeof(uint4); i += LANES)
            ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    } else if (together % sizeof(uint32_t) == 0) {
        for (unsigned i = lane; i < nr / sizeof(uint32_t); i += LANES)
            ((uint32_t *)to)[i] = ((const uint32_t *)from)[i];
    } else {
        for (unsigned i = lane; i < nr; i += LANES)
            to[i] = from[i];
    }
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS)
    move(const __grid_constant__ struct kernel_args args)
{
    for (unsigned i = first_warp(); i < args.nr_tiles; i += nr_warps()) {
        struct tile tile = tile_of(args, i, KERNEL_TILE_BYTES);

        move_tile((uint8_t *)tile.to + tile.at, (const uint8_t *)tile.from + tile.at, tile.nr,
                  lane_of());
    }
}

/* Bits of scales, between a warp's shared memory and the front of a piece. */
static __device__ void store_scales(uint8_t *to, const uint32_t *scales, unsigned nr, unsigned lane)
{
    for (unsigned i = lane; i < nr; i += LANES) {
        if ((uintptr_t)to % 4 == 0)
            ((uint32_t *)to)[i] = scales[i];
        else
            for (unsigned j = 0; j < 4; j++)
                to[4 * i + j] = (uint8_t)(scales[i] >> 8 * j);
    }
}

static __device__ void load_scales(uint32_t *scales, const uint8_t *from, unsigned nr,
                                   unsigned lane)
{
    for (unsigned i = lane; i < nr; i += LANES) {
        uint32_t bits = 0;

        if ((uintptr_t)from % 4 == 0)
            bits = ((const uint32_t *)from)[i];
        else
            for (unsigned j = 0; j < 4; j++)
                bits |= (uint32_t)from[4 * i + j] << 8 * j;
        scales[i] = bits;
    }
}

/* Integers of LANE_ELEMENTS elements, the first one lowest. */
template <unsigned BITS> static __device__ uint64_t integers_join(const int32_t *integers)
{
    uint64_t joined = 0;

#pragma unroll
    for (unsigned i = 0; i < LANE_ELEMENTS; i++)
        joined |= (uint64_t)((uint32_t)integers[i] & ((1u << BITS) - 1)) << i * BITS;
    return joined;
}

template <unsigned BITS> static __device__ int32_t integer_of(uint64_t joined, unsigned i)
{
    const int32_t sign = 1 << (BITS - 1);

    return ((int32_t)(joined >> i * BITS & ((1u << BITS) - 1)) ^ sign) - sign;
}

template <unsigned BITS> static __device__ void store_integers(uint8_t *to, uint64_t joined)
{
    if (BITS == 8 && (uintptr_t)to % 8 == 0)
        *(uint64_t *)to = joined;
    else if ((uintptr_t)to % 4 == 0) {
        *(uint32_t *)to = (uint32_t)joined;
        if (BITS == 8)
            *(uint32_t *)(to + 4) = (uint32_t)(joined >> 32);
    } else {
        for (unsigned i = 0; i < BITS; i++)
            to[i] = (uint8_t)(joined >> 8 * i);
    }
}

template <unsigned BITS> static __device__ uint64_t load_integers(const uint8_t *from)
{
    uint64_t joined = 0;

    if (BITS == 8 && (uintptr_t)from % 8 == 0)
        return *(const uint64_t *)from;
    if ((uintptr_t)from % 4 == 0) {
        joined = *(const uint32_t *)from;
        return BITS == 8 ? joined | (uint64_t) * (const uint32_t *)(from + 4) << 32 : joined;
    }
    for (unsigned i = 0; i < BITS; i++)
        joined |= (uint64_t)from[i] << 8 * i;
    return joined;
}

/* Of a lane. */
union elements {
    uint16_t x[LANE_ELEMENTS];
    uint4 words;
    uint8_t bytes[2 * LANE_ELEMENTS];
};

static __device__ void load_elements(union elements *elements, const uint8_t *from)
{
    if ((uintptr_t)from % sizeof(uint4) == 0) {
        elements->words = *(const uint4 *)from;
    } else {
#pragma unroll
        for (unsigned i = 0; i < sizeof(elements->bytes); i++)
            elements->bytes[i] = from[i];
    }
}

static __device__ void store_elements(uint8_t *to, const union elements *elements)
{
    if ((uintptr_t)to % sizeof(uint4) == 0) {
        *(uint4 *)to = elements->words;
    } else {
#pragma unroll
        for (unsigned i = 0; i < sizeof(elements->bytes); i++)
            to[i] = elements->bytes[i];
    }
}

/* Largest magnitude among the lanes of a group: nr_lanes, a power of two, that follow each other.
 */
static __device__ unsigned group_largest(unsigned mine, unsigned nr_lanes)
{
    for (unsigned step = 1; step < nr_lanes; step *= 2)
        mine = max(mine, __shfl_xor_sync(ALL_LANES, mine, step));
    return mine;
}

/* All lanes of a warp come here; those with active false have nothing. Returns the scale. */
template <unsigned ELEMENT, unsigned BITS>
static __device__ float pack_lane(uint8_t *to, const uint8_t *from, bool active, unsigned nr_lanes)
{
    int32_t integers[LANE_ELEMENTS];
    union elements in = {};
    unsigned largest = 0;
    float scale;

    if (active)
        load_elements(&in, from);
#pragma unroll
    for (unsigned i = 0; i < LANE_ELEMENTS; i++) {
        in.x[i] = quant_finite(ELEMENT, in.x[i]);
        largest = max(largest, in.x[i] & QUANT_MAGNITUDE);
    }
    largest = group_largest(largest, nr_lanes);
    scale = quant_scale(ELEMENT, BITS, (uint16_t)largest);
#pragma unroll
    for (unsigned i = 0; i < LANE_ELEMENTS; i++)
        integers[i] = quant_integer(quant_from(ELEMENT, in.x[i]), scale);
    if (active)
        store_integers<BITS>(to, integers_join<BITS>(integers));
    return scale;
}

template <unsigned ELEMENT, unsigned BITS>
static __device__ void pack_tiles(const struct kernel_args &args)
{
    __shared__ uint32_t shared_scales[KERNEL_WARPS][SCALES_MAX];
    uint32_t *scales = shared_scales[threadIdx.x / LANES];
    unsigned lane = lane_of(), group_lanes = args.group / LANE_ELEMENTS;

    for (unsigned i = first_warp(); i < args.nr_tiles; i += nr_warps()) {
        struct tile tile = tile_of(args, i, KERNEL_TILE_ELEMENTS);
        uint8_t *to_scales = (uint8_t *)tile.to + tile.at / args.group * 4;
        uint8_t *to = (uint8_t *)tile.to + tile.piece / args.group * 4 + tile.at * BITS / 8;
        const uint8_t *from = (const uint8_t *)tile.from + tile.at * 2;

        for (unsigned at = 0; at < tile.nr; at += LANES * LANE_ELEMENTS) {
            unsigned mine = at + lane * LANE_ELEMENTS;
            bool active = mine < tile.nr;
            float scale = pack_lane<ELEMENT, BITS>(to + mine * BITS / 8, from + mine * 2, active,
                                                   group_lanes);

            if (active && mine % args.group == 0)
                scales[mine / args.group] = quant_bits(scale);
        }
        __syncwarp();
        store_scales(to_scales, scales, tile.nr / args.group, lane);
        __syncwarp();
    }
}

template <unsigned ELEMENT, unsigned BITS>
static __device__ void unpack_lane(uint8_t *to, const uint8_t *from, float scale)
{
    uint64_t joined = load_integers<BITS>(from);
    union elements out;

#pragma unroll
    for (unsigned i = 0; i < LANE_ELEMENTS; i++)
        out.x[i] = quant_element(ELEMENT, integer_of<BITS>(joined, i), scale);
    store_elements(to, &out);
}

template <unsigned ELEMENT, unsigned BITS>
static __device__ void unpack_tiles(const struct kernel_args &args)
{
    __shared__ uint32_t shared_scales[KERNEL_WARPS][SCALES_MAX];
    uint32_t *scales = shared_scales[threadIdx.x / LANES];
    unsigned lane = lane_of();

    for (unsigned i = first_warp(); i < args.nr_tiles; i += nr_warps()) {
        struct tile tile = tile_of(args, i, KERNEL_TILE_ELEMENTS);
        const uint8_t *from_scales = (const uint8_t *)tile.from + tile.at / args.group * 4;
        const uint8_t *from =
            (const uint8_t *)tile.from + tile.piece / args.group * 4 + tile.at * BITS / 8;
        uint8_t *to = (uint8_t *)tile.to + tile.at * 2;

        load_scales(scales, from_scales, tile.nr / args.group, lane);
        __syncwarp();
        for (unsigned at = lane * LANE_ELEMENTS; at < tile.nr; at += LANES * LANE_ELEMENTS)
            unpack_lane<ELEMENT, BITS>(to + at * 2, from + at * BITS / 8,
                                       quant_float(scales[at / args.group]));
        __syncwarp();
    }
}

#define PACK_KERNELS(name, ELEMENT, BITS)                                                          \
    extern "C" __global__ void __launch_bounds__(KERNEL_THREADS)                                   \
        pack_##name(const __grid_constant__ struct kernel_args args)                               \
    {                                                                                              \
        pack_tiles<ELEMENT, BITS>(args);                                                           \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(KERNEL_THREADS)                                   \
        unpack_##name(const __grid_constant__ struct kernel_args args)                             \
    {                                                                                              \
        unpack_tiles<ELEMENT, BITS>(args);                                                         \
    }

PACK_KERNELS(bf16_8, KVR_BF16, 8)
PACK_KERNELS(bf16_4, KVR_BF16, 4)
PACK_KERNELS(fp16_8, KVR_FP16, 8)
PACK_KERNELS(fp16_4, KVR_FP16, 4)
