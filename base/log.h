/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines on stderr: "<time> <level> <program>: <text>", or with systemd's <N> prefix under a
 * journal. Who first knows the reason logs it, once: lower case, object, then consequence.
 * Any thread; a line is one write. Never on the hot path. */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* program must outlive the process's logging. */
void log_setup(const char *program, enum log_level level);
void log_set_level(enum log_level level);
/* "error", "warning", "info", "debug"; -EINVAL. */
int log_level_find(const char *name, enum log_level *level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
