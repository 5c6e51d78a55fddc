/* SPDX-License-Identifier: Apache-2.0 */
/* Client side of kvraild's control socket: one connection, one request, one answer. One thread. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/cli.h"

/* request is {"command": ..}; its reference is taken. 0 and *answer (the caller's): the whole
 * object that kvraild sent. -ECONNREFUSED: nobody there; -ETIMEDOUT; -EPROTO: not an answer;
 * -errno. */
[[nodiscard]] int ctl_exchange(const char *path, uint32_t timeout_ms, json_t *request,
                               json_t **answer);

/* Asks the kvraild that cli names; arguments may be NULL, their reference is taken. CLI_OK and
 * *result (the caller's), or an exit code after the error was shown. */
int ctl_ask(const struct cli *cli, const char *command, json_t *arguments, json_t **result);

/* The same, and shows the result: as JSON if cli says so, else by show. */
int ctl_show(const struct cli *cli, const char *command, json_t *arguments,
             void (*show)(const json_t *result));

/* Members of an answer; "" and 0 where they are missing. */
const char *ctl_text(const json_t *object, const char *name);
uint64_t ctl_number(const json_t *object, const char *name);
double ctl_real(const json_t *object, const char *name);
