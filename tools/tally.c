/* SPDX-License-Identifier: Apache-2.0 */
/* Counting and showing the ends of operations. */
#include "tools/tally.h"

#include <stdio.h>

#include <kvrail/client.h>

#include "base/counters.h"
#include "tools/table.h"
#include "tools/units.h"

void tally_merge(struct tally *dst, const struct tally *src)
{
    dst->ops += src->ops;
    dst->bytes += src->bytes;
    dst->corrupt += src->corrupt;
    for (unsigned i = 0; i < TALLY_STATUSES; i++)
        dst->ended[i] += src->ended[i];
    histogram_merge(&dst->latency, &src->latency);
}

uint64_t tally_errors(const struct tally *t)
{
    return t->ops - t->ended[KVR_OK] - t->ended[KVR_MISS] - t->ended[KVR_EXISTS];
}

static const struct {
    const char *name;
    double quantile;
} quantiles[] = {{"p50_us", 0.5},  {"p90_us", 0.9},     {"p95_us", 0.95},
                 {"p99_us", 0.99}, {"p99_9_us", 0.999}, {"p99_99_us", 0.9999}};

json_t *tally_latency_json(const struct histogram *h)
{
    json_t *object = json_object();

    json_object_set_new(object, "count", json_integer((json_int_t)h->count));
    json_object_set_new(object, "mean_us",
                        json_real(h->count ? (double)h->sum / (double)h->count / 1e3 : 0));
    for (unsigned i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        json_object_set_new(object, quantiles[i].name,
                            json_real((double)histogram_quantile(h, quantiles[i].quantile) / 1e3));
    json_object_set_new(object, "max_us", json_real((double)h->max / 1e3));
    return object;
}

json_t *tally_json(const struct tally *t, double seconds)
{
    json_t *ended = json_object();

    for (unsigned i = 0; i < TALLY_STATUSES; i++)
        if (t->ended[i])
            json_object_set_new(ended, kvr_status_name((enum kvr_status)i),
                                json_integer((json_int_t)t->ended[i]));
    return json_pack("{s:I,s:f,s:I,s:f,s:I,s:I,s:o,s:o}", "ops", (json_int_t)t->ops, "ops_s",
                     seconds > 0 ? (double)t->ops / seconds : 0.0, "bytes", (json_int_t)t->bytes,
                     "bytes_s", seconds > 0 ? (double)t->bytes / seconds : 0.0, "corrupt",
                     (json_int_t)t->corrupt, "errors", (json_int_t)tally_errors(t), "ended", ended,
                     "latency", tally_latency_json(&t->latency));
}

void tally_row(struct table *table, const char *name, const struct tally *t, double seconds)
{
    const struct histogram *h = &t->latency;

    if (t->ops == 0)
        return;
    table_row(table, "%s\t%llu\t%s\t%s\t%s\t%s\t%s\t%s\t%s", name, (unsigned long long)t->ops,
              units_count(seconds > 0 ? (double)t->ops / seconds : 0).s,
              t->bytes ? units_rate(seconds > 0 ? (double)t->bytes / seconds : 0).s : "-",
              units_duration(histogram_quantile(h, 0.5)).s,
              units_duration(histogram_quantile(h, 0.95)).s,
              units_duration(histogram_quantile(h, 0.99)).s,
              units_duration(histogram_quantile(h, 0.999)).s, units_duration(h->max).s);
}

void tally_error_text(const struct tally *t, char *text, size_t size)
{
    size_t used = 0;

    text[0] = 0;
    for (unsigned i = 0; i < TALLY_STATUSES && used < size; i++)
        if (t->ended[i] && i != KVR_OK && i != KVR_MISS && i != KVR_EXISTS)
            used += (size_t)snprintf(text + used, size - used, "%s%s %llu", used ? ", " : "",
                                     kvr_status_name((enum kvr_status)i),
                                     (unsigned long long)t->ended[i]);
}
