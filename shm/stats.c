/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the counters, generated from the lists that also make their fields, and the ring of the
 * last errors. */
#include "shm/stats.h"

#include <string.h>

#include "base/clock.h"

#define STATS_NAME(name, help) {#name, help},
const struct stats_name stats_names[] = {STATS_LIST(STATS_NAME)};
const unsigned nr_stats_names = sizeof(stats_names) / sizeof(stats_names[0]);
const struct stats_name drop_names[NR_DROP_REASONS] = {DROP_LIST(STATS_NAME)};

const char *opcode_name(unsigned op)
{
    static const char *const names[KVR_OPCODES] = {
#define OPCODE_NAME(name, number) [number] = #name,
        KVR_OP_LIST(OPCODE_NAME)};

    return op < KVR_OPCODES && names[op] ? names[op] : "?";
}

void stats_note_error(struct core_stats *stats, enum drop_reason reason, const uint8_t source[16],
                      uint16_t port, uint16_t op, uint32_t len)
{
    struct error_entry *entry = &stats->errors[stats->errors_total % ERRORS_KEPT];
    struct error_entry fresh = {
        .reason = reason, .wall_ms = clock_wall_ms(), .port = port, .op = op, .len = len};
    uint32_t seq = entry->seq + 1;

    memcpy(fresh.source, source, sizeof(fresh.source));
    fresh.seq = seq;
    /* Readers in other processes check seq before (acquire) and after (fence) their copy. */
    __atomic_store_n(&entry->seq, seq, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy((char *)entry + sizeof(seq), (char *)&fresh + sizeof(seq), sizeof(fresh) - sizeof(seq));
    __atomic_store_n(&entry->seq, seq + 1, __ATOMIC_RELEASE);
    counter_add(&stats->errors_total, 1);
}
