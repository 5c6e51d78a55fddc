/* SPDX-License-Identifier: Apache-2.0 */
/* Collects keys, runs their calls in batches. */
#include "tools/each_key.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 256u

int collect_keys(struct cli *cli, char **words, const char *file, bool hex, struct key_list *list)
{
    size_t line = 0;
    int rc;

    for (; *words; words++) {
        rc = keys_add(list, *words, hex);
        if (rc)
            return cli_usage(cli, "'%s': not a key of 1 to %u bytes", *words, KVR_KEY_MAX);
    }
    rc = file ? keys_read(list, file, hex, &line) : 0;
    if (rc && line)
        return cli_error(cli, CLI_ERROR, "%s:%zu: not a key of 1 to %u bytes", file, line,
                         KVR_KEY_MAX);
    if (rc)
        return cli_error(cli, CLI_ERROR, "%s: %s", file, strerror(-rc));
    return list->nr ? CLI_OK : cli_usage(cli, "a KEY is needed");
}

static int show(const struct cli *cli, const struct kvr_call *call)
{
    char key[256];

    if (cli->json) {
        json_t *object = json_object();

        key_json(object, &call->key);
        json_object_set_new(object, "status", json_string(kvr_status_name(call->status)));
        cli_print_json(object);
    } else if (call->status != KVR_OK) {
        cli_fail(cli, call->status, "%s", key_text(&call->key, key, sizeof(key)));
    }
    return cli_exit_code(call->status);
}

static int run_batches(struct cli *cli, struct kvr_client *client, const struct key_list *list,
                       const struct kvr_call *like)
{
    struct kvr_call *calls = calloc(BATCH, sizeof(*calls));
    int code = CLI_OK;

    if (!calls)
        return cli_fail(cli, KVR_NO_MEMORY, "%zu keys", list->nr);
    for (size_t at = 0; at < list->nr; at += BATCH) {
        size_t n = list->nr - at < BATCH ? list->nr - at : BATCH;

        for (size_t i = 0; i < n; i++) {
            calls[i] = *like;
            calls[i].key = list->keys[at + i];
        }
        kvr_do_batch(client, calls, n);
        for (size_t i = 0; i < n; i++) {
            int one = show(cli, &calls[i]);
            code = one > code ? one : code;
        }
    }
    free(calls);
    return code;
}

int each_key(struct cli *cli, char **words, const char *file, bool hex, const struct kvr_call *like)
{
    struct kvr_client *client = NULL;
    struct key_list list = {0};
    int code = collect_keys(cli, words, file, hex, &list);

    if (code == CLI_OK)
        code = cli_open(cli, NULL, &client);
    if (code == CLI_OK)
        code = run_batches(cli, client, &list, like);
    kvr_close(client);
    keys_destroy(&list);
    return code;
}
