/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the conversion's path for this CPU when it is first used. Any thread: all that choose at
 * the same time choose the same. */
#include "gpu/quant.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "gpu/quant_path.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "scales are written as they lie here");

#define PATHS 3u /* scalar, AVX2, AVX-512 */

static const struct quant_path *chosen; /* atomic; any thread; NULL: not yet */

#if defined(__x86_64__)
#include <cpuid.h>

/* The compilers do not all know this one by name. */
static bool has_f16c(void)
{
    unsigned a, b, c = 0, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* Each asks the operating system, too: whether it keeps these registers. */
static const struct quant_path *path_of(unsigned path)
{
    if (path == 1 && __builtin_cpu_supports("avx2") && has_f16c())
        return &quant_path_avx2;
    if (path == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return &quant_path_avx512;
    return path == 0 ? &quant_path_scalar : NULL;
}
#else
static const struct quant_path *path_of(unsigned path)
{
    return path == 0 ? &quant_path_scalar : NULL;
}
#endif

static const struct quant_path *choose(void)
{
    const struct quant_path *path = NULL;

    for (unsigned i = PATHS; i-- > 0 && !path;)
        path = path_of(i);
    __atomic_store_n(&chosen, path, __ATOMIC_RELAXED);
    return path;
}

static const struct quant_path *current(void)
{
    const struct quant_path *path = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

    return path ? path : choose();
}

int quant_use(unsigned path)
{
    const struct quant_path *wanted = path < PATHS ? path_of(path) : NULL;

    if (!wanted)
        return -ENOTSUP;
    __atomic_store_n(&chosen, wanted, __ATOMIC_RELAXED);
    return 0;
}

int quant_valid(const struct kvr_conversion *conversion, size_t nr_elements)
{
    unsigned group = conversion->group;

    return (conversion->bits == 8 || conversion->bits == 4) &&
           (conversion->element == KVR_BF16 || conversion->element == KVR_FP16) &&
           (group == 32 || group == 64 || group == 128 || group == 256) && nr_elements % group == 0;
}

size_t quant_packed_len(const struct kvr_conversion *conversion, size_t nr_elements)
{
    return nr_elements / conversion->group *
           (sizeof(float) + conversion->group * conversion->bits / 8u);
}

void quant_pack(const struct kvr_conversion *conversion, const void *elements, size_t nr_elements,
                uint8_t *packed)
{
    current()->pack(conversion, elements, nr_elements, packed);
}

void quant_unpack(const struct kvr_conversion *conversion, const uint8_t *packed,
                  size_t nr_elements, void *elements)
{
    current()->unpack(conversion, packed, nr_elements, elements);
}
