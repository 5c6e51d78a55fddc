/* SPDX-License-Identifier: Apache-2.0 */
/* Argument vector of rte_eal_init, and the words for its failures. */
#include "dataplane/eth/eal.h"

#include <errno.h>
#include <fcntl.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/eth/eal_log.h"

#define ARGS_MAX 64
#define ARGS_BYTES 8192u

struct arguments {
    char *argv[ARGS_MAX + 1];
    int argc;
    char bytes[ARGS_BYTES];
    size_t used;
    bool full;
};

__attribute__((format(printf, 2, 3))) static void add(struct arguments *arguments,
                                                      const char *format, ...)
{
    size_t left = ARGS_BYTES - arguments->used;
    va_list list;
    int len;

    va_start(list, format);
    len = vsnprintf(arguments->bytes + arguments->used, left, format, list);
    va_end(list);
    if (len < 0 || (size_t)len >= left || arguments->argc == ARGS_MAX) {
        arguments->full = true;
        return;
    }
    arguments->argv[arguments->argc++] = arguments->bytes + arguments->used;
    arguments->used += (size_t)len + 1;
}

static bool is_pci(const char *device)
{
    unsigned domain, bus, slot, function;

    return sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &function) == 4 ||
           sscanf(device, "%x:%x.%x", &bus, &slot, &function) == 3;
}

static unsigned lcore(unsigned worker)
{
    return worker + 1;
}

static void add_lcores(struct arguments *arguments, const struct cpu_plan *plan,
                       const cpu_set_t *allowed)
{
    char text[4096];
    size_t used;

    text[0] = '0', text[1] = '@', text[2] = '(';
    cpu_set_text(allowed, text + 3, sizeof(text) - 4);
    used = strlen(text);
    text[used++] = ')';
    for (unsigned i = 0; i < plan->nr_workers && used < sizeof(text); i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, ",%u@%u", lcore(i), plan->cpus[i]);
    add(arguments, "--lcores=%s", text);
    add(arguments, "--main-lcore=0");
}

static void add_extra(struct arguments *arguments, const char *extra)
{
    char copy[SETTING_TEXT_MAX], *rest = copy, *word;

    snprintf(copy, sizeof(copy), "%s", extra);
    while ((word = strsep(&rest, " ")) != NULL)
        if (*word)
            add(arguments, "%s", word);
}

static void add_memory(struct arguments *arguments, const struct settings *settings)
{
    if (settings->hugepages) {
        add(arguments, "--in-memory");
    } else {
        /* Leaves no files behind either; EAL refuses to combine it with --in-memory. */
        add(arguments, "--no-huge");
        add(arguments, "--no-shconf");
    }
    add(arguments, "-m");
    add(arguments, "%u", (unsigned)settings->packet_memory);
}

/* Told an argument it does not know, EAL prints its whole manual. */
static int init_without_manual(struct arguments *arguments)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), out = dup(STDOUT_FILENO), rc;

    fflush(stdout);
    if (null >= 0 && out >= 0)
        dup2(null, STDOUT_FILENO);
    rc = rte_eal_init(arguments->argc, arguments->argv);
    fflush(stdout);
    if (out >= 0) {
        dup2(out, STDOUT_FILENO);
        close(out);
    }
    if (null >= 0)
        close(null);
    return rc;
}

int eal_start(const struct settings *settings, const struct cpu_plan *plan,
              const cpu_set_t *allowed, struct fault *fault)
{
    static struct arguments once; /* EAL keeps pointers into its arguments */
    struct arguments *arguments = &once;
    char *device_end;

    add(arguments, "kvrail-dataplane");
    add_lcores(arguments, plan, allowed);
    add_memory(arguments, settings);
    add(arguments, "--no-telemetry");
    add(arguments, "--file-prefix=kvrail");
    add(arguments, "--log-level=%s", !strcmp(settings->log_level, "debug") ? "info" : "notice");
    if (is_pci(settings->device)) {
        device_end = strchrnul(settings->device, ',');
        add(arguments, "--allow=%.*s", (int)(device_end - settings->device), settings->device);
    } else {
        add(arguments, "--no-pci");
        add(arguments, "--iova-mode=va");
    }
    add_extra(arguments, settings->eal_args);
    if (arguments->full)
        return fault_set(fault, -E2BIG, "eal_args: too many arguments for EAL");
    if (init_without_manual(arguments) >= 0)
        return 0;
    return fault_set(fault, -rte_errno, "DPDK does not start (%s): %s: %s", strerror(rte_errno),
                     eal_log_errors(),
                     settings->hugepages
                         ? "reserve hugepages (sysctl vm.nr_hugepages=N) or set hugepages to 0"
                         : "check packet_memory, cpus and eal_args");
}

void eal_stop(void)
{
    rte_eal_cleanup();
}

int eal_launch(unsigned worker, int (*run)(void *), void *arg)
{
    return rte_eal_remote_launch(run, arg, lcore(worker));
}

void eal_wait(unsigned worker)
{
    rte_eal_wait_lcore(lcore(worker));
}

bool eal_has_hugepages(void)
{
    return rte_eal_has_hugepages();
}
