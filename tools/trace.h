/* SPDX-License-Identifier: Apache-2.0 */
/* Traces of LLM requests, one JSON object a line: timestamp (ms), input_length, output_length
 * (tokens), hash_ids (one id per block of the prompt, in order; equal ids are equal prefixes). The
 * form of the Mooncake trace release. One thread loads; loaded traces are read-only. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_IDS_MAX 65536u      /* blocks of one request */
#define TRACE_LINE_MAX (4u << 20) /* bytes */

struct trace_request {
    uint64_t timestamp_ms, input_length, output_length;
    uint64_t *ids;
    uint32_t nr_ids;
};

struct trace {
    struct trace_request *requests;
    size_t nr, room;
    uint64_t nr_blocks; /* of all requests, repeats counted */
};

struct trace_error {
    size_t line; /* 0: not a line, but the file */
    char reason[160];
};

/* Parses one line; on success the caller frees request->ids. 0, -EINVAL with error->reason set,
 * or -ENOMEM. hash_ids must be there; what else is missing is 0; unknown members are ignored. */
[[nodiscard]] int trace_parse_line(const char *line, size_t len, struct trace_request *request,
                                   struct trace_error *error);
/* Loads at most limit requests (0 = all). Empty lines are skipped. 0 or -errno with *error set; the
 * trace must be destroyed either way. */
[[nodiscard]] int trace_read(FILE *in, size_t limit, struct trace *trace,
                             struct trace_error *error);
/* Adds a request; the trace owns its ids from then on. */
[[nodiscard]] int trace_add(struct trace *trace, const struct trace_request *request);
int trace_write(FILE *out, const struct trace *trace);
/* How many different ids there are; 0 without memory. */
uint64_t trace_distinct(const struct trace *trace);
void trace_destroy(struct trace *trace);
