/* SPDX-License-Identifier: Apache-2.0 */
/* kvraild: reads the settings, then runs until it is told to stop. */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "controlplane/kvraild.h"
#include "controlplane/options_page.h"

static int refuse(struct faults *faults)
{
    for (unsigned i = 0; i < faults->count; i++)
        fprintf(stderr, "kvraild: %s\n", faults->lines[i]);
    faults_free(faults);
    return 2;
}

int main(int argc, char **argv)
{
    static struct kvraild kvraild;
    struct faults faults = {0};

    log_setup("kvraild", LOG_LEVEL_INFO);
    if (config_load(argc, argv, environ, &kvraild.config, &faults) < 0)
        return refuse(&faults);
    switch (kvraild.config.wish) {
    case WISH_HELP:
        page_help(stdout);
        return 0;
    case WISH_VERSION:
        printf("kvraild %s\n", KVRAIL_VERSION);
        return 0;
    case WISH_CHECK:
        printf("%s: ok\n", kvraild.config.file[0] ? kvraild.config.file : "settings");
        return 0;
    case WISH_RUN:
        break;
    }
    kvraild.argc = argc;
    kvraild.argv = argv;
    kvraild.options = kvraild.config.options;
    log_set_level((enum log_level)options_number(&kvraild.options, OPT_log_level));
    return boot_run(&kvraild);
}
