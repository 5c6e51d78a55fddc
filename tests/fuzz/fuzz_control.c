/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a client of the control socket, in pieces, and as a configuration file. Every line
 * that comes back is one JSON object with "ok"; no more lines come back than went in, but one for a
 * line too long. Every value that a file sets is canonical, and the dataplane takes it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/ctl.h"
#include "controlplane/option_value.h"
#include "dataplane/settings.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

/* ---- The socket ------------------------------------------------------------------------------ */

static struct loop loop;
static struct ctl ctl;
static uint64_t later;

/* Answers, refuses with what it was sent, or waits for the next request of anybody. */
static void request_come(void *owner, uint64_t token, const json_t *request)
{
    const char *text = json_string_value(json_object_get(request, "command"));

    (void)owner;
    if (json_object_get(request, "later")) {
        later = token;
        return;
    }
    if (text)
        ctl_refuse(&ctl, token, "%s: unknown command", text);
    else
        ctl_answer(&ctl, token, json_deep_copy(request));
}

static char dir[] = "/tmp/kvrail-fuzz-XXXXXX";

static void socket_close(void)
{
    char lock[64];

    ctl_close(&ctl);
    snprintf(lock, sizeof(lock), "%s/socket.lock", dir);
    unlink(lock);
    rmdir(dir);
}

static void socket_open(void)
{
    char path[64];

    CHECK(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/socket", dir);
    CHECK(ctl_open(&ctl, &loop, path, request_come, NULL) == 0);
    atexit(socket_close);
}

static unsigned lines_in(const uint8_t *bytes, size_t size)
{
    unsigned lines = 0;

    for (size_t i = 0; i < size; i++)
        lines += bytes[i] == '\n';
    return lines;
}

static void answer_check(const char *line, size_t len)
{
    json_t *answer = json_loadb(line, len, 0, NULL);

    CHECK(json_is_object(answer) && json_is_boolean(json_object_get(answer, "ok")));
    CHECK(
        json_object_get(answer, json_is_true(json_object_get(answer, "ok")) ? "result" : "error"));
    json_decref(answer);
}

/* What came back; how many lines. */
static unsigned hear(int fd)
{
    static char text[1 << 20];
    static size_t len;
    unsigned lines = 0;
    ssize_t n;

    for (len = 0; len < sizeof(text); len += (size_t)n) {
        n = recv(fd, text + len, sizeof(text) - len, MSG_DONTWAIT);
        if (n <= 0)
            break;
    }
    for (char *at = text, *end; (end = memchr(at, '\n', len - (size_t)(at - text))); at = end + 1) {
        answer_check(at, (size_t)(end - at));
        lines++;
    }
    return lines;
}

static void converse(const uint8_t *bytes, size_t size)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned asked = lines_in(bytes, size), heard = 0;
    size_t piece = size ? bytes[0] * 16u + 1 : 1;

    CHECK(connect(fd, (const struct sockaddr *)&ctl.address, sizeof(ctl.address)) == 0);
    loop_turn(&loop, 0);
    while (size > 0) {
        size_t n = piece < size ? piece : size;

        if (send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT) <= 0)
            break;
        bytes += n;
        size -= n;
        loop_turn(&loop, 0);
        heard += hear(fd);
    }
    ctl_answer(&ctl, later, json_null());
    for (unsigned i = 0; i < 4; i++)
        loop_turn(&loop, 0);
    heard += hear(fd);
    CHECK(heard <= asked + 1);
    close(fd);
    while (loop.nr_watches > 1)
        loop_turn(&loop, 0);
}

/* ---- The file -------------------------------------------------------------------------------- */

static void value_check(unsigned id, const struct option_value *value, struct settings *settings)
{
    const struct option_row *row = &option_table[id];
    struct option_value again = {.source = value->source};
    char why[160], wire[OPTION_TEXT_MAX];

    CHECK(option_parse(row, value->text, &again, why, sizeof(why)) == 0);
    CHECK(again.number == value->number && strcmp(again.text, value->text) == 0);
    option_wire(row, value, wire, sizeof(wire));
    if (row->dataplane && id != OPT_hugepages)
        CHECK(settings_set(settings, row->name, wire, false) == 0);
}

static void read_as_file(const uint8_t *bytes, size_t size)
{
    static int fd = -1;
    struct settings settings;
    struct options options;
    struct faults faults = {0};
    char path[32];

    if (fd < 0)
        fd = memfd_create("config", MFD_CLOEXEC);
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    options_defaults(&options);
    settings_defaults(&settings);
    CHECK((options_read_file(path, &options, &faults) == 0) == (faults.count == 0));
    options_check(&options, &faults);
    for (unsigned id = 0; id < NR_OPTIONS; id++)
        value_check(id, &options.values[id], &settings);
    for (unsigned i = 0; i < faults.count; i++)
        CHECK(faults.lines[i][0]);
    faults_free(&faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (ctl.loop == NULL)
        socket_open();
    if (size == 0)
        return 0;
    if (bytes[0] & 1)
        read_as_file(bytes + 1, size - 1);
    else
        converse(bytes + 1, size - 1);
    return 0;
}
