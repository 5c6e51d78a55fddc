/* SPDX-License-Identifier: Apache-2.0 */
/* Where settings come from: defaults, then the YAML file, then the environment, then flags; the
 * later one wins. Main thread. */
#pragma once

#include <limits.h>

#include "controlplane/options.h"

enum config_wish { WISH_RUN, WISH_HELP, WISH_VERSION, WISH_CHECK };

struct config {
    struct options options;
    char file[PATH_MAX]; /* empty: none was read */
    enum config_wish wish;
};

/* Reads all sources and checks the result. Everything wrong is in *faults; 0, or -EINVAL if there
 * is anything. environment: NAME=VALUE strings, NULL at the end. */
[[nodiscard]] int config_load(int argc, char *const *argv, char *const *environment,
                              struct config *config, struct faults *faults);
