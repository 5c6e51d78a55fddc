/* SPDX-License-Identifier: Apache-2.0 */
/* Layers the sources of settings: which file, which variables, which flags. */
#include "controlplane/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define FILE_DEFAULT "/etc/kvrail/kvrail.yaml"
#define ENV_PREFIX "KVRAIL_"

/* "cache_size" -> "KVRAIL_CACHE_SIZE" */
static void env_name(const char *key, char *name, size_t size)
{
    size_t used = (size_t)snprintf(name, size, ENV_PREFIX);

    for (; *key && used + 1 < size; key++)
        name[used++] = (char)(*key >= 'a' && *key <= 'z' ? *key - 'a' + 'A' : *key);
    name[used] = '\0';
}

static const char *env_find(char *const *environment, const char *name)
{
    size_t len = strlen(name);

    for (; *environment; environment++)
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return *environment + len + 1;
    return NULL;
}

static void read_environment(char *const *environment, struct options *options,
                             struct faults *faults)
{
    const char *value = env_find(environment, ENV_PREFIX "CONTROL");
    char name[64], where[96];

    /* The short name is the CLI's: one variable serves both ends of the socket. */
    if (value && options_set(options, "environment " ENV_PREFIX "CONTROL: ", "control_socket",
                             value, SOURCE_ENVIRONMENT, faults) < 0)
        return;
    for (unsigned i = 0; i < NR_OPTIONS; i++) {
        env_name(option_table[i].name, name, sizeof(name));
        value = env_find(environment, name);
        snprintf(where, sizeof(where), "environment %s: ", name);
        if (value && options_set(options, where, option_table[i].name, value, SOURCE_ENVIRONMENT,
                                 faults) < 0)
            continue;
    }
}

/* A variable that is nearly a setting's name would otherwise be passed over in silence. Others that
 * begin like ours may belong to kvrail(1) or to somebody else. */
static void warn_strays(char *const *environment)
{
    char key[64];

    for (; *environment; environment++) {
        const char *name = *environment + strlen(ENV_PREFIX);
        size_t len;

        if (strncmp(*environment, ENV_PREFIX, strlen(ENV_PREFIX)) != 0)
            continue;
        len = strcspn(name, "=");
        if (len >= sizeof(key))
            continue;
        for (size_t i = 0; i <= len; i++)
            key[i] = (char)(i == len ? 0 : tolower((unsigned char)name[i]));
        if (!option_find(key) && option_nearest(key))
            log_warning("environment: %.*s is no setting and is ignored; did you mean the one for "
                        "%s?",
                        (int)(len + strlen(ENV_PREFIX)), *environment, option_nearest(key));
    }
}

/* One flag on the command line: what it is called, what it is given. */
struct flag {
    char name[64];
    const char *value; /* NULL: none */
};

/* Splits argv[*at], taking the next argument as the value where the flag needs one. */
static bool flag_next(int argc, char *const *argv, int *at, struct flag *flag,
                      struct faults *faults)
{
    static const char *const bare[] = {"help", "version", "check-config", NULL};
    const char *arg = argv[*at];
    size_t len;

    ++*at;
    if (strcmp(arg, "-h") == 0)
        arg = "--help";
    else if (strcmp(arg, "-V") == 0)
        arg = "--version";
    else if (strcmp(arg, "-c") == 0)
        arg = "--config";
    len = strcspn(arg, "=");
    if (strncmp(arg, "--", 2) != 0 || len < 3 || len - 2 >= sizeof(flag->name)) {
        faults_add(faults, "%s: not a flag; `kvraild --help` lists all", arg);
        return false;
    }
    memcpy(flag->name, arg + 2, len - 2);
    flag->name[len - 2] = '\0';
    flag->value = arg[len] ? arg + len + 1 : NULL;
    for (unsigned i = 0; bare[i]; i++)
        if (strcmp(flag->name, bare[i]) == 0) {
            if (flag->value)
                faults_add(faults, "--%s: takes no value", flag->name);
            return !flag->value;
        }
    if (!flag->value && *at < argc)
        flag->value = argv[(*at)++];
    if (!flag->value)
        faults_add(faults, "--%s: needs a value", flag->name);
    return flag->value != NULL;
}

static void set_pair(struct options *options, const char *pair, struct faults *faults)
{
    size_t len = strcspn(pair, "=");
    char key[64];

    if (!pair[len] || len == 0 || len >= sizeof(key)) {
        faults_add(faults, "--set: '%.80s' is not KEY=VALUE", pair);
        return;
    }
    memcpy(key, pair, len);
    key[len] = '\0';
    if (options_set(options, "--set: ", key, pair + len + 1, SOURCE_FLAG, faults) < 0)
        return;
}

/* options NULL: only what must be known before the file is read. */
static void read_flags(int argc, char *const *argv, struct config *config, struct options *options,
                       struct faults *faults)
{
    struct flag flag;

    for (int at = 1; at < argc;) {
        if (!flag_next(argc, argv, &at, &flag, faults))
            continue;
        if (strcmp(flag.name, "help") == 0)
            config->wish = WISH_HELP;
        else if (strcmp(flag.name, "version") == 0)
            config->wish = WISH_VERSION;
        else if (strcmp(flag.name, "check-config") == 0)
            config->wish = WISH_CHECK;
        else if (strcmp(flag.name, "config") == 0)
            snprintf(config->file, sizeof(config->file), "%s", flag.value);
        else if (!options)
            continue;
        else if (strcmp(flag.name, "set") == 0)
            set_pair(options, flag.value, faults);
        else if (options_set(options, "flag: ",
                             strcmp(flag.name, "control") == 0 ? "control_socket" : flag.name,
                             flag.value, SOURCE_FLAG, faults) < 0)
            continue;
    }
}

static void choose_file(char *const *environment, struct config *config)
{
    const char *named = env_find(environment, ENV_PREFIX "CONFIG");

    if (config->file[0])
        return;
    if (named && *named)
        snprintf(config->file, sizeof(config->file), "%s", named);
    else if (access(FILE_DEFAULT, F_OK) == 0)
        snprintf(config->file, sizeof(config->file), FILE_DEFAULT);
}

int config_load(int argc, char *const *argv, char *const *environment, struct config *config,
                struct faults *faults)
{
    struct faults first = {0};

    *config = (struct config){0};
    options_defaults(&config->options);
    read_flags(argc, argv, config, NULL, &first); /* the second reading reports the faults */
    faults_free(&first);
    if (config->wish == WISH_HELP || config->wish == WISH_VERSION)
        return 0;
    choose_file(environment, config);
    /* A bad file does not end it: the faults of the other sources are wanted too. */
    if (config->file[0])
        (void)!options_read_file(config->file, &config->options, faults);
    read_environment(environment, &config->options, faults);
    warn_strays(environment);
    read_flags(argc, argv, config, &config->options, faults);
    if (faults->count == 0)
        options_check(&config->options, faults);
    return faults->count ? -EINVAL : 0;
}
