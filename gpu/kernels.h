/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels.cu is given, as C and CUDA see it: strips cut into tiles, a warp takes a tile at a
 * time. The arguments of a launch fit into the 4 KiB that every device takes by value. */
#pragma once

#include <stdint.h>

#define KERNEL_STRIPS_MAX 80u
#define KERNEL_TILE_BYTES 2048u    /* of a plain move */
#define KERNEL_TILE_ELEMENTS 2048u /* of a conversion; a multiple of every group */
#define KERNEL_THREADS 256u
#define KERNEL_WARPS (KERNEL_THREADS / 32u)

struct kernel_strip {
    uint64_t from, to; /* first piece */
    uint64_t from_step, to_step;
    uint32_t piece;      /* bytes of a plain move, else elements */
    uint32_t first_tile; /* of all tiles of the launch */
    uint32_t piece_tiles;
    uint32_t zero;
};

struct kernel_args {
    uint32_t nr_strips, nr_tiles;
    uint32_t group; /* of all strips; 0: plain move */
    uint32_t zero;
    struct kernel_strip strips[KERNEL_STRIPS_MAX];
};

/* kernels.cu's functions by name: kernel_names[kernel_of(..)]. */
enum kernel {
    KERNEL_MOVE,
    KERNEL_PACK, /* + 2 * (FP16) + (4 bits) */
    KERNEL_UNPACK = KERNEL_PACK + 4,
    KERNELS = KERNEL_UNPACK + 4
};

#define KERNEL_NAMES                                                                               \
    {                                                                                              \
        "move", "pack_bf16_8", "pack_bf16_4", "pack_fp16_8", "pack_fp16_4", "unpack_bf16_8",       \
            "unpack_bf16_4", "unpack_fp16_8", "unpack_fp16_4"                                      \
    }
