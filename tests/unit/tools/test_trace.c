/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/trace.h"

static int parse(const char *line, struct trace_request *r)
{
    struct trace_error error = {0};
    int rc = trace_parse_line(line, strlen(line), r, &error);

    cr_assert(rc == 0 || error.reason[0], "a refusal says why: %s", line);
    return rc;
}

static int load(const char *text, size_t limit, struct trace *trace, struct trace_error *error)
{
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    int rc = trace_read(in, limit, trace, error);

    fclose(in);
    return rc;
}

Test(trace, reads_a_line)
{
    struct trace_request r;

    cr_assert_eq(parse("{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, "
                       "\"hash_ids\": [46, 47, 9223372036854775807]}",
                       &r),
                 0);
    cr_assert_eq(r.timestamp_ms, 27482);
    cr_assert_eq(r.input_length, 6955);
    cr_assert_eq(r.output_length, 52);
    cr_assert_eq(r.nr_ids, 3);
    cr_assert_eq(r.ids[0], 46);
    cr_assert_eq(r.ids[2], INT64_MAX);
    free(r.ids);
}

Test(trace, takes_lines_with_members_missing_or_unknown)
{
    struct trace_request r;

    cr_assert_eq(parse("{\"hash_ids\":[],\"model\":{\"a\":[1]}}", &r), 0);
    cr_assert_eq(r.nr_ids, 0);
    cr_assert_eq(r.timestamp_ms, 0);
    free(r.ids);
    cr_assert_eq(parse("{\"hash_ids\":[1],\"timestamp\":12.75}", &r), 0);
    cr_assert_eq(r.timestamp_ms, 12);
    free(r.ids);
}

Test(trace, refuses_hostile_lines)
{
    static const char *const bad[] = {
        "null",
        "7",
        "[]",
        "\"x\"",
        "{",
        "{}",
        "{\"hash_ids\": 7}",
        "{\"hash_ids\": {\"0\": 1}}",
        "{\"hash_ids\": [1.5]}",
        "{\"hash_ids\": [-1]}",
        "{\"hash_ids\": [\"1\"]}",
        "{\"hash_ids\": [null]}",
        "{\"hash_ids\": [[1]]}",
        "{\"hash_ids\": [18446744073709551616]}",
        "{\"hash_ids\": [1]} {\"hash_ids\": [2]}",
        "{\"hash_ids\": [1], \"hash_ids\": [2]}",
        "{\"hash_ids\": [1], \"timestamp\": -1}",
        "{\"hash_ids\": [1], \"timestamp\": \"now\"}",
        "{\"hash_ids\": [1], \"timestamp\": 1e300}",
        "{\"hash_ids\": [1], \"input_length\": true}",
        "{\"hash_ids\": [1], \"output_length\": []}",
        "{\"hash_ids\": [1,]}",
        "{\"hash_ids\": [NaN]}",
    };
    struct trace_request r;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(parse(bad[i], &r), -EINVAL, "%s", bad[i]);
        cr_assert_null(r.ids);
    }
}

Test(trace, refuses_deep_nesting_long_lines_and_too_many_ids)
{
    size_t len = TRACE_LINE_MAX + 16;
    char *line = malloc(len + 1);
    struct trace_error error;
    struct trace_request r;
    size_t used;

    memset(line, '[', len);
    cr_assert_eq(trace_parse_line(line, 1 << 20, &r, &error), -EINVAL);
    memset(line, ' ', len);
    cr_assert_eq(trace_parse_line(line, len, &r, &error), -EINVAL);
    used = (size_t)sprintf(line, "{\"hash_ids\": [1");
    for (unsigned i = 0; i < TRACE_IDS_MAX; i++)
        used += (size_t)sprintf(line + used, ",%u", i);
    used += (size_t)sprintf(line + used, "]}");
    cr_assert_eq(trace_parse_line(line, used, &r, &error), -EINVAL);
    free(line);
}

Test(trace, survives_random_bytes_and_mutations)
{
    static const char good[] = "{\"timestamp\": 1, \"input_length\": 6955, \"hash_ids\": [46, 47]}";
    struct rng rng;

    rng_seed(&rng, 7);
    for (int i = 0; i < 50000; i++) {
        char line[sizeof(good)];
        struct trace_error error;
        struct trace_request r;

        memcpy(line, good, sizeof(good));
        for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--)
            line[rng_below(&rng, sizeof(good) - 1)] = (char)rng_next(&rng);
        if (trace_parse_line(line, rng_below(&rng, sizeof(good)), &r, &error) == 0) {
            cr_assert_leq(r.nr_ids, TRACE_IDS_MAX);
            free(r.ids);
        }
    }
}

Test(trace, reads_a_file_and_names_the_bad_line)
{
    struct trace trace;
    struct trace_error error;

    cr_assert_eq(load("{\"hash_ids\":[1,2]}\r\n\n{\"hash_ids\":[1,3]}", 0, &trace, &error), 0);
    cr_assert_eq(trace.nr, 2);
    cr_assert_eq(trace.nr_blocks, 4);
    cr_assert_eq(trace_distinct(&trace), 3);
    trace_destroy(&trace);
    cr_assert_eq(load("{\"hash_ids\":[1]}\n\n{\"hash_ids\":1}\n", 0, &trace, &error), -EINVAL);
    cr_assert_eq(error.line, 3);
    trace_destroy(&trace);
    cr_assert_eq(load("{\"hash_ids\":[1]}\n{\"hash_ids\":1}\n", 1, &trace, &error), 0,
                 "what is beyond the limit is not read");
    cr_assert_eq(trace.nr, 1);
    trace_destroy(&trace);
}

Test(trace, cuts_lines_without_end)
{
    size_t len = 2 * TRACE_LINE_MAX;
    char *text = malloc(len + 1);
    struct trace trace;
    struct trace_error error;

    memset(text, '1', len);
    text[len] = 0;
    cr_assert_eq(load(text, 0, &trace, &error), -EINVAL);
    cr_assert_eq(error.line, 1);
    trace_destroy(&trace);
    free(text);
}

Test(trace, reads_back_what_it_writes)
{
    struct trace trace, again;
    struct trace_error error;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    cr_assert_eq(load("{\"hash_ids\":[5,9223372036854775807],\"timestamp\":3}\n{\"hash_ids\":[]}",
                      0, &trace, &error),
                 0);
    cr_assert_eq(trace_write(out, &trace), 0);
    fclose(out);
    cr_assert_eq(load(text, 0, &again, &error), 0, "%s", error.reason);
    cr_assert_eq(again.nr, 2);
    cr_assert_eq(again.requests[0].timestamp_ms, 3);
    cr_assert_eq(again.requests[0].ids[1], INT64_MAX);
    trace_destroy(&trace);
    trace_destroy(&again);
    free(text);
}
