/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of kvrail-dataplane (settings.h). kvraild writes it, so mistakes are its bugs,
 * and are told plainly. */
#pragma once

#include "dataplane/settings.h"

struct arguments {
    int index_fd, data_fd, ctl_fd; /* -1 = not given */
    struct settings settings;
};

/* 0, or -EINVAL with what is wrong on stderr. */
[[nodiscard]] int arguments_read(int argc, char **argv, struct arguments *arguments);
