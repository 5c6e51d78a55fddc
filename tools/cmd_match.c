/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail match`: how long a prefix of a chain of keys is stored, and where. One thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tools/cli.h"
#include "tools/each_key.h"
#include "tools/table.h"
#include "tools/units.h"

enum { OPT_HEX = CLI_LONG, OPT_LEASE };

static const struct cli_option options[] = {
    {'f', "file", "FILE", "also the keys in FILE, one a line ('-' = standard input)"},
    {OPT_HEX, "hex", NULL, "keys are given in hexadecimal"},
    {OPT_LEASE, "lease", "TIME", "keep what is found from eviction for TIME"},
    {0}};

static const char *tier_name(const struct kvr_match *m)
{
    if (!m->present)
        return "-";
    return m->tier == KVR_TIER_GPU ? "gpu" : m->tier == KVR_TIER_HOST ? "host" : "disk";
}

static void print_text(const struct kvr_call *call, bool quiet)
{
    struct table *table = table_create("#|key|stored|>size|tier");
    char key[72];

    printf("prefix %u of %u, present %u\n", call->prefix, call->nr_keys, call->nr_present);
    for (uint32_t i = 0; i < call->nr_keys && !quiet; i++) {
        const struct kvr_match *m = &call->matches[i];

        table_row(table, "%u\t%s\t%s\t%s\t%s", i, key_text(&call->keys[i], key, sizeof(key)),
                  m->present ? "yes" : "no", m->present ? units_bytes(m->value_len).s : "-",
                  tier_name(m));
    }
    if (!quiet)
        table_print(table, stdout);
    table_destroy(table);
}

static void print_json(const struct kvr_call *call)
{
    json_t *keys = json_array();

    for (uint32_t i = 0; i < call->nr_keys; i++) {
        const struct kvr_match *m = &call->matches[i];
        json_t *object = json_object();

        key_json(object, &call->keys[i]);
        json_object_set_new(object, "present", json_boolean(m->present));
        if (m->present) {
            json_object_set_new(object, "value_len", json_integer(m->value_len));
            json_object_set_new(object, "tier", json_string(tier_name(m)));
            json_object_set_new(object, "pinned", json_boolean(m->pinned));
        }
        json_array_append_new(keys, object);
    }
    cli_print_json(json_pack("{s:I,s:I,s:I,s:I,s:f,s:o}", "nr_keys", (json_int_t)call->nr_keys,
                             "prefix", (json_int_t)call->prefix, "present",
                             (json_int_t)call->nr_present, "pinned", (json_int_t)call->nr_pinned,
                             "latency_us", (double)call->latency_ns / 1e3, "keys", keys));
}

static int match(struct cli *cli, const struct key_list *list, uint32_t lease_ms)
{
    struct kvr_call call = {.op = KVR_CALL_MATCH, .keys = list->keys, .lease_ms = lease_ms};
    struct kvr_client *client = NULL;
    enum kvr_status status;
    int code = cli_open(cli, NULL, &client);

    if (code != CLI_OK)
        return code;
    call.nr_keys = (uint32_t)list->nr;
    call.matches = calloc(list->nr, sizeof(*call.matches));
    status = call.matches ? kvr_do(client, &call) : KVR_NO_MEMORY;
    if (status != KVR_OK)
        code = cli_fail(cli, status, "match of %zu keys", list->nr);
    else if (cli->json)
        print_json(&call);
    else
        print_text(&call, cli->quiet);
    free(call.matches);
    kvr_close(client);
    return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct key_list list = {0};
    const char *file = NULL;
    uint64_t lease_ns = 0;
    bool hex = false;
    int id, code;

    while ((id = cli_getopt(cli, argc, argv)) > 0) {
        if (id == 'f')
            file = optarg;
        else if (id == OPT_HEX)
            hex = true;
        else if (!cli_duration(cli, "lease", optarg, 0, NS_PER_MS, UINT16_MAX * NS_PER_MS,
                               &lease_ns))
            return CLI_USAGE;
    }
    if (id == CLI_STOP)
        return cli->exit_code;
    code = collect_keys(cli, argv + optind, file, hex, &list);
    if (code == CLI_OK)
        code = match(cli, &list, (uint32_t)(lease_ns / NS_PER_MS));
    keys_destroy(&list);
    return code;
}

const struct cli_command cmd_match = {
    .name = "match",
    .arguments = "KEY...",
    .summary = "how long a prefix of a chain of keys is stored, and where",
    .options = options,
    .details = "Keys are a chain from its start. \"prefix\" is how many of the first keys are all\n"
               "stored, \"present\" how many are stored at all. Exit status 0 whatever is found.\n"
               "-q shows the first line only.\n"
               "\nExamples:\n"
               "  kvrail match block-0 block-1 block-2\n"
               "  kvrail match --json -f chain.txt | jq .prefix\n",
    .run = run,
};
