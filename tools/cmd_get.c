/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail get`: fetches one value, or a view of it, to standard output or a file. One thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/keys.h"
#include "tools/units.h"

enum { OPT_HEX = CLI_LONG, OPT_OFF, OPT_LEN, OPT_STRIDE, OPT_COUNT, OPT_META, OPT_REF };

static const struct cli_option options[] = {
    {'o', "output", "FILE", "write the bytes to FILE instead of standard output"},
    {OPT_HEX, "hex", NULL, "KEY is given in hexadecimal"},
    {'m', "meta", NULL, "no bytes, only what is known of the block"},
    {OPT_OFF, "off", "BYTES", "start of the view; default 0"},
    {OPT_LEN, "len", "BYTES", "bytes of the view, or of each of its pieces; default: to the end"},
    {OPT_STRIDE, "stride", "BYTES", "distance of the pieces' starts (with --count)"},
    {OPT_COUNT, "count", "N", "pieces of the view; default 1"},
    {OPT_REF, "if-ref", "REF", "only if the block is this very one (see --meta)"},
    {0}};

struct get_request {
    const char *output;
    bool hex, meta;
    uint64_t off, len, stride, count, ref;
};

static int parse(struct cli *cli, int argc, char **argv, struct get_request *r)
{
    const uint64_t most = KVR_VALUE_MAX;
    bool good = true;
    int id;

    while (good && (id = cli_getopt(cli, argc, argv)) != CLI_END) {
        switch (id) {
        case CLI_STOP:
            return cli->exit_code;
        case 'o':
            r->output = optarg;
            break;
        case 'm':
            r->meta = true;
            break;
        case OPT_HEX:
            r->hex = true;
            break;
        case OPT_OFF:
            good = cli_bytes(cli, "off", optarg, 0, most, &r->off);
            break;
        case OPT_LEN:
            good = cli_bytes(cli, "len", optarg, 1, most, &r->len);
            break;
        case OPT_STRIDE:
            good = cli_bytes(cli, "stride", optarg, 1, most, &r->stride);
            break;
        case OPT_COUNT:
            good = cli_number(cli, "count", optarg, 1, UINT16_MAX, &r->count);
            break;
        case OPT_REF:
            good = cli_reference(cli, "if-ref", optarg, &r->ref);
            break;
        }
    }
    if (!good)
        return CLI_USAGE;
    if (argc - optind != 1)
        return cli_usage(cli, "one KEY is needed");
    if (r->count > 1 && (!r->len || !r->stride))
        return cli_usage(cli, "--count needs --len and --stride");
    return -1;
}

/* Asks again with a larger buffer as long as the answer is that it is too small. */
static enum kvr_status fetch(struct kvr_client *client, struct kvr_call *call)
{
    enum kvr_status status = KVR_NO_MEMORY;
    size_t room = 256u << 10;

    for (int tries = 0; tries < 8; tries++) {
        char *buffer = realloc(call->buffer, room);

        if (!buffer)
            return KVR_NO_MEMORY;
        call->buffer = buffer;
        call->buffer_len = room;
        status = kvr_do(client, call);
        if (status != KVR_BUFFER_TOO_SMALL)
            return status;
        room = call->result_len > room ? call->result_len : 2 * room;
    }
    return status;
}

static bool is_text(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f)
            return false;
    }
    return true;
}

static const char *tier_name(unsigned tier)
{
    return tier == KVR_TIER_GPU ? "gpu" : tier == KVR_TIER_HOST ? "host" : "disk";
}

static json_t *meta_json(const struct kvr_call *call)
{
    char ref[20];
    json_t *object = json_object();

    snprintf(ref, sizeof(ref), "0x%llx", (unsigned long long)call->ref);
    key_json(object, &call->key);
    json_object_set_new(object, "value_len", json_integer(call->stored_len));
    json_object_set_new(object, "crc32c", json_integer(call->stored_crc));
    json_object_set_new(object, "ttl_left_ms", json_integer(call->ttl_left_ms));
    json_object_set_new(object, "layout", json_integer(call->stored_layout));
    json_object_set_new(object, "tier", json_string(tier_name(call->tier)));
    json_object_set_new(object, "ref", json_string(ref));
    json_object_set_new(object, "latency_us", json_real((double)call->latency_ns / 1e3));
    return object;
}

static void print_meta(const struct kvr_call *call)
{
    char key[256];

    printf("key      %s\n", key_text(&call->key, key, sizeof(key)));
    printf("length   %u (%s)\n", call->stored_len, units_bytes(call->stored_len).s);
    printf("crc32c   0x%08x\n", call->stored_crc);
    if (call->ttl_left_ms)
        printf("expires  in %s\n", units_duration((uint64_t)call->ttl_left_ms * 1000000).s);
    else
        puts("expires  never");
    printf("layout   %u\n", call->stored_layout);
    printf("tier     %s\n", tier_name(call->tier));
    printf("ref      0x%llx\n", (unsigned long long)call->ref);
}

static json_t *bytes_json(json_t *object, const char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    json_t *text = json_stringn(bytes, len); /* NULL unless UTF-8 */
    char *hex;

    if (text) {
        json_object_set_new(object, "value", text);
        return object;
    }
    hex = malloc(2 * len + 1);
    if (!hex)
        return object;
    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[(unsigned char)bytes[i] >> 4];
        hex[2 * i + 1] = digits[(unsigned char)bytes[i] & 15];
    }
    json_object_set_new(object, "value_hex", json_stringn_nocheck(hex, 2 * len));
    free(hex);
    return object;
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int store_file(const struct cli *cli, const char *path, const struct kvr_call *call)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc = fd < 0 ? -errno : write_all(fd, call->buffer, call->result_len);

    if (fd >= 0 && close(fd) && rc == 0)
        rc = -errno;
    return rc ? cli_error(cli, CLI_ERROR, "%s: %s", path, strerror(-rc)) : CLI_OK;
}

static int show(const struct cli *cli, const struct get_request *r, const struct kvr_call *call)
{
    int code = CLI_OK;

    if (r->output && !r->meta)
        code = store_file(cli, r->output, call);
    if (code == CLI_OK && cli->json) {
        json_t *object = meta_json(call);

        if (!r->meta)
            json_object_set_new(object, "len", json_integer((json_int_t)call->result_len));
        cli_print_json(r->output || r->meta ? object
                                            : bytes_json(object, call->buffer, call->result_len));
    } else if (code == CLI_OK && r->meta) {
        print_meta(call);
    } else if (code == CLI_OK && !r->output) {
        int rc = write_all(STDOUT_FILENO, call->buffer, call->result_len);

        if (rc)
            code = cli_error(cli, CLI_ERROR, "standard output: %s", strerror(-rc));
        else if (isatty(STDOUT_FILENO) && !is_text(call->buffer, call->result_len) && !cli->quiet)
            fputs("\nkvrail get: that was binary; -o FILE stores it\n", stderr);
    }
    return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct get_request r = {.count = 1};
    struct kvr_call call = {.op = KVR_CALL_GET};
    struct kvr_client *client = NULL;
    struct key_list keys = {0};
    enum kvr_status status;
    char key[256];
    int code = parse(cli, argc, argv, &r);

    if (code >= 0)
        return code;
    if (keys_add(&keys, argv[optind], r.hex))
        return cli_usage(cli, "'%s': not a key of 1 to %u bytes", argv[optind], KVR_KEY_MAX);
    call.key = keys.keys[0];
    call.meta_only = r.meta;
    call.off = (uint32_t)r.off;
    call.len = (uint32_t)r.len;
    call.stride = (uint32_t)r.stride;
    call.count = (uint32_t)r.count;
    call.if_ref = r.ref;
    code = cli_open(cli, NULL, &client);
    if (code == CLI_OK) {
        status = r.meta ? kvr_do(client, &call) : fetch(client, &call);
        code = status == KVR_OK
                   ? show(cli, &r, &call)
                   : cli_fail(cli, status, "%s", key_text(&call.key, key, sizeof(key)));
    }
    kvr_close(client);
    free(call.buffer);
    keys_destroy(&keys);
    return code;
}

const struct cli_command cmd_get = {
    .name = "get",
    .arguments = "KEY",
    .summary = "fetch a value, or part of it",
    .options = options,
    .details =
        "The value goes to standard output byte for byte. With --json it is \"value\" if it is\n"
        "UTF-8 text, else \"value_hex\"; with -o only what is known of the block is printed.\n"
        "A view of several pieces is [off, off+len), [off+stride, off+stride+len), ...: one\n"
        "layer, or a range of heads, of a stored block.\n"
        "\nExamples:\n"
        "  kvrail get greeting\n"
        "  kvrail get --hex 00ff17 -o block.bin\n"
        "  kvrail get block --off 4KiB --len 1KiB --stride 16KiB --count 8 | xxd\n",
    .run = run,
};
