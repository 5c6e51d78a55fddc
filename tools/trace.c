/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing traces; every line is hostile until checked. */
#include "tools/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static int refuse(struct trace_error *error, const char *reason)
{
    snprintf(error->reason, sizeof(error->reason), "%s", reason);
    return -EINVAL;
}

static bool parse_number(const json_t *object, const char *name, uint64_t *value)
{
    const json_t *number = json_object_get(object, name);

    *value = 0;
    if (!number)
        return true;
    if (!json_is_number(number) || !(json_number_value(number) >= 0) ||
        json_number_value(number) > 1e15)
        return false;
    *value = (uint64_t)json_number_value(number);
    return true;
}

static int parse_ids(const json_t *array, struct trace_request *request, struct trace_error *error)
{
    size_t n = json_array_size(array);

    if (!json_is_array(array))
        return refuse(error, "hash_ids is missing or no array");
    if (n > TRACE_IDS_MAX)
        return refuse(error, "hash_ids has more than 65536 ids");
    request->ids = malloc((n ? n : 1) * sizeof(*request->ids));
    if (!request->ids)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(array, i);

        if (!json_is_integer(id) || json_integer_value(id) < 0) {
            free(request->ids);
            request->ids = NULL;
            return refuse(error, "hash_ids holds something that is no integer of 0 or more");
        }
        request->ids[i] = (uint64_t)json_integer_value(id);
    }
    request->nr_ids = (uint32_t)n;
    return 0;
}

static int parse_object(const json_t *object, struct trace_request *request,
                        struct trace_error *error)
{
    if (!json_is_object(object))
        return refuse(error, "not a JSON object");
    if (!parse_number(object, "timestamp", &request->timestamp_ms))
        return refuse(error, "timestamp is no number of 0 to 10^15");
    if (!parse_number(object, "input_length", &request->input_length))
        return refuse(error, "input_length is no number of 0 to 10^15");
    if (!parse_number(object, "output_length", &request->output_length))
        return refuse(error, "output_length is no number of 0 to 10^15");
    return parse_ids(json_object_get(object, "hash_ids"), request, error);
}

int trace_parse_line(const char *line, size_t len, struct trace_request *request,
                     struct trace_error *error)
{
    json_error_t json_error;
    json_t *object;
    int rc;

    *request = (struct trace_request){0};
    if (len > TRACE_LINE_MAX)
        return refuse(error, "longer than 4 MiB");
    object = json_loadb(line, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &json_error);
    if (!object)
        return refuse(error, json_error.text);
    rc = parse_object(object, request, error);
    json_decref(object);
    return rc;
}

int trace_add(struct trace *trace, const struct trace_request *request)
{
    if (trace->nr == trace->room) {
        size_t room = trace->room ? 2 * trace->room : 256;
        struct trace_request *requests =
            reallocarray(trace->requests, room, sizeof(*trace->requests));

        if (!requests)
            return -ENOMEM;
        trace->requests = requests;
        trace->room = room;
    }
    trace->requests[trace->nr++] = *request;
    trace->nr_blocks += request->nr_ids;
    return 0;
}

static int read_line(const char *line, size_t len, struct trace *trace, struct trace_error *error)
{
    struct trace_request request;
    int rc = trace_parse_line(line, len, &request, error);

    if (rc == 0) {
        rc = trace_add(trace, &request);
        if (rc)
            free(request.ids);
    }
    return rc;
}

/* The next line without its end into line, which has room for TRACE_LINE_MAX + 1 bytes; a longer
 * one is cut there. Its length, or -1 at the end of the file. */
static ssize_t next_line(FILE *in, char *line)
{
    size_t len = 0;
    int c;

    while ((c = getc_unlocked(in)) != EOF && c != '\n')
        if (len <= TRACE_LINE_MAX)
            line[len++] = (char)c;
    if (c == EOF && len == 0)
        return -1;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    return (ssize_t)len;
}

static int read_lines(FILE *in, size_t limit, struct trace *trace, struct trace_error *error,
                      char *line)
{
    ssize_t len;

    while ((!limit || trace->nr < limit) && (len = next_line(in, line)) >= 0) {
        int rc = 0;

        error->line++;
        if (len > 0)
            rc = read_line(line, (size_t)len, trace, error);
        if (rc)
            return rc;
    }
    if (!ferror(in))
        return 0;
    error->line = 0;
    return -EIO;
}

int trace_read(FILE *in, size_t limit, struct trace *trace, struct trace_error *error)
{
    char *line = malloc(TRACE_LINE_MAX + 1);
    int rc;

    *trace = (struct trace){0};
    *error = (struct trace_error){0};
    rc = line ? read_lines(in, limit, trace, error, line) : -ENOMEM;
    if (rc && !error->reason[0])
        snprintf(error->reason, sizeof(error->reason), "%s", strerror(-rc));
    free(line);
    return rc;
}

int trace_write(FILE *out, const struct trace *trace)
{
    for (size_t i = 0; i < trace->nr; i++) {
        const struct trace_request *r = &trace->requests[i];

        fprintf(out,
                "{\"timestamp\": %" PRIu64 ", \"input_length\": %" PRIu64
                ", \"output_length\": %" PRIu64 ", \"hash_ids\": [",
                r->timestamp_ms, r->input_length, r->output_length);
        for (uint32_t k = 0; k < r->nr_ids; k++)
            fprintf(out, "%s%" PRIu64, k ? ", " : "", r->ids[k]);
        fputs("]}\n", out);
    }
    return fflush(out) || ferror(out) ? -EIO : 0;
}

uint64_t trace_distinct(const struct trace *trace)
{
    uint64_t distinct = 0, size = 64;
    uint64_t *seen; /* id + 1, open addressing; ids are below 2^63 */

    while (size < 2 * trace->nr_blocks)
        size *= 2;
    seen = calloc(size, sizeof(*seen));
    if (!seen)
        return 0;
    for (size_t i = 0; i < trace->nr; i++)
        for (uint32_t k = 0; k < trace->requests[i].nr_ids; k++) {
            uint64_t id = trace->requests[i].ids[k];
            uint64_t at = hash_key(&id, sizeof(id), 0).lo & (size - 1);

            while (seen[at] && seen[at] != id + 1)
                at = (at + 1) & (size - 1);
            distinct += seen[at] == 0;
            seen[at] = id + 1;
        }
    free(seen);
    return distinct;
}

void trace_destroy(struct trace *trace)
{
    for (size_t i = 0; i < trace->nr; i++)
        free(trace->requests[i].ids);
    free(trace->requests);
    *trace = (struct trace){0};
}
