/* SPDX-License-Identifier: Apache-2.0 */
/* Makes traces of conversations: each starts with one of a few shared system prompts (zipf) and
 * grows turn by turn, so that every turn's prompt has the one before it as its prefix. */
#pragma once

#include "tools/trace.h"

struct workload {
    uint64_t conversations, turns;           /* turns: of each */
    uint64_t prompts, prompt_blocks;         /* shared system prompts, blocks of each */
    uint64_t question_blocks, answer_blocks; /* of each turn, on average */
    uint64_t seconds;                        /* in which conversations begin */
    uint64_t think_s;                        /* between turns, on average */
    uint64_t block_tokens, seed;
};

void workload_defaults(struct workload *w);
/* "conversations=200,turns=6,prompts=4,.." over what *w holds. 0, or -EINVAL with *wrong pointing
 * into text. */
[[nodiscard]] int workload_parse(const char *text, struct workload *w, const char **wrong);
/* 0 or -ENOMEM; the caller destroys the trace. The same settings make the same trace. */
[[nodiscard]] int workload_make(const struct workload *w, struct trace *trace);
