/* SPDX-License-Identifier: Apache-2.0 */
/* Reads stat files of /proc. */
#include "controlplane/proc_stat.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define STAT_MAX 1024u

enum field { FIELD_STATE = 3, FIELD_UTIME = 14, FIELD_STIME = 15, FIELD_STARTTIME = 22 };

/* Up to size - 1 bytes. */
static bool text_read(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");

    if (!file)
        return false;
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
    return text[0] != '\0';
}

/* NULL: the text ends before. The name in field 2 may hold anything, its last bracket ends it. */
static const char *field_at(const char *text, enum field wanted)
{
    const char *at = strrchr(text, ')');

    for (int field = 2; at && field < (int)wanted; field++)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

static uint64_t number_at(const char *text, enum field wanted)
{
    const char *at = field_at(text, wanted);

    return at ? strtoull(at, NULL, 10) : 0;
}

uint64_t process_started(uint32_t pid)
{
    char path[32], text[STAT_MAX];

    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    return text_read(path, text, sizeof(text)) ? number_at(text, FIELD_STARTTIME) : 0;
}

static bool is_named(pid_t pid, const char *tid, const char *name)
{
    char path[320], text[32];

    snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, tid);
    if (!text_read(path, text, sizeof(text)))
        return false;
    text[strcspn(text, "\n")] = '\0';
    return strcmp(text, name) == 0;
}

static bool time_of(pid_t pid, const char *tid, struct thread_time *found)
{
    char path[320], text[STAT_MAX];
    const char *state;

    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, tid);
    if (!text_read(path, text, sizeof(text)))
        return false;
    state = field_at(text, FIELD_STATE);
    found->state = '?';
    if (state)
        found->state = *state;
    found->run_ns = (number_at(text, FIELD_UTIME) + number_at(text, FIELD_STIME)) *
                    (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
    return state != NULL;
}

bool thread_time_read(pid_t pid, const char *name, struct thread_time *found)
{
    const struct dirent *entry;
    bool good = false;
    char path[32];
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (!tasks)
        return false;
    while (!good && (entry = readdir(tasks)))
        good = entry->d_name[0] != '.' && is_named(pid, entry->d_name, name) &&
               time_of(pid, entry->d_name, found);
    closedir(tasks);
    return good;
}
