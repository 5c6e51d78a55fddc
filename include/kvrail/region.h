/* SPDX-License-Identifier: Apache-2.0 */
/* How blocks lie in the memory of an engine's paged cache, and in which form they are stored. */
#ifndef KVRAIL_REGION_H
#define KVRAIL_REGION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_LAYERS_MAX 512u
#define KVR_PIECES_MAX 4096u      /* of one kind in one layer */
#define KVR_PIECE_MAX (16u << 20) /* bytes */

/* One block in a region: nr_layers layers, in each nr_kinds kinds (2: keys and values; 1: one that
 * holds both, as MLA's), in each nr_pieces pieces of piece_bytes bytes that lie together. Piece
 * (l, k, p) begins l * layer_step + k * kind_step + p * piece_step bytes after the block's own
 * offset. In the arena the pieces follow each other without gaps, in the order l, k, p. Examples,
 * for a block of 16 tokens, 8 heads, 128 dimensions, 2 bytes an element:
 *   vLLM, a tensor [2, nr_blocks, 16, 8, 128] for each layer:
 *     nr_kinds 2, nr_pieces 1, piece_bytes 32768, kind_step nr_blocks * 32768
 *   heads before tokens, [nr_blocks, 2, 8, 16, 128], of which a rank holds every head:
 *     nr_kinds 2, nr_pieces 8, piece_bytes 4096, piece_step 4096, kind_step 32768 */
struct kvr_form {
    uint16_t nr_layers;
    uint16_t nr_kinds; /* 1 or 2 */
    uint16_t nr_pieces;
    uint16_t zero;
    uint32_t piece_bytes; /* a multiple of 16 */
    uint32_t zero2;
    uint64_t layer_step, kind_step, piece_step; /* bytes, multiples of 16 */
};

enum kvr_element { KVR_BF16 = 1, KVR_FP16 = 2 };

/* What a value holds: as in the region (bits 0 or 16), or converted from 16 bits an element to
 * signed integers of 8 or 4 with one float scale for each group of elements, on the way. */
struct kvr_conversion {
    uint8_t bits;    /* 0 and 16: bytes as they are; 8; 4 */
    uint8_t element; /* enum kvr_element, of the region; counts if bits is 8 or 4 */
    uint16_t group;  /* elements: 32, 64, 128 or 256; divides a piece's */
};

/* What a region is made of, and so how others reach it. */
enum kvr_region_kind {
    KVR_REGION_MEMFD = 1, /* host memory: a memfd that is sealed against shrinking */
    KVR_REGION_CUDA_IPC,  /* a CUipcMemHandle */
    KVR_REGION_CUDA_FD,   /* a descriptor of cuMemExportToShareableHandle */
    KVR_REGION_HOST /* the caller's own memory, for handles that copy by themselves (udp://) */
};

#ifdef __cplusplus
}
#endif
#endif
