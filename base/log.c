/* SPDX-License-Identifier: Apache-2.0 */
/* Formats a log line into a stack buffer and writes it with one call. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *log_program = "kvrail";
static enum log_level log_max = LOG_LEVEL_INFO;
static int log_journal;
static const char *const log_names[] = {"error", "warning", "info", "debug"};

void log_setup(const char *program, enum log_level level)
{
    log_program = program;
    log_max = level;
    log_journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_set_level(enum log_level level)
{
    log_max = level;
}

int log_level_find(const char *name, enum log_level *level)
{
    for (unsigned i = 0; i < sizeof(log_names) / sizeof(log_names[0]); i++) {
        if (!strcmp(name, log_names[i])) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int log_prefix(enum log_level level, char *line, size_t size)
{
    static const int syslog_levels[] = {3, 4, 6, 7};
    struct timespec ts;
    struct tm tm;
    char at[32];

    if (log_journal)
        return snprintf(line, size, "<%d>", syslog_levels[level]);
    clock_gettime(CLOCK_REALTIME, &ts);
    localtime_r(&ts.tv_sec, &tm);
    strftime(at, sizeof(at), "%H:%M:%S", &tm);
    return snprintf(line, size, "%s.%03ld %-7s %s: ", at, ts.tv_nsec / 1000000, log_names[level],
                    log_program);
}

void log_write(enum log_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    int used, more;

    if (level > log_max)
        return;
    used = log_prefix(level, line, sizeof(line));
    va_start(args, format);
    more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
    va_end(args);
    if (more < 0)
        return;
    used += more;
    if (used > (int)sizeof(line) - 2)
        used = (int)sizeof(line) - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)used) < 0)
        return; /* nowhere left to say it */
}
