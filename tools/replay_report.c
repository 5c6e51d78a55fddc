/* SPDX-License-Identifier: Apache-2.0 */
/* What `kvrail replay` counted, as a table and as JSON. */
#include <stdio.h>

#include "tools/replay.h"
#include "tools/table.h"
#include "tools/units.h"

void replay_merge(struct replay_counts *dst, const struct replay_counts *src)
{
    dst->requests += src->requests;
    dst->blocks += src->blocks;
    dst->hits += src->hits;
    dst->lost += src->lost;
    dst->beyond += src->beyond;
    dst->late += src->late;
    dst->bytes_in += src->bytes_in;
    dst->bytes_out += src->bytes_out;
    tally_merge(&dst->match, &src->match);
    tally_merge(&dst->get, &src->get);
    tally_merge(&dst->put, &src->put);
    tally_merge(&dst->touch, &src->touch);
    tally_merge(&dst->prefix, &src->prefix);
    tally_merge(&dst->request, &src->request);
}

uint64_t replay_corrupt(const struct replay_counts *c)
{
    return c->get.corrupt;
}

static void sum_up(const struct replay_counts *c, struct tally *all)
{
    tally_merge(all, &c->match);
    tally_merge(all, &c->get);
    tally_merge(all, &c->put);
    tally_merge(all, &c->touch);
}

uint64_t replay_errors(const struct replay_counts *c)
{
    return tally_errors(&c->match) + tally_errors(&c->get) + tally_errors(&c->put) +
           tally_errors(&c->touch);
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

json_t *replay_json(const struct replay_counts *c, double seconds)
{
    struct tally all = {0};
    double s = seconds > 0 ? seconds : 1e-9;

    sum_up(c, &all);
    return json_pack(
        "{s:f,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:I,s:f,s:f,s:f,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o}",
        "seconds", seconds, "requests", (json_int_t)c->requests, "blocks", (json_int_t)c->blocks,
        "hits", (json_int_t)c->hits, "lost", (json_int_t)c->lost, "beyond", (json_int_t)c->beyond,
        "hit_ratio", ratio(c->hits, c->blocks), "requests_s", (double)c->requests / s, "ops",
        (json_int_t)all.ops, "ops_s", (double)all.ops / s, "get_bytes_s", (double)c->bytes_in / s,
        "put_bytes_s", (double)c->bytes_out / s, "corrupt", (json_int_t)replay_corrupt(c), "errors",
        (json_int_t)replay_errors(c), "late", (json_int_t)c->late, "match",
        tally_json(&c->match, s), "get", tally_json(&c->get, s), "put", tally_json(&c->put, s),
        "touch", tally_json(&c->touch, s), "prefix", tally_json(&c->prefix, s), "request",
        tally_json(&c->request, s));
}

void replay_print(const struct replay_counts *c, double seconds)
{
    struct table *table = table_create(TALLY_COLUMNS);
    double s = seconds > 0 ? seconds : 1e-9;
    struct tally all = {0};
    char errors[512];

    sum_up(c, &all);
    printf("requests %llu in %.1f s, blocks %llu, hits %llu, hit ratio %.4f\n",
           (unsigned long long)c->requests, seconds, (unsigned long long)c->blocks,
           (unsigned long long)c->hits, ratio(c->hits, c->blocks));
    tally_row(table, "match", &c->match, s);
    tally_row(table, "get", &c->get, s);
    tally_row(table, "put", &c->put, s);
    tally_row(table, "touch", &c->touch, s);
    tally_row(table, "all", &all, s);
    tally_row(table, "(prefix)", &c->prefix, s);
    tally_row(table, "(request)", &c->request, s);
    table_print(table, stdout);
    table_destroy(table);
    printf("%s ops/s, in %s, out %s, corrupt blocks %llu\n", units_count((double)all.ops / s).s,
           units_rate((double)c->bytes_in / s).s, units_rate((double)c->bytes_out / s).s,
           (unsigned long long)replay_corrupt(c));
    if (c->lost)
        printf("%llu blocks were evicted between MATCH and GET\n", (unsigned long long)c->lost);
    if (c->late)
        printf("%llu requests began late: more --threads, or a lower --speed\n",
               (unsigned long long)c->late);
    tally_error_text(&all, errors, sizeof(errors));
    if (errors[0])
        printf("errors: %s\n", errors);
}
