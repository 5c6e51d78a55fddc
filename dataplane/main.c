/* SPDX-License-Identifier: Apache-2.0 */
/* kvrail-dataplane: arguments in, one line "failed" or "ready" out, serve until told to stop. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dataplane/arguments.h"
#include "dataplane/boot.h"
#include "dataplane/control.h"

static int serve(const struct arguments *arguments)
{
    struct dataplane *dataplane;
    struct fault fault = {""};

    if (dataplane_start(arguments, &dataplane, &fault)) {
        log_error("%s", fault.text);
        control_say("failed %s", fault.text);
        return EXIT_FAILURE;
    }
    dataplane_serve(dataplane);
    dataplane_stop(dataplane);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static struct arguments arguments;
    enum log_level level;
    int rc;

    log_setup("kvrail-dataplane", LOG_LEVEL_INFO);
    if (arguments_read(argc, argv, &arguments))
        return EXIT_FAILURE;
    if (log_level_find(arguments.settings.log_level, &level)) {
        log_error("log_level: %s is none of error, warning, info, debug",
                  arguments.settings.log_level);
        return EXIT_FAILURE;
    }
    log_set_level(level);
    rc = control_open(arguments.ctl_fd, arguments.adopt_fd);
    if (rc) {
        log_error("signals or the next kvraild cannot be waited for: %s", strerror(-rc));
        return EXIT_FAILURE;
    }
    rc = serve(&arguments);
    control_close();
    return rc;
}
