/* SPDX-License-Identifier: Apache-2.0 */
/* A stdio stream whose writes go to log_debug, and whose warnings and errors go to a small buffer,
 * the first ones as far as they fit: those tell the cause. DPDK writes one line at a time, under
 * the stream's lock, from any of its threads. */
#include "dataplane/eth/eal_log.h"

#include <errno.h>
#include <rte_log.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static FILE *stream;
static char errors[320], taken[sizeof(errors)];

/* Lines that only say that something failed. */
static bool says_nothing(const char *line, size_t len)
{
    static const char *const empty[] = {"EAL: Driver cannot attach", "EAL: Failed to attach"};

    for (unsigned i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
        if (len >= strlen(empty[i]) && !memcmp(line, empty[i], strlen(empty[i])))
            return true;
    return false;
}

/* Without the name of the function in front. */
static const char *without_function(const char *line, size_t *len)
{
    const char *colon = memmem(line, *len, "(): ", 4);

    if (!colon)
        return line;
    *len -= (size_t)(colon + 4 - line);
    return colon + 4;
}

static void remember(const char *line, size_t len)
{
    size_t used = strlen(errors);

    if (says_nothing(line, len) || used + 16 > sizeof(errors))
        return;
    line = without_function(line, &len);
    if (used) {
        memcpy(errors + used, "; ", 2);
        used += 2;
    }
    if (len > sizeof(errors) - 1 - used)
        len = sizeof(errors) - 1 - used;
    memcpy(errors + used, line, len);
    errors[used + len] = '\0';
}

static ssize_t write_line(void *cookie, const char *bytes, size_t size)
{
    size_t len = size;

    (void)cookie;
    while (len && strchr("\n .", bytes[len - 1]))
        len--;
    if (len) {
        log_debug("dpdk: %.*s", (int)len, bytes);
        if (rte_log_cur_msg_loglevel() <= (int)RTE_LOG_WARNING)
            remember(bytes, len);
    }
    return (ssize_t)size;
}

int eal_log_open(void)
{
    stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_line});
    if (!stream)
        return -ENOMEM;
    setvbuf(stream, NULL, _IOLBF, 0);
    return rte_openlog_stream(stream) ? -errno : 0;
}

const char *eal_log_errors(void)
{
    flockfile(stream);
    fflush_unlocked(stream);
    memcpy(taken, errors, sizeof(taken));
    errors[0] = '\0';
    funlockfile(stream);
    for (char *c = taken; *c; c++)
        if (*c < ' ')
            *c = ' ';
    return taken;
}
