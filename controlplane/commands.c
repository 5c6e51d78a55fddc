/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked on the control socket: the table, and the small answers. docs/control.md is its
 * manual. */
#include <string.h>
#include <unistd.h>

#include "controlplane/kvraild.h"
#include "controlplane/option_value.h"

#define ERRORS_DEFAULT 20
#define PINS_DEFAULT 100
#define PINS_MAX 10000

static void run_status(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, status_build(kvraild));
}

static void run_stat(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, stat_build(kvraild));
}

static void run_errors(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    const json_t *last = json_object_get(request, "last");
    json_int_t n = last ? json_integer_value(last) : ERRORS_DEFAULT;

    if ((last && !json_is_integer(last)) || n < 0 || n > 100000)
        ctl_refuse(&kvraild->ctl, token, "last: must be a number from 0 to 100000");
    else
        ctl_answer(&kvraild->ctl, token, errors_build(kvraild, (unsigned)n));
}

static void run_latency(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, latency_build(kvraild));
}

static json_t *option_build(const struct kvraild *kvraild, const struct option_row *option)
{
    const struct option_value *value = &kvraild->options.values[option - option_table];
    char allowed[256];

    option_allowed(option, allowed, sizeof(allowed));
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:s, s:s, s:s}", "key", option->name, "value",
                     value->text, "default", option->init, "source",
                     option_source_name(value->source), "live", option->live, "type",
                     option_type_name(option->type), "allowed", allowed, "group", option->group,
                     "help", option->help);
}

json_t *config_build(const struct kvraild *kvraild)
{
    json_t *array = json_array();

    for (unsigned id = 0; id < NR_OPTIONS; id++)
        json_array_append_new(array, option_build(kvraild, &option_table[id]));
    return json_pack("{s:s, s:o}", "file", kvraild->config.file, "options", array);
}

static void run_config(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, config_build(kvraild));
}

static void config_changed(struct kvraild *kvraild, uint64_t token, enum option_id id,
                           const char *error)
{
    if (error)
        ctl_refuse(&kvraild->ctl, token, "%s: %s", option_table[id].name, error);
    else
        ctl_answer(&kvraild->ctl, token, option_build(kvraild, &option_table[id]));
}

static void run_config_set(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    const char *key = json_string_value(json_object_get(request, "key"));
    const char *value = json_string_value(json_object_get(request, "value"));
    const struct option_row *option = key ? option_find(key) : NULL;
    struct options changed = kvraild->options;
    struct faults faults = {0};

    if (!key || !value) {
        ctl_refuse(&kvraild->ctl, token, "config-set needs the texts key and value");
        return;
    }
    if (options_set(&changed, "", key, value, SOURCE_LIVE, &faults) < 0)
        ctl_refuse(&kvraild->ctl, token, "%s", faults.count ? faults.lines[0] : "refused");
    else if (!option->live)
        ctl_refuse(&kvraild->ctl, token,
                   "%s: cannot change while running; set it in the configuration file and restart "
                   "kvraild",
                   option->name);
    else
        live_set(kvraild, (enum option_id)(option - option_table),
                 &changed.values[option - option_table], config_changed, token);
    faults_free(&faults);
}

static void run_ping(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token,
               json_pack("{s:s, s:i}", "version", KVRAIL_VERSION, "pid", (int)getpid()));
}

static void run_restart(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    const json_t *cold = json_object_get(request, "cold");

    if (cold && !json_is_boolean(cold))
        ctl_refuse(&kvraild->ctl, token, "cold: must be true or false");
    else
        supervise_restart(kvraild, token, json_is_true(cold));
}

static void run_client_list(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, clients_build(&kvraild->clients));
}

/* The number of a client in the request; 0 if there is none and that is allowed, else refused. */
static bool client_id(struct kvraild *kvraild, uint64_t token, const json_t *request, bool needed,
                      uint32_t *id)
{
    const json_t *given = json_object_get(request, "client");
    json_int_t number = json_integer_value(given);

    *id = 0;
    if (!given && !needed)
        return true;
    if (!json_is_integer(given) || number < 1 || number > CLIENT_ID_MAX) {
        ctl_refuse(&kvraild->ctl, token, "client: must be the number of a client");
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

static void run_client_drop(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    uint32_t id;

    if (!client_id(kvraild, token, request, true, &id))
        return;
    if (clients_drop(&kvraild->clients, id, "dropped as asked for") < 0)
        ctl_refuse(&kvraild->ctl, token, "client %u: there is none", id);
    else
        ctl_answer(&kvraild->ctl, token, json_pack("{s:I}", "client", (json_int_t)id));
}

static void run_pins(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    const json_t *limit = json_object_get(request, "limit");
    json_int_t n = limit ? json_integer_value(limit) : PINS_DEFAULT;
    uint32_t id;

    if (!client_id(kvraild, token, request, false, &id))
        return;
    if ((limit && !json_is_integer(limit)) || n < 0 || n > PINS_MAX)
        ctl_refuse(&kvraild->ctl, token, "limit: must be a number from 0 to %d", PINS_MAX);
    else
        ctl_answer(&kvraild->ctl, token, pins_build(&kvraild->clients, id, (unsigned)n));
}

static void run_gpu_list(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, gpus_build(kvraild));
}

static void run_stop(struct kvraild *kvraild, uint64_t token, const json_t *request)
{
    (void)request;
    ctl_answer(&kvraild->ctl, token, json_pack("{s:i}", "pid", (int)getpid()));
    supervise_stop(kvraild);
}

static const struct command {
    const char *name;
    void (*run)(struct kvraild *kvraild, uint64_t token, const json_t *request);
} commands[] = {
    {"status", run_status},
    {"stat", run_stat},
    {"errors", run_errors},
    {"latency", run_latency},
    {"config", run_config},
    {"config-set", run_config_set},
    {"client-list", run_client_list},
    {"client-drop", run_client_drop},
    {"pins", run_pins},
    {"gpu-list", run_gpu_list},
    {"ping", run_ping},
    {"stop", run_stop},
    {"restart", run_restart},
};

void commands_run(void *owner, uint64_t token, const json_t *request)
{
    struct kvraild *kvraild = owner;
    const char *name = json_string_value(json_object_get(request, "command"));

    for (unsigned i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0) {
            commands[i].run(kvraild, token, request);
            return;
        }
    if (name)
        ctl_refuse(&kvraild->ctl, token, "%.64s: unknown command", name);
    else
        ctl_refuse(&kvraild->ctl, token, "no command in the request");
}
