/* SPDX-License-Identifier: Apache-2.0 */
/* Takes away blocks whose time has passed. Lookups never return them anyway; this frees their
 * memory. A bitmap of the blocks that expire at all is swept a little in every turn. */
#include "shm/partition_state.h"

#define SWEEP_PERIOD_MS 30000u
#define SWEEP_WORDS_MAX 512u
#define UNLINK_BURST 64u

void expiry_note(struct partition *partition, uint32_t block)
{
    if (desc_of(partition, block)->flags & DESC_EXPIRES)
        bit_set(partition->expiring, block);
    else
        bit_clear(partition->expiring, block);
}

uint32_t sweep_due(struct sweep *sweep, uint32_t nr_words, uint32_t period_ms, uint32_t now_ms)
{
    uint32_t passed = now_ms - sweep->since_ms;
    uint64_t due;

    if (!passed)
        return 0;
    if (passed > period_ms)
        passed = period_ms;
    due = (uint64_t)nr_words * passed / period_ms;
    if (due)
        sweep->since_ms = now_ms;
    return (uint32_t)(due < SWEEP_WORDS_MAX ? due : SWEEP_WORDS_MAX);
}

static unsigned word_expire(struct partition *partition, uint32_t word)
{
    unsigned gone = 0;

    for (uint64_t bits = partition->expiring[word]; bits; bits &= bits - 1) {
        uint32_t block = word * 64 + (uint32_t)__builtin_ctzll(bits);

        if (is_expired(desc_of(partition, block), partition->now_ms)) {
            block_unlink(partition, block, UNLINK_EXPIRED);
            gone++;
        }
    }
    return gone;
}

bool expiry_poll(struct partition *partition)
{
    struct sweep *sweep = &partition->expiry_sweep;
    uint32_t since_ms = sweep->since_ms;
    uint32_t due = sweep_due(sweep, partition->nr_words, SWEEP_PERIOD_MS, partition->now_ms);
    unsigned gone = 0;

    for (; due && gone < UNLINK_BURST; due--) {
        gone += word_expire(partition, sweep->word);
        sweep->word = sweep->word + 1 < partition->nr_words ? sweep->word + 1 : 0;
    }
    if (due) /* cut short: go on in the next turn */
        sweep->since_ms = since_ms;
    return gone;
}
