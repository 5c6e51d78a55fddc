/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail gpu list`: the devices that move blocks between the cache and clients' memory, and what
 * is in the pools in their own memory. One thread. */
#include <stdio.h>

#include "tools/cli.h"
#include "tools/ctl.h"
#include "tools/table.h"
#include "tools/units.h"

static const struct cli_option options[] = {{0}};

static void row_show(struct table *table, const json_t *row)
{
    uint64_t lost =
        ctl_number(row, "expired") + ctl_number(row, "canceled") + ctl_number(row, "failed");

    table_row(
        table,
        "%llu\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f %%\t%.0f %%\t%llu\t%llu\t%llu\t%llu\t%s\t%s\t"
        "%llu",
        (unsigned long long)ctl_number(row, "gpu"), ctl_text(row, "state"), ctl_text(row, "name"),
        ctl_text(row, "where"), units_bytes(ctl_number(row, "memory_free")).s,
        units_bytes(ctl_number(row, "memory_total")).s, units_rate(ctl_real(row, "load_bytes_s")).s,
        units_rate(ctl_real(row, "store_bytes_s")).s, 100 * ctl_real(row, "load_busy"),
        100 * ctl_real(row, "store_busy"), (unsigned long long)ctl_number(row, "jobs_waiting"),
        (unsigned long long)ctl_number(row, "jobs_running"),
        (unsigned long long)ctl_number(row, "jobs"), (unsigned long long)lost,
        units_bytes(ctl_number(row, "load_bytes")).s, units_bytes(ctl_number(row, "store_bytes")).s,
        (unsigned long long)ctl_number(row, "failures"));
}

static void show_rows(const json_t *gpus)
{
    struct table *table =
        table_create(">gpu|state|name|where|>free|>memory|>load|>store|>load busy|>store busy|"
                     ">waiting|>running|>jobs|>not done|>loaded|>stored|>failures");
    const json_t *row;
    size_t i;

    json_array_foreach(gpus, i, row) row_show(table, row);
    table_print(table, stdout);
    table_destroy(table);
}

static void pool_show(struct table *table, const json_t *row)
{
    table_row(table, "%llu\t%s\t%s\t%llu\t%llu\t%llu\t%llu\t%s\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu",
              (unsigned long long)ctl_number(row, "gpu"),
              units_bytes(ctl_number(row, "pool_size")).s,
              units_bytes(ctl_number(row, "pool_used")).s,
              (unsigned long long)ctl_number(row, "pool_slots"),
              (unsigned long long)ctl_number(row, "pool_ready"),
              (unsigned long long)ctl_number(row, "pool_loading"),
              (unsigned long long)ctl_number(row, "pool_hits"),
              units_bytes(ctl_number(row, "pool_hit_bytes")).s,
              (unsigned long long)ctl_number(row, "pool_loads"),
              (unsigned long long)ctl_number(row, "pool_loads_failed"),
              (unsigned long long)ctl_number(row, "pool_evictions"),
              (unsigned long long)ctl_number(row, "pool_forgotten"),
              (unsigned long long)ctl_number(row, "pool_lost"),
              (unsigned long long)ctl_number(row, "pool_no_slot"));
}

static void show_pools(const json_t *gpus)
{
    struct table *table = table_create(
        ">gpu|>pool|>used|>slots|>copies|>loading|>hits|>hit bytes|>promoted|>failed|>evicted|"
        ">forgotten|>lost|>no slot");
    bool any = false;
    const json_t *row;
    size_t i;

    json_array_foreach(gpus, i, row)
    {
        if (ctl_number(row, "pool_size") == 0)
            continue;
        pool_show(table, row);
        any = true;
    }
    if (any) {
        printf("\n");
        table_print(table, stdout);
    }
    table_destroy(table);
}

static void show(const json_t *result)
{
    const json_t *gpus = json_object_get(result, "gpus");

    if (json_array_size(gpus) == 0)
        printf("no devices (gpu: %s)\n", ctl_text(result, "setting"));
    else {
        show_rows(gpus);
        show_pools(gpus);
    }
}

static int run(struct cli *cli, int argc, char **argv)
{
    int code = cli_no_options(cli, argc, argv);

    if (code >= 0)
        return code;
    if (cli_verb(argc, argv, "list", 0))
        return ctl_show(cli, "gpu-list", NULL, show);
    return cli_usage(cli, "say 'list'");
}

const struct cli_command cmd_gpu = {
    .name = "gpu",
    .arguments = "list",
    .summary = "devices that move blocks between the cache and clients' memory",
    .options = options,
    .run = run,
};
