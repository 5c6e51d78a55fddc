/* SPDX-License-Identifier: Apache-2.0 */
/* Settings that change while running: the dataplane is told first, and what it refuses is not
 * taken over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/kvraild.h"

struct change {
    struct kvraild *kvraild;
    enum option_id id;
    struct option_value value;
    void (*done)(struct kvraild *kvraild, uint64_t token, enum option_id id, const char *error);
    uint64_t token;
};

/* Frees the change. */
static void change_end(struct change *change, const char *error)
{
    struct kvraild *kvraild = change->kvraild;
    const char *name = option_table[change->id].name;

    if (error) {
        log_warning("%s: stays %s: %s", name, options_text(&kvraild->options, change->id), error);
    } else {
        kvraild->options.values[change->id] = change->value;
        if (change->id == OPT_log_level)
            log_set_level((enum log_level)change->value.number);
        log_info("%s: now %s", name, change->value.text);
    }
    if (change->done)
        change->done(kvraild, change->token, change->id, error);
    free(change);
}

static void answered(void *owner, uint64_t token, const char *error)
{
    (void)token;
    change_end(owner, error);
}

void live_set(struct kvraild *kvraild, enum option_id id, const struct option_value *value,
              void (*done)(struct kvraild *kvraild, uint64_t token, enum option_id id,
                           const char *error),
              uint64_t token)
{
    struct change *change = malloc(sizeof(*change));
    struct child_command command = {.done = answered, .owner = change};
    char wire[OPTION_TEXT_MAX], line[OPTION_TEXT_MAX + 64];
    int rc;

    if (!change) {
        if (done)
            done(kvraild, token, id, "no memory");
        return;
    }
    *change = (struct change){kvraild, id, *value, done, token};
    option_wire(&option_table[id], value, wire, sizeof(wire));
    snprintf(line, sizeof(line), "set %s %s", option_table[id].name, wire);
    /* With no dataplane there is nobody to tell: the next one starts with it. */
    if (!option_table[id].dataplane || kvraild->child.state == CHILD_DOWN) {
        change_end(change, NULL);
        return;
    }
    rc = child_send(&kvraild->child, line, &command);
    if (rc == -ENOTCONN)
        change_end(change, "the dataplane is starting or stopping; try again");
    else if (rc < 0)
        change_end(change, "the dataplane is busy with other changes; try again");
}

void live_reload(struct kvraild *kvraild)
{
    struct faults faults = {0};
    struct config fresh;

    log_info("reading the configuration again");
    if (config_load(kvraild->argc, kvraild->argv, environ, &fresh, &faults) < 0) {
        for (unsigned i = 0; i < faults.count; i++)
            log_error("%s", faults.lines[i]);
        log_error("configuration has faults; nothing was changed");
        faults_free(&faults);
        return;
    }
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_value *value = &fresh.options.values[id];

        if (strcmp(value->text, kvraild->config.options.values[id].text) == 0)
            continue;
        if (option_table[id].live)
            live_set(kvraild, id, value, NULL, 0);
        else
            log_warning("%s: %s takes effect after a restart", option_table[id].name, value->text);
    }
    kvraild->config = fresh;
}
