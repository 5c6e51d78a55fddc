/* SPDX-License-Identifier: Apache-2.0 */
/* EAL's arguments from the settings. Huge pages are used where there are enough free ones: EAL
 * itself would start without them, and end when the first buffers are made. */
#include "tools/load/eal.h"

#include <errno.h>
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
#define ARGS_BYTES 4096u
#define FREE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

static struct {
    char *argv[ARGS_MAX + 1];
    char bytes[ARGS_BYTES];
    size_t used;
    int argc;
    bool full;
} args; /* EAL keeps pointers into it */

__attribute__((format(printf, 1, 2))) static void add(const char *format, ...)
{
    size_t left = ARGS_BYTES - args.used;
    va_list list;
    int len;

    va_start(list, format);
    len = vsnprintf(args.bytes + args.used, left, format, list);
    va_end(list);
    if (len < 0 || (size_t)len >= left || args.argc == ARGS_MAX) {
        args.full = true;
        return;
    }
    args.argv[args.argc++] = args.bytes + args.used;
    args.used += (size_t)len + 1;
}

static void add_lcores(const struct load_settings *s)
{
    char text[2048] = "0@(";
    cpu_set_t allowed;
    size_t used;

    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        CPU_ZERO(&allowed);
    cpu_set_text(&allowed, text + 3, sizeof(text) - 4);
    used = strlen(text);
    text[used++] = ')';
    for (unsigned i = 0; i < s->plan.nr_workers && used < sizeof(text); i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, ",%u@%u", i + 1, s->plan.cpus[i]);
    add("--lcores=%s", text);
    add("--main-lcore=0");
}

static bool enough_huge_pages(unsigned memory)
{
    FILE *in = fopen(FREE_PAGES, "re");
    unsigned long pages = 0;

    if (!in)
        return false;
    if (fscanf(in, "%lu", &pages) != 1)
        pages = 0;
    fclose(in);
    return pages >= memory / 2 + 8;
}

static bool is_pci(const char *device)
{
    return strncmp(device, "net_", 4) != 0;
}

static void add_extra(const char *extra)
{
    char copy[ARGS_BYTES], *rest = copy, *word;

    snprintf(copy, sizeof(copy), "%s", extra);
    while ((word = strsep(&rest, " ")) != NULL)
        if (*word)
            add("%s", word);
}

/* Told an argument it does not know, EAL prints its whole manual. */
static int init_without_manual(void)
{
    int out = dup(STDOUT_FILENO), rc;
    FILE *null = fopen("/dev/null", "we");

    fflush(stdout);
    if (null && out >= 0)
        dup2(fileno(null), STDOUT_FILENO);
    rc = rte_eal_init(args.argc, args.argv);
    fflush(stdout);
    if (out >= 0) {
        dup2(out, STDOUT_FILENO);
        close(out);
    }
    if (null)
        fclose(null);
    return rc;
}

int load_eal_start(const struct load_settings *s, unsigned memory, struct fault *fault)
{
    bool huge = s->pages == LOAD_PAGES_REQUIRE ||
                (s->pages == LOAD_PAGES_AUTO && enough_huge_pages(memory));
    int rc = eal_log_open();

    if (rc)
        return fault_set(fault, rc, "no memory for DPDK's log");
    add("kvrail-load");
    add_lcores(s);
    if (huge) {
        add("--in-memory");
    } else {
        add("--no-huge");
        add("--no-shconf");
    }
    add("-m");
    add("%u", memory);
    add("--no-telemetry");
    add("--file-prefix=kvrail-load");
    add("--log-level=notice");
    if (is_pci(s->device)) {
        add("--allow=%.*s", (int)(strchrnul(s->device, ',') - s->device), s->device);
    } else {
        add("--no-pci");
        add("--iova-mode=va");
    }
    add_extra(s->eal);
    if (args.full)
        return fault_set(fault, -E2BIG, "--eal: too many arguments");
    if (init_without_manual() >= 0)
        return 0;
    return fault_set(fault, -rte_errno, "DPDK does not start (%s): %s: %s", strerror(rte_errno),
                     eal_log_errors(),
                     huge ? "reserve huge pages (sysctl vm.nr_hugepages=N) or say --hugepages off"
                          : "check --packet-memory, --cpus and --eal");
}

void load_eal_stop(void)
{
    rte_eal_cleanup();
}

bool load_eal_has_hugepages(void)
{
    return rte_eal_has_hugepages();
}

int load_eal_launch(unsigned thread, int (*run)(void *), void *arg)
{
    return rte_eal_remote_launch(run, arg, thread + 1);
}

bool load_eal_runs(unsigned thread)
{
    return rte_eal_get_lcore_state(thread + 1) == RUNNING;
}
