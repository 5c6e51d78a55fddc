/* SPDX-License-Identifier: Apache-2.0 */
/* Reads --index-fd N --data-fd N --ctl-fd N --set KEY=VALUE into settings. Main thread, once. */
#include "dataplane/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static int read_fd(const char *text, int *fd)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < 0 || value > INT_MAX)
        return -EINVAL;
    *fd = (int)value;
    return 0;
}

static int read_setting(struct settings *settings, const char *text)
{
    const char *equals = strchr(text, '=');
    char key[64];
    int rc = -ENOENT;

    if (equals && (size_t)(equals - text) < sizeof(key)) {
        memcpy(key, text, (size_t)(equals - text));
        key[equals - text] = '\0';
        rc = settings_set(settings, key, equals + 1, false);
    }
    if (rc)
        log_error("--set %s: %s", text, rc == -ENOENT ? "no such setting" : "not a valid value");
    return rc;
}

int arguments_read(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {{"index-fd", required_argument, NULL, 'i'},
                                            {"data-fd", required_argument, NULL, 'd'},
                                            {"ctl-fd", required_argument, NULL, 'c'},
                                            {"set", required_argument, NULL, 's'},
                                            {0}};
    int option, rc = 0;

    arguments->index_fd = arguments->data_fd = arguments->ctl_fd = -1;
    settings_defaults(&arguments->settings);
    while (!rc && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'i':
            rc = read_fd(optarg, &arguments->index_fd);
            break;
        case 'd':
            rc = read_fd(optarg, &arguments->data_fd);
            break;
        case 'c':
            rc = read_fd(optarg, &arguments->ctl_fd);
            break;
        case 's':
            rc = read_setting(&arguments->settings, optarg);
            break;
        default:
            rc = -EINVAL;
        }
    }
    if (!rc && (optind != argc || arguments->index_fd < 0 || arguments->data_fd < 0))
        rc = -EINVAL;
    if (rc)
        log_error("usage: kvrail-dataplane --index-fd N --data-fd N [--ctl-fd N] "
                  "[--set KEY=VALUE ...]; it is started by kvraild");
    return rc ? -EINVAL : 0;
}
