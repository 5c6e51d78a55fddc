/* SPDX-License-Identifier: Apache-2.0 */
/* The hex examples of docs/protocol.md: requests that the parser takes, replies that are sound. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/parse.h"
#include "message.h"

struct example {
    char title[80];
    uint8_t bytes[512];
    uint32_t len;
};

/* A line "    0010  01 02 ..": adds its bytes. */
static bool add_line(struct example *example, const char *line)
{
    unsigned off, byte;
    int at;

    if (sscanf(line, "    %4x  %n", &off, &at) != 1 || at != 10 || off != example->len)
        return false;
    for (line += at; example->len < off + 16 && sscanf(line, "%2x%n", &byte, &at) == 1 && at == 2;
         line += 3) {
        example->bytes[example->len++] = (uint8_t)byte;
        if (line[2] != ' ')
            break;
    }
    return true;
}

static unsigned read_examples(struct example *examples, unsigned max)
{
    FILE *page = fopen(PROTOCOL_PAGE, "r");
    char line[256];
    unsigned n = 0;

    cr_assert_not_null(page, "%s", PROTOCOL_PAGE);
    while (n < max && fgets(line, sizeof(line), page)) {
        struct example *example = &examples[n];

        if (strstr(line, " request") || strstr(line, " reply"))
            snprintf(example->title, sizeof(example->title), "%.79s", line);
        if (strncmp(line, "    0000  ", 10) == 0) {
            example->len = 0;
            while (add_line(example, line) && fgets(line, sizeof(line), page))
                ;
            n++;
        }
    }
    fclose(page);
    return n;
}

Test(protocol_page, examples_are_what_the_server_takes_and_sends)
{
    struct parse_env env = {.seed = 0x17a2fdb608fbbbfaull, .nr_partitions = 2};
    static struct example examples[16];
    unsigned n = read_examples(examples, 16);

    cr_assert_eq(n, 6);
    for (unsigned i = 0; i < n; i++) {
        struct request request = {.msg = examples[i].bytes, .len = examples[i].len};
        struct parse_fault fault;
        struct kvr_hdr hdr;

        if (strstr(examples[i].title, " reply")) {
            cr_assert(reply_ok(examples[i].bytes, examples[i].len, &hdr), "%s", examples[i].title);
            continue;
        }
        cr_assert_eq(parse_request(&env, &request, &fault), PARSE_OK, "%s", examples[i].title);
        if (request.ops[0].key)
            cr_assert_eq(request.ops[0].partition, request.hdr.partition);
    }
}
