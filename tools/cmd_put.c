/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail put`: stores one value from a file, standard input or the command line. One thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/cli.h"
#include "tools/keys.h"
#include "tools/units.h"

enum { OPT_HEX = CLI_LONG, OPT_TTL, OPT_ADD, OPT_LAYOUT, OPT_PARENT, OPT_COST, OPT_REUSE };

static const struct cli_option options[] = {
    {'v', "value", "TEXT", "the value itself, instead of a file"},
    {OPT_HEX, "hex", NULL, "KEY (and --parent) are given in hexadecimal"},
    {OPT_TTL, "ttl", "TIME", "forget the value after TIME: 10s, 5m, 1h"},
    {OPT_ADD, "add", NULL, "only if the key is not stored yet"},
    {OPT_LAYOUT, "layout", "N", "what the bytes are: a registered layout; default 0 = plain"},
    {OPT_PARENT, "parent", "KEY", "the block before this one in its chain"},
    {OPT_COST, "cost", "TIME", "what it costs to compute the value again"},
    {OPT_REUSE, "reuse", "TIME", "when it is expected to be used again"},
    {0}};

struct put_request {
    const char *value, *parent;
    bool hex, add;
    uint64_t ttl_ns, layout, cost_ns, reuse_ns;
};

static int parse(struct cli *cli, int argc, char **argv, struct put_request *r)
{
    const uint64_t most_ms = UINT32_MAX * NS_PER_MS;
    bool good = true;
    int id;

    while (good && (id = cli_getopt(cli, argc, argv)) != CLI_END) {
        switch (id) {
        case CLI_STOP:
            return cli->exit_code;
        case 'v':
            r->value = optarg;
            break;
        case OPT_HEX:
            r->hex = true;
            break;
        case OPT_ADD:
            r->add = true;
            break;
        case OPT_PARENT:
            r->parent = optarg;
            break;
        case OPT_TTL:
            good = cli_duration(cli, "ttl", optarg, 0, NS_PER_MS, KVR_TTL_MAX_MS * NS_PER_MS,
                                &r->ttl_ns);
            break;
        case OPT_LAYOUT:
            good = cli_number(cli, "layout", optarg, 0, UINT16_MAX, &r->layout);
            break;
        case OPT_COST:
            good = cli_duration(cli, "cost", optarg, 0, NS_PER_US, UINT32_MAX * NS_PER_US,
                                &r->cost_ns);
            break;
        case OPT_REUSE:
            good = cli_duration(cli, "reuse", optarg, 0, NS_PER_MS, most_ms, &r->reuse_ns);
            break;
        }
    }
    if (!good)
        return CLI_USAGE;
    if (argc - optind < 1 || argc - optind > 2)
        return cli_usage(cli, "a KEY and at most one FILE are needed");
    if (argc - optind == 2 && r->value)
        return cli_usage(cli, "either a FILE or --value");
    return -1;
}

/* Reads all of in, at most one byte more than a value may have. 0 or -errno. */
static int read_all(FILE *in, char **bytes, size_t *len)
{
    size_t room = 0;

    *bytes = NULL;
    *len = 0;
    for (;;) {
        if (*len == room) {
            char *more;

            room = room ? 4 * room : 64u << 10;
            more = realloc(*bytes, room);
            if (!more)
                return -ENOMEM;
            *bytes = more;
        }
        *len += fread(*bytes + *len, 1, room - *len, in);
        if (ferror(in))
            return -EIO;
        if (feof(in) || *len > KVR_VALUE_MAX)
            return 0;
    }
}

static int read_value(const struct cli *cli, const char *path, char **bytes, size_t *len)
{
    bool standard = !path || strcmp(path, "-") == 0;
    FILE *in = standard ? stdin : fopen(path, "re");
    int rc = in ? read_all(in, bytes, len) : -errno;

    if (in && !standard)
        fclose(in);
    if (rc)
        return cli_error(cli, CLI_ERROR, "%s: %s", standard ? "standard input" : path,
                         strerror(-rc));
    if (*len > KVR_VALUE_MAX)
        return cli_error(cli, CLI_ERROR, "%s: longer than %s, the most a value may have",
                         standard ? "standard input" : path, units_bytes(KVR_VALUE_MAX).s);
    return CLI_OK;
}

static int put(struct cli *cli, const struct put_request *r, const struct key_list *keys,
               const void *value, size_t len)
{
    struct kvr_call call = {.op = KVR_CALL_PUT, .key = keys->keys[0], .value = value};
    struct kvr_client *client = NULL;
    enum kvr_status status;
    char key[256];
    int code = cli_open(cli, NULL, &client);

    if (code != CLI_OK)
        return code;
    call.value_len = len;
    call.add = r->add;
    call.layout = (uint16_t)r->layout;
    call.ttl_ms = (uint32_t)(r->ttl_ns / NS_PER_MS);
    call.hint.cost_us = (uint32_t)(r->cost_ns / NS_PER_US);
    call.hint.reuse_ms = (uint32_t)(r->reuse_ns / NS_PER_MS);
    if (r->parent)
        call.hint.parent = kvr_key_id(client, keys->keys[1].data, keys->keys[1].len);
    status = kvr_do(client, &call);
    if (status != KVR_OK) {
        code = cli_fail(cli, status, "%s", key_text(&call.key, key, sizeof(key)));
    } else if (cli->json) {
        char ref[20];
        json_t *object = json_object();

        snprintf(ref, sizeof(ref), "0x%llx", (unsigned long long)call.ref);
        key_json(object, &call.key);
        json_object_set_new(object, "value_len", json_integer((json_int_t)len));
        json_object_set_new(object, "ref", json_string(ref));
        json_object_set_new(object, "latency_us", json_real((double)call.latency_ns / 1e3));
        cli_print_json(object);
    }
    kvr_close(client);
    return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct put_request r = {0};
    struct key_list keys = {0};
    char *bytes = NULL;
    size_t len = 0;
    int code = parse(cli, argc, argv, &r);

    if (code >= 0)
        return code;
    if (keys_add(&keys, argv[optind], r.hex) || (r.parent && keys_add(&keys, r.parent, r.hex))) {
        keys_destroy(&keys);
        return cli_usage(cli, "'%s': not a key of 1 to %u bytes", keys.nr ? r.parent : argv[optind],
                         KVR_KEY_MAX);
    }
    code = r.value ? CLI_OK : read_value(cli, argv[optind + 1], &bytes, &len);
    if (code == CLI_OK)
        code = put(cli, &r, &keys, r.value ? r.value : bytes, r.value ? strlen(r.value) : len);
    free(bytes);
    keys_destroy(&keys);
    return code;
}

const struct cli_command cmd_put = {
    .name = "put",
    .arguments = "KEY [FILE]",
    .summary = "store a value from a file or standard input",
    .options = options,
    .details =
        "Without FILE, or with '-', the value is read from standard input. A value has 0 bytes\n"
        "to 64 MiB. Storing a key again replaces its value, unless --add is given.\n"
        "\nExamples:\n"
        "  kvrail put greeting --value hello --ttl 10m\n"
        "  kvrail put block-7 block.bin --parent block-6 --cost 12ms\n"
        "  head -c 1M /dev/urandom | kvrail put noise\n",
    .run = run,
};
