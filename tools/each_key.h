/* SPDX-License-Identifier: Apache-2.0 */
/* The same call for each key of a command line. One thread. */
#pragma once

#include <stdbool.h>

#include "tools/cli.h"
#include "tools/keys.h"

/* Fills list with the words up to the NULL and the lines of file (may be NULL). CLI_OK, or an exit
 * code after the error was shown; the caller frees the list either way. */
int collect_keys(struct cli *cli, char **words, const char *file, bool hex, struct key_list *list);

/* Runs a copy of *like for each key, batched, shows what was not OK (with --json: every key), and
 * returns the exit code. */
int each_key(struct cli *cli, char **words, const char *file, bool hex,
             const struct kvr_call *like);
