/* SPDX-License-Identifier: Apache-2.0 */
/* Settings by name, generated from the list that also makes their fields. No thread of its own;
 * ranges were checked by kvraild, so only the form of a value is checked here. */
#include "dataplane/settings.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void settings_defaults(struct settings *settings)
{
    memset(settings, 0, sizeof(*settings));
#define DEFAULT_text(name, init) memcpy(settings->name, init, sizeof(init));
#define DEFAULT_number(name, init) settings->name = (init);
#define DEFAULT_flag(name, init) settings->name = (init);
#define DEFAULT_idle(name, init) settings->name = (init);
#define DEFAULT(kind, name, init, live) DEFAULT_##kind(name, init)
    SETTINGS_LIST(DEFAULT)
}

static int set_text(char *field, const char *value)
{
    size_t len = strlen(value);

    if (len >= SETTING_TEXT_MAX)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
            return -EINVAL;
    memset(field, 0, SETTING_TEXT_MAX);
    memcpy(field, value, len);
    return 0;
}

static int set_number(uint64_t *field, const char *value)
{
    uint64_t number = 0;

    if (!*value)
        return -EINVAL;
    for (; *value; value++) {
        if (*value < '0' || *value > '9' || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*value - '0'), &number))
            return -EINVAL;
    }
    *field = number;
    return 0;
}

static int set_flag(bool *field, const char *value)
{
    if (!strcmp(value, "1") || !strcmp(value, "true"))
        *field = true;
    else if (!strcmp(value, "0") || !strcmp(value, "false"))
        *field = false;
    else
        return -EINVAL;
    return 0;
}

static const char *const idle_names[] = {
    [IDLE_SPIN] = "spin", [IDLE_PAUSE] = "pause", [IDLE_SLEEP] = "sleep"};

static int set_idle(enum idle_policy *field, const char *value)
{
    for (unsigned i = 0; i < sizeof(idle_names) / sizeof(idle_names[0]); i++) {
        if (!strcmp(value, idle_names[i])) {
            *field = (enum idle_policy)i;
            return 0;
        }
    }
    return -EINVAL;
}

int settings_set(struct settings *settings, const char *key, const char *value, bool live)
{
#define TARGET_text(name) settings->name
#define TARGET_number(name) &settings->name
#define TARGET_flag(name) &settings->name
#define TARGET_idle(name) &settings->name
#define SET(kind, name, init, may_change)                                                          \
    if (!strcmp(key, #name))                                                                       \
        return live && !(may_change) ? -EBUSY : set_##kind(TARGET_##kind(name), value);
    SETTINGS_LIST(SET)
    return -ENOENT;
}

bool settings_text(const struct settings *settings, unsigned i, char *text, size_t size)
{
    unsigned at = 0;

#define TEXT_text(name) snprintf(text, size, "%s %s", #name, settings->name)
#define TEXT_number(name) snprintf(text, size, "%s %llu", #name, (unsigned long long)settings->name)
#define TEXT_flag(name) snprintf(text, size, "%s %d", #name, settings->name)
#define TEXT_idle(name) snprintf(text, size, "%s %s", #name, idle_names[settings->name])
#define TEXT(kind, name, init, live)                                                               \
    if (at++ == i) {                                                                               \
        TEXT_##kind(name);                                                                         \
        return true;                                                                               \
    }
    SETTINGS_LIST(TEXT)
    return false;
}
