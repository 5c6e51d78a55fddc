/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the command line, and the words that a local client is told by. Main thread. */
#include "dataplane/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "shm/attach.h"

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

/* Unsigned numbers, each but the last followed by the separator. *text: what comes after them. */
static int read_numbers(const char **text, char separator, uint64_t *numbers, unsigned nr)
{
    char *end;

    for (unsigned i = 0; i < nr; i++) {
        if (**text < '0' || **text > '9')
            return -EINVAL;
        errno = 0;
        numbers[i] = strtoull(*text, &end, 10);
        if (errno || (i + 1 < nr && *end != separator))
            return -EINVAL;
        *text = end + (i + 1 < nr);
    }
    return 0;
}

static int client_read(const char **text, char separator, struct local_spec *client)
{
    uint64_t numbers[5];

    if (read_numbers(text, separator, numbers, 5) < 0 || numbers[0] < 1 ||
        numbers[0] > CLIENT_ID_MAX || numbers[1] > UINT32_MAX || numbers[2] > UINT32_MAX ||
        numbers[3] > 1)
        return -EINVAL;
    *client = (struct local_spec){.id = (uint32_t)numbers[0],
                                  .pid = (uint32_t)numbers[1],
                                  .uid = (uint32_t)numbers[2],
                                  .may_write = numbers[3],
                                  .pinned_max = numbers[4],
                                  .segment_fd = -1,
                                  .pidfd = -1};
    return 0;
}

int client_words(const char *text, char separator, struct local_spec *client)
{
    return client_read(&text, separator, client) < 0 || *text ? -EINVAL : 0;
}

/* The same, then :SEGMENT_FD:PIDFD. */
static int read_client(struct arguments *arguments, const char *text)
{
    struct local_spec *client = &arguments->clients[arguments->nr_clients];
    uint64_t fds[2];

    if (arguments->nr_clients == LOCAL_CLIENTS_MAX || client_read(&text, ':', client) < 0 ||
        *text++ != ':' || read_numbers(&text, ':', fds, 2) < 0 || *text || fds[0] > INT_MAX ||
        fds[1] > INT_MAX)
        return -EINVAL;
    client->segment_fd = (int)fds[0];
    client->pidfd = (int)fds[1];
    arguments->nr_clients++;
    return 0;
}

int arguments_read(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        {"index-fd", required_argument, NULL, 'i'},  {"data-fd", required_argument, NULL, 'd'},
        {"ctl-fd", required_argument, NULL, 'c'},    {"adopt-fd", required_argument, NULL, 'a'},
        {"roster-fd", required_argument, NULL, 'r'}, {"client", required_argument, NULL, 'l'},
        {"set", required_argument, NULL, 's'},       {0}};
    int option, rc = 0;

    arguments->index_fd = arguments->data_fd = arguments->ctl_fd = -1;
    arguments->adopt_fd = arguments->roster_fd = -1;
    arguments->nr_clients = 0;
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
        case 'a':
            rc = read_fd(optarg, &arguments->adopt_fd);
            break;
        case 'r':
            rc = read_fd(optarg, &arguments->roster_fd);
            break;
        case 'l':
            rc = read_client(arguments, optarg);
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
                  "[--adopt-fd N] [--roster-fd N] "
                  "[--client ID:PID:UID:WRITE:PINNED_MAX:SEGMENT_FD:PIDFD ...] "
                  "[--set KEY=VALUE ...]; it is started by kvraild");
    return rc ? -EINVAL : 0;
}
