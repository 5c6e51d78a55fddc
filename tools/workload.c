/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations are made one after the other, their requests then put in order of time. */
#include "tools/workload.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/units.h"

void workload_defaults(struct workload *w)
{
    *w = (struct workload){
        .conversations = 200,
        .turns = 6,
        .prompts = 4,
        .prompt_blocks = 8,
        .question_blocks = 3,
        .answer_blocks = 1,
        .seconds = 60,
        .think_s = 20,
        .block_tokens = 512,
        .seed = 1,
    };
}

static const struct {
    const char *name;
    size_t at;
    uint64_t min, max;
} settings[] = {
    {"conversations", offsetof(struct workload, conversations), 1, 10000000},
    {"turns", offsetof(struct workload, turns), 1, 1000},
    {"prompts", offsetof(struct workload, prompts), 1, 1000000},
    {"prompt-blocks", offsetof(struct workload, prompt_blocks), 0, 10000},
    {"question-blocks", offsetof(struct workload, question_blocks), 1, 1000},
    {"answer-blocks", offsetof(struct workload, answer_blocks), 0, 1000},
    {"seconds", offsetof(struct workload, seconds), 0, 1000000},
    {"think", offsetof(struct workload, think_s), 0, 100000},
    {"block-tokens", offsetof(struct workload, block_tokens), 1, 1000000},
    {"seed", offsetof(struct workload, seed), 0, UINT32_MAX},
};

static int parse_setting(const char *text, size_t len, struct workload *w)
{
    const char *equals = memchr(text, '=', len);
    char number[32];
    uint64_t value;
    size_t digits;

    if (!equals)
        return -EINVAL;
    digits = len - (size_t)(equals + 1 - text);
    if (digits >= sizeof(number))
        return -EINVAL;
    memcpy(number, equals + 1, digits);
    number[digits] = 0;
    if (units_parse_count(number, &value))
        return -EINVAL;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (strlen(settings[i].name) == (size_t)(equals - text) &&
            memcmp(settings[i].name, text, (size_t)(equals - text)) == 0 &&
            value >= settings[i].min && value <= settings[i].max) {
            memcpy((char *)w + settings[i].at, &value, sizeof(value));
            return 0;
        }
    return -EINVAL;
}

int workload_parse(const char *text, struct workload *w, const char **wrong)
{
    while (*text) {
        size_t len = strcspn(text, ",");

        *wrong = text;
        if (parse_setting(text, len, w))
            return -EINVAL;
        text += len;
        text += *text == ',';
    }
    return 0;
}

struct conversation {
    uint64_t *chain; /* ids of all blocks so far */
    uint64_t nr, room, at_ms;
};

struct maker {
    const struct workload *w;
    struct rng rng;
    struct zipf prompts;
    uint64_t next_id; /* below prompts * prompt_blocks: the system prompts' */
};

static int grow(struct maker *m, struct conversation *c, uint64_t blocks)
{
    if (c->nr + blocks > TRACE_IDS_MAX)
        blocks = TRACE_IDS_MAX - c->nr;
    if (c->nr + blocks > c->room) {
        uint64_t room = 2 * (c->nr + blocks);
        uint64_t *chain = reallocarray(c->chain, room, sizeof(*chain));

        if (!chain)
            return -ENOMEM;
        c->chain = chain;
        c->room = room;
    }
    while (blocks-- > 0)
        c->chain[c->nr++] = m->next_id++;
    return 0;
}

/* 1 to 2 * mean - 1 for means above 0. */
static uint64_t around(struct maker *m, uint64_t mean)
{
    return mean ? 1 + rng_below(&m->rng, 2 * mean - 1) : 0;
}

static uint64_t exponential_ms(struct maker *m, uint64_t mean_s)
{
    return (uint64_t)(-log(1 - rng_unit(&m->rng)) * (double)mean_s * 1000);
}

static int ask(struct maker *m, const struct conversation *c, uint64_t answer_blocks,
               struct trace *trace)
{
    struct trace_request r = {.timestamp_ms = c->at_ms, .nr_ids = (uint32_t)c->nr};
    int rc;

    r.input_length = c->nr * m->w->block_tokens;
    r.output_length = answer_blocks * m->w->block_tokens;
    r.ids = malloc(c->nr * sizeof(*r.ids));
    if (!r.ids)
        return -ENOMEM;
    memcpy(r.ids, c->chain, c->nr * sizeof(*r.ids));
    rc = trace_add(trace, &r);
    if (rc)
        free(r.ids);
    return rc;
}

static int converse(struct maker *m, struct trace *trace)
{
    const struct workload *w = m->w;
    struct conversation c = {.at_ms = rng_below(&m->rng, w->seconds * 1000 + 1)};
    uint64_t ids = m->next_id, prompt = zipf_next(&m->prompts, &m->rng);
    int rc;

    m->next_id = prompt * w->prompt_blocks;
    rc = grow(m, &c, w->prompt_blocks);
    m->next_id = ids;
    for (uint64_t turn = 0; rc == 0 && turn < w->turns; turn++) {
        uint64_t answer = around(m, w->answer_blocks);

        rc = grow(m, &c, around(m, w->question_blocks));
        if (rc == 0)
            rc = ask(m, &c, answer, trace);
        if (rc == 0)
            rc = grow(m, &c, answer);
        c.at_ms += 1 + exponential_ms(m, w->think_s);
    }
    free(c.chain);
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_request *x = a, *y = b;

    if (x->timestamp_ms != y->timestamp_ms)
        return x->timestamp_ms < y->timestamp_ms ? -1 : 1;
    return (x->ids[x->nr_ids - 1] > y->ids[y->nr_ids - 1]) -
           (x->ids[x->nr_ids - 1] < y->ids[y->nr_ids - 1]);
}

int workload_make(const struct workload *w, struct trace *trace)
{
    struct maker m = {.w = w, .next_id = w->prompts * w->prompt_blocks};
    int rc = 0;

    *trace = (struct trace){0};
    rng_seed(&m.rng, w->seed);
    zipf_setup(&m.prompts, w->prompts, 1);
    for (uint64_t i = 0; rc == 0 && i < w->conversations; i++)
        rc = converse(&m, trace);
    if (trace->nr)
        qsort(trace->requests, trace->nr, sizeof(*trace->requests), by_time);
    return rc;
}
