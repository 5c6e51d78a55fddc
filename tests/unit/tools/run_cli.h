/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a subcommand inside the test and keeps what it prints. */
#pragma once

#include <jansson.h>

struct cli_output {
    int code;
    char *out; /* standard output; standard error is dropped */
    size_t len;
};

/* Words up to NULL, without the program's name. */
struct cli_output run_cli(const char *word, ...) __attribute__((sentinel));
void cli_output_free(struct cli_output *output);

/* The last line of the output as JSON; the test fails if it is none. The caller's. */
json_t *cli_output_json(const struct cli_output *output);
double json_get_number(const json_t *object, const char *name);
