/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML file: one mapping of keys to plain values. Read with libyaml, the parser under libcyaml,
 * because only its events carry line numbers and let all mistakes be reported, not just the first.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "controlplane/options.h"

#define DEPTH_MAX 16 /* the parser's time grows with the square of the depth */

struct reading {
    const char *path;
    struct options *options;
    struct faults *faults;
    yaml_parser_t parser;
    char where[PATH_MAX + 16];
    unsigned seen[NR_OPTIONS]; /* line of each key, 0 = not yet */
};

static const char *where(struct reading *reading, const yaml_mark_t *mark)
{
    snprintf(reading->where, sizeof(reading->where), "%s:%zu: ", reading->path, mark->line + 1);
    return reading->where;
}

static bool next(struct reading *reading, yaml_event_t *event)
{
    const yaml_parser_t *parser = &reading->parser;

    if (yaml_parser_parse(&reading->parser, event))
        return true;
    faults_add(reading->faults, "%snot YAML: %s", where(reading, &parser->problem_mark),
               parser->problem ? parser->problem : "unreadable");
    return false;
}

/* Reads to the end of what the event began. */
static bool skip(struct reading *reading, const yaml_event_t *start)
{
    bool opened =
        start->type == YAML_MAPPING_START_EVENT || start->type == YAML_SEQUENCE_START_EVENT;
    yaml_event_t event;
    int depth = opened;

    while (depth > 0) {
        if (!next(reading, &event))
            return false;
        if (depth > DEPTH_MAX) {
            faults_add(reading->faults, "%snested too deep", where(reading, &event.start_mark));
            yaml_event_delete(&event);
            return false;
        }
        depth += event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        depth -= event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        yaml_event_delete(&event);
    }
    return true;
}

static bool is_null(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;

    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static void take(struct reading *reading, const yaml_event_t *key, const yaml_event_t *value)
{
    const char *name = (const char *)key->data.scalar.value;
    const struct option_row *option = option_find(name);
    unsigned *seen = option ? &reading->seen[option - option_table] : NULL;
    const char *at = where(reading, &key->start_mark);

    if (seen && *seen) {
        faults_add(reading->faults, "%s%s: set before, in line %u", at, name, *seen);
        return;
    }
    if (seen)
        *seen = (unsigned)key->start_mark.line + 1;
    if (option && value->type != YAML_SCALAR_EVENT)
        faults_add(reading->faults, "%s%s: must be one value, not a list or mapping", at, name);
    else if (option && strlen((const char *)value->data.scalar.value) != value->data.scalar.length)
        faults_add(reading->faults, "%s%s: holds a NUL character", at, name);
    else if (options_set(reading->options, at, name,
                         value->type != YAML_SCALAR_EVENT || is_null(value)
                             ? ""
                             : (const char *)value->data.scalar.value,
                         SOURCE_FILE, reading->faults) < 0)
        return;
}

/* One key with its value; false at the end of the mapping or of what can be parsed. */
static bool read_pair(struct reading *reading)
{
    yaml_event_t key, value;
    bool more;

    if (!next(reading, &key))
        return false;
    if (key.type == YAML_MAPPING_END_EVENT) {
        yaml_event_delete(&key);
        return false;
    }
    if (key.type != YAML_SCALAR_EVENT) {
        faults_add(reading->faults, "%sa key must be a name", where(reading, &key.start_mark));
        yaml_event_delete(&key);
        return false;
    }
    more = next(reading, &value);
    if (more) {
        take(reading, &key, &value);
        more = skip(reading, &value);
        yaml_event_delete(&value);
    }
    yaml_event_delete(&key);
    return more;
}

static void read_document(struct reading *reading)
{
    yaml_event_t event;
    yaml_event_type_t type;

    do {
        if (!next(reading, &event))
            return;
        type = event.type;
        if (type == YAML_MAPPING_START_EVENT)
            while (read_pair(reading)) {
            }
        else if (type == YAML_SEQUENCE_START_EVENT ||
                 (type == YAML_SCALAR_EVENT && !is_null(&event)))
            faults_add(reading->faults, "%smust hold lines such as 'cache_size: 4GiB'",
                       where(reading, &event.start_mark));
        yaml_event_delete(&event);
    } while (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT);
}

int options_read_file(const char *path, struct options *options, struct faults *faults)
{
    struct reading reading = {.path = path, .options = options, .faults = faults};
    unsigned before = faults->count;
    FILE *file = fopen(path, "re");

    if (!file) {
        faults_add(faults, "%s: cannot be read: %s", path, strerror(errno));
        return -EINVAL;
    }
    if (yaml_parser_initialize(&reading.parser)) {
        yaml_parser_set_input_file(&reading.parser, file);
        read_document(&reading);
        yaml_parser_delete(&reading.parser);
    } else {
        faults_add(faults, "%s: no memory", path);
    }
    fclose(file);
    return faults->count == before ? 0 : -EINVAL;
}
