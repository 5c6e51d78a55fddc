/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/options.h"
#include "controlplane/options_page.h"
#include "dataplane/settings.h"
#include "shm/evict.h"

static struct options options;
static struct faults faults;

static void setup(void)
{
    options_defaults(&options);
    faults = (struct faults){0};
}

static void teardown(void)
{
    faults_free(&faults);
}

TestSuite(options, .init = setup, .fini = teardown);

static int set(const char *key, const char *value)
{
    return options_set(&options, "here: ", key, value, SOURCE_FLAG, &faults);
}

static void takes(const char *key, const char *value, const char *text, uint64_t number)
{
    const struct option_row *row = option_find(key);

    cr_assert_eq(set(key, value), 0, "%s", faults.count ? faults.lines[0] : "?");
    cr_assert_str_eq(options.values[row - option_table].text, text);
    cr_assert_eq(options.values[row - option_table].number, number);
    cr_assert_eq(options.values[row - option_table].source, SOURCE_FLAG);
}

static void refuses(const char *key, const char *value, const char *line)
{
    struct options before = options;

    faults_free(&faults);
    cr_assert_lt(set(key, value), 0, "%s took %s", key, value);
    cr_assert_eq(faults.count, 1);
    cr_assert_str_eq(faults.lines[0], line);
    cr_assert_eq(memcmp(&before, &options, sizeof(options)), 0, "a refused value left a trace");
}

Test(options, sizes_take_binary_and_decimal_units)
{
    takes("cache_size", "4GiB", "4GiB", 4 * GIB);
    takes("cache_size", "4 GiB", "4GiB", 4 * GIB);
    takes("cache_size", "1048576", "1MiB", MIB);
    takes("cache_size", "2000000KB", "1953125KiB", 2000000000);
    takes("cache_size", "2GB", "1953125KiB", 2000000000);
    takes("zero_copy_min", "0", "0", 0);
    takes("train_max", "1500B", "1500", 1500);
}

Test(options, sizes_are_refused_with_their_range)
{
    refuses("cache_size", "1KiB", "here: cache_size: '1KiB' is too small; allowed: 1MiB to 256GiB");
    refuses("cache_size", "1TiB", "here: cache_size: '1TiB' is too large; allowed: 1MiB to 256GiB");
    refuses("cache_size", "4G",
            "here: cache_size: '4G' is not a size such as 4GiB or 512MB; "
            "allowed: 1MiB to 256GiB");
    refuses("cache_size", "-4GiB",
            "here: cache_size: '-4GiB' is not a size such as 4GiB or 512MB; "
            "allowed: 1MiB to 256GiB");
    refuses("cache_size", "99999999999999999999",
            "here: cache_size: '99999999999999999999' is not a size such as 4GiB or 512MB; "
            "allowed: 1MiB to 256GiB");
    /* 2^64 TiB and a bit: the product must not wrap round to something small */
    refuses("cache_size", "16777217TiB",
            "here: cache_size: '16777217TiB' is not a size such as "
            "4GiB or 512MB; allowed: 1MiB to 256GiB");
    refuses("cache_size", "",
            "here: cache_size: '' is not a size such as 4GiB or 512MB; allowed: 1MiB to 256GiB");
}

Test(options, numbers_are_whole_and_in_range)
{
    takes("workers", "3", "3", 3);
    takes("port", "65535", "65535", 65535);
    refuses("port", "0", "here: port: '0' is too small; allowed: 1 to 65535");
    refuses("port", "65536", "here: port: '65536' is too large; allowed: 1 to 65535");
    refuses("workers", "two", "here: workers: 'two' is not a whole number; allowed: 1 to 64");
    refuses("workers", "2.5", "here: workers: '2.5' is not a whole number; allowed: 1 to 64");
    refuses("workers", "0x10", "here: workers: '0x10' is not a whole number; allowed: 1 to 64");
    refuses("workers", "2 ", "here: workers: '2 ' is not a whole number; allowed: 1 to 64");
}

Test(options, durations_take_units_and_milliseconds_without_one)
{
    takes("cookie_ms", "90s", "90s", 90000);
    takes("cookie_ms", "1500", "1500ms", 1500);
    takes("cookie_ms", "2min", "120s", 120000);
    takes("lease_max_ms", "0", "0ms", 0);
    refuses("cookie_ms", "1ms", "here: cookie_ms: '1ms' is too small; allowed: 1s to 3600s");
    refuses("cookie_ms", "2h", "here: cookie_ms: '2h' is too large; allowed: 1s to 3600s");
    refuses("cookie_ms", "soon",
            "here: cookie_ms: 'soon' is not a duration such as 500ms or 5s; "
            "allowed: 1s to 3600s");
}

Test(options, flags_take_the_usual_words)
{
    static const char *const on[] = {"on", "true", "yes", "1", "ON", "True"};
    static const char *const off[] = {"off", "false", "no", "0"};

    for (unsigned i = 0; i < sizeof(on) / sizeof(on[0]); i++)
        takes("verify_on_start", on[i], "on", 1);
    for (unsigned i = 0; i < sizeof(off) / sizeof(off[0]); i++)
        takes("verify_on_start", off[i], "off", 0);
    refuses("verify_on_start", "maybe",
            "here: verify_on_start: 'maybe' is neither on nor off; allowed: on or off");
}

Test(options, choices_are_whole_words_of_their_list)
{
    takes("idle", "spin", "spin", 0);
    takes("idle", "sleep", "sleep", 2);
    refuses("idle", "slee", "here: idle: 'slee' is not known; allowed: one of spin, pause, sleep");
    refuses("idle", "sleepy",
            "here: idle: 'sleepy' is not known; allowed: one of spin, pause, sleep");
    refuses("idle", "spin|pause",
            "here: idle: 'spin|pause' is not known; allowed: one of spin, pause, sleep");
    refuses("idle", "", "here: idle: '' is not known; allowed: one of spin, pause, sleep");
}

Test(options, texts_hold_no_control_characters)
{
    char longest[300];

    takes("eal_args", "--foo --bar", "--foo --bar", 0);
    refuses("device", "", "here: device: '' is empty; allowed: 1 to 255 characters");
    refuses("device", "net_tap0\nset policy lfu",
            "here: device: 'net_tap0\nset policy lfu' holds a control character; "
            "allowed: 1 to 255 characters");
    memset(longest, 'a', sizeof(longest));
    longest[256] = '\0';
    cr_assert_eq(set("device", longest), -EINVAL);
    cr_assert(strstr(faults.lines[faults.count - 1], "is too long"));
    longest[255] = '\0';
    cr_assert_eq(set("device", longest), 0);
    longest[108] = '\0';
    cr_assert_eq(set("control_socket", longest), -EINVAL);
}

Test(options, addresses_come_with_a_prefix_length)
{
    takes("ipv4", "192.0.2.7/24", "192.0.2.7/24", 24);
    takes("ipv6", "2001:DB8:0:0::7/64", "2001:db8::7/64", 64);
    takes("ipv4", "", "", 0);
#define SUCH4 "; allowed: an address with prefix length such as 10.0.0.1/24, or empty"
#define SUCH6 "; allowed: an address with prefix length such as fd00::1/64, or empty"
    refuses("ipv4", "192.0.2.7", "here: ipv4: '192.0.2.7' has no prefix length" SUCH4);
    refuses("ipv4", "192.0.2/24", "here: ipv4: '192.0.2/24' is not an IPv4 address" SUCH4);
    refuses("ipv4", "192.0.2.7/33", "here: ipv4: '192.0.2.7/33' has a wrong prefix length" SUCH4);
    refuses("ipv4", "192.0.2.7/0", "here: ipv4: '192.0.2.7/0' has a wrong prefix length" SUCH4);
    refuses("ipv4", "192.0.2.7/", "here: ipv4: '192.0.2.7/' has a wrong prefix length" SUCH4);
    refuses("ipv4", "224.0.0.1/8",
            "here: ipv4: '224.0.0.1/8' is no address that a host can have" SUCH4);
    refuses("ipv4", "fd00::1/64", "here: ipv4: 'fd00::1/64' is not an IPv4 address" SUCH4);
    refuses("ipv6", "10.0.0.1/24", "here: ipv6: '10.0.0.1/24' is not an IPv6 address" SUCH6);
    refuses("ipv6", "fd00::1/129", "here: ipv6: 'fd00::1/129' has a wrong prefix length" SUCH6);
    refuses("ipv6", "ff02::1/64",
            "here: ipv6: 'ff02::1/64' is no address that a host can have" SUCH6);
    refuses("ipv6", "::/64", "here: ipv6: '::/64' is no address that a host can have" SUCH6);
}

Test(options, cpu_lists_are_counted)
{
    static const char *const bad[] = {"x",
                                      "1-",
                                      "-1",
                                      "3-2",
                                      "1,,2",
                                      "1,",
                                      "1,1",
                                      "0-3,2",
                                      "1024",
                                      "1 2",
                                      "99999999999999999999"};

    takes("cpus", "1-2,5", "1-2,5", 3);
    takes("cpus", "0", "0", 1);
    takes("cpus", "", "", 0);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(set("cpus", bad[i]), -EINVAL, "%s", bad[i]);
        cr_assert(strstr(faults.lines[faults.count - 1], "is not a list of different CPUs"));
    }
}

Test(options, lists_of_sizes_rise_and_are_what_slots_can_be)
{
    static const char *const bad[] = {
        "",           ",",         "1MiB,",     ",1MiB",
        "1MiB,,2MiB", "2MiB,1MiB", "1MiB,1MiB", "1x",
        "1MiB 2MiB",  "-1,1MiB",   "0,1MiB",    "1KiB,2KiB,3KiB,4KiB,5KiB,6KiB,7KiB,8KiB,9KiB",
    };
    const char *why = "is not a list of at most 8 sizes, the smallest first";
    char text[OPTION_TEXT_MAX];

    takes("gpu_pool_blocks", "2MiB", "2MiB", 2 * MIB);
    takes("gpu_pool_blocks", "256,1024,1048576", "256,1KiB,1MiB", MIB);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(set("gpu_pool_blocks", bad[i]), -EINVAL, "%s", bad[i]);
        cr_assert(strstr(faults.lines[faults.count - 1], why), "%s", bad[i]);
    }
    cr_assert_eq(set("gpu_pool_blocks", "128,1MiB"), -EINVAL);
    cr_assert(strstr(faults.lines[faults.count - 1], "too small"));
    cr_assert_eq(set("gpu_pool_blocks", "1MiB,65MiB"), -EINVAL);
    cr_assert(strstr(faults.lines[faults.count - 1], "too large"));
    cr_assert_eq(set("gpu_pool_blocks", "1000"), -EINVAL);
    cr_assert(strstr(faults.lines[faults.count - 1], "no multiple of 256"));
    takes("gpu_pool_blocks", "64KiB,2MiB", "64KiB,2MiB", 2 * MIB);
    option_wire(option_find("gpu_pool_blocks"), &options.values[OPT_gpu_pool_blocks], text,
                sizeof(text));
    cr_assert_str_eq(text, "65536,2097152");
}

Test(options, unknown_keys_get_the_nearest_name)
{
    refuses("cache_sise", "1GiB", "here: cache_sise: unknown key; did you mean cache_size?");
    refuses("worker", "1", "here: worker: unknown key; did you mean workers?");
    refuses("colour", "red", "here: colour: unknown key; `kvraild --help` lists all");
    refuses("", "red", "here: : unknown key; `kvraild --help` lists all");
    cr_assert_eq(set("cache-size", "2GiB"), 0, "dashes count as underscores");
}

Test(options, every_row_is_well_formed)
{
    for (unsigned i = 0; i < NR_OPTIONS; i++) {
        const struct option_row *row = &option_table[i];
        size_t help = strlen(row->help);

        cr_assert_eq(option_find(row->name), row, "%s is there twice", row->name);
        cr_assert(help > 5 && row->help[help - 1] == '.', "%s: help is no sentence", row->name);
        cr_assert_eq(row->type == OPTION_CHOICE, row->choices != NULL, "%s", row->name);
        cr_assert_leq(row->min, row->max, "%s", row->name);
    }
}

/* What the dataplane would take if nobody told it anything. */
struct row {
    const char *kind, *name, *text;
    uint64_t number;
    int live;
};
#define ROW_text(value) .text = (value)
#define ROW_number(value) .number = (value)
#define ROW_flag(value) .number = (value)
#define ROW_idle(value) .number = (value)
#define ROW(kind_, name_, init_, live_)                                                            \
    {.kind = #kind_, .name = #name_, ROW_##kind_(init_), .live = (live_)},
static const struct row rows[] = {SETTINGS_LIST(ROW)};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

Test(options, every_setting_of_the_dataplane_is_there_with_the_same_default)
{
    char text[OPTION_TEXT_MAX];
    unsigned marked = 0;

    for (unsigned i = 0; i < NR_ROWS; i++) {
        const struct option_row *row = option_find(rows[i].name);
        const struct option_value *value;

        cr_assert(row, "%s is missing", rows[i].name);
        cr_assert(row->dataplane, "%s", row->name);
        cr_assert_eq(row->live, rows[i].live, "%s", row->name);
        if (strcmp(row->name, "hugepages") == 0)
            continue; /* auto, off, require here; kvraild decides which flag that is */
        value = &options.values[row - option_table];
        option_wire(row, value, text, sizeof(text));
        if (strcmp(rows[i].kind, "text") == 0)
            cr_assert_str_eq(text, rows[i].text);
        else
            cr_assert_eq(value->number, rows[i].number, "%s", row->name);
    }
    for (unsigned i = 0; i < NR_OPTIONS; i++)
        marked += option_table[i].dataplane;
    cr_assert_eq(marked, NR_ROWS, "a key is marked DATAPLANE that the dataplane does not know");
}

Test(options, the_dataplane_takes_every_default_and_both_ends_of_every_range)
{
    struct settings settings;
    char text[OPTION_TEXT_MAX], end[32];

    settings_defaults(&settings);
    for (unsigned i = 0; i < NR_OPTIONS; i++) {
        const struct option_row *row = &option_table[i];

        if (!row->dataplane || strcmp(row->name, "hugepages") == 0)
            continue;
        option_wire(row, &options.values[i], text, sizeof(text));
        cr_assert_eq(settings_set(&settings, row->name, text, false), 0, "%s=%s", row->name, text);
        if (row->type != OPTION_NUMBER && row->type != OPTION_SIZE && row->type != OPTION_DURATION)
            continue;
        for (unsigned high = 0; high < 2; high++) {
            snprintf(end, sizeof(end), "%llu", (unsigned long long)(high ? row->max : row->min));
            cr_assert_eq(set(row->name, end), 0, "%s=%s", row->name, end);
            option_wire(row, &options.values[i], text, sizeof(text));
            cr_assert_eq(settings_set(&settings, row->name, text, row->live), 0, "%s=%s", row->name,
                         text);
        }
    }
}

Test(options, the_policies_are_those_of_the_cache)
{
    char words[256] = "";

    for (const struct policy_ops *const *policy = policies; *policy; policy++)
        snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s", *words ? "|" : "",
                 (*policy)->name);
    cr_assert_str_eq(option_table[OPT_policy].choices, words);
}

static void check_says(const char *line)
{
    faults_free(&faults);
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 1, "%u faults, the first: %s", faults.count,
                 faults.count ? faults.lines[0] : "-");
    cr_assert_str_eq(faults.lines[0], line);
    options_defaults(&options);
}

Test(options, the_defaults_fit_together)
{
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 0);
}

Test(options, what_does_not_fit_together_is_refused)
{
    cr_assert_eq(set("workers", "2") + set("partitions", "1"), 0);
    check_says("workers: 2 is more than partitions (1); a core without a partition has nothing to "
               "own");
    cr_assert_eq(set("workers", "64") + set("cache_size", "8MiB"), 0);
    check_says("cache_size: 8MiB is too small for 64 partitions; at least 64MiB");
    cr_assert_eq(set("port", "65530") + set("partitions", "8"), 0);
    check_says("port: 65530 leaves no room for 8 partitions below 65536");
    cr_assert_eq(set("ipv4", "") + set("ipv6", ""), 0);
    check_says("ipv4, ipv6: both are empty; the device needs an address");
    cr_assert_neq(set("mtu", "1279"), 0);
    cr_assert_eq(set("host_ipv4", "10.97.0.2/24"), 0);
    check_says("host_ipv4: 10.97.0.2/24 is not in the network of ipv4 (10.96.0.1/24)");
    cr_assert_eq(set("host_ipv6", "fd96::1/64"), 0);
    check_says("host_ipv6: fd96::1/64 is also ipv6; the two ends need different addresses");
    cr_assert_eq(set("device", "net_tap0,iface="), 0);
    check_says("device: 'net_tap0,iface=' names no interface after iface=");
    cr_assert_eq(set("device", "net_tap0, iface=a"), 0);
    check_says("device: 'net_tap0, iface=a' holds a space; arguments are separated by commas");
    cr_assert_eq(set("cpus", "0") + set("workers", "2"), 0);
    check_says("cpus: '0' names 1 CPUs for 2 workers");
    cr_assert_eq(set("cpus", "1023"), 0);
    check_says("cpus: '1023': CPU 1023 does not exist here or may not be used");
}

Test(options, a_pool_holds_a_block_of_each_size_for_each_worker)
{
    cr_assert_eq(set("gpu_pool", "16MiB") + set("gpu_pool_blocks", "1MiB,4MiB"), 0);
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 0);
    cr_assert_eq(set("gpu", "off"), 0);
    check_says("gpu_pool: 16MiB, and gpu is off: there is no device to have it");
    cr_assert_eq(set("gpu_pool", "16MiB") + set("gpu_pool_blocks", "1MiB,4MiB"), 0);
    cr_assert_eq(set("workers", "4") + set("partitions", "4"), 0);
    check_says("gpu_pool: 16MiB is too small: each of 4 workers has a share for each of 2 sizes of "
               "gpu_pool_blocks, and one block of 4.0 MiB must fit it");
}

Test(options, a_cache_larger_than_the_machine_is_refused)
{
    if (sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) >= (long)(256 * GIB))
        cr_skip_test("this machine has more memory than cache_size can ask for");
    cr_assert_eq(set("cache_size", "256GiB"), 0);
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 1);
    cr_assert(strstr(faults.lines[0], "cache_size: 256GiB is more than the "));
    cr_assert(strstr(faults.lines[0], " GiB of memory that this machine has"));
}

Test(options, sockets_beside_the_control_socket_need_room_for_their_names)
{
    char longest[108], beside[256];

    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "/tmp/", 5);
    memcpy(longest + 96, ".sock", 6);
    cr_assert_eq(set("control_socket", longest), 0);
    cr_assert(control_socket_beside(&options, "local", beside, sizeof(beside)));
    cr_assert_str_eq(beside + 96, ".local.sock");
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 0);
    memcpy(longest + 97, ".sock", 6);
    longest[96] = 'a';
    cr_assert_eq(set("control_socket", longest), 0);
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 2);
    cr_assert(strstr(faults.lines[0], "local_socket: /tmp/"));
    cr_assert(strstr(faults.lines[1], "control_socket: /tmp/"));
    faults_free(&faults);
    cr_assert_eq(set("control_socket", "/tmp/one") + set("local_socket", "/tmp/one"), 0);
    cr_assert(control_socket_beside(&options, "adopt", beside, sizeof(beside)));
    cr_assert_str_eq(beside, "/tmp/one.adopt");
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 1);
    cr_assert_str_eq(faults.lines[0], "local_socket: /tmp/one is the control_socket");
}

Test(options, a_cache_in_files_has_an_absolute_path)
{
    cr_assert_eq(set("arena_file", "cache"), 0);
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 1);
    cr_assert_str_eq(faults.lines[0], "arena_file: 'cache' is no absolute path");
}

Test(options, an_index_larger_than_the_machine_is_refused)
{
    if (sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) >= (long)(330 * GIB))
        cr_skip_test("this machine has more memory than blocks_max can ask for");
    cr_assert_eq(set("blocks_max", "4000000000"), 0);
    options_check(&options, &faults);
    cr_assert_eq(faults.count, 1);
    cr_assert(strstr(faults.lines[0], "blocks_max: an index of 4000000000 blocks takes about 335"));
}

/* The whole of a file, or of what a page function writes. */
static char *file_text(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 16);

    cr_assert(file && text, "%s", path);
    cr_assert_lt(fread(text, 1, (1 << 16) - 1, file), (1 << 16) - 1);
    fclose(file);
    return text;
}

static void page_is(const char *path, void (*page)(FILE *out))
{
    char *written = NULL, *kept = file_text(path);
    size_t size;
    FILE *out = open_memstream(&written, &size);

    page(out);
    fclose(out);
    cr_assert_str_eq(written, kept, "%s is stale: write it again with options-print", path);
    free(written);
    free(kept);
}

Test(options, the_manual_and_the_example_file_are_what_the_table_says)
{
    page_is(SOURCE_ROOT "/docs/man/kvrail.yaml.5.scd", page_man);
    page_is(SOURCE_ROOT "/dist/kvrail.yaml", page_yaml);
}

Test(options, the_example_file_with_every_key_uncommented_holds_the_defaults)
{
    char path[] = "/tmp/kvrail-example-XXXXXX";
    char *text = file_text(SOURCE_ROOT "/dist/kvrail.yaml");
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "w");
    struct options read;

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        fprintf(out, "%s\n", line[0] == '#' && line[1] != ' ' ? line + 1 : line);
    fclose(out);
    memset(&read, 0, sizeof(read));
    cr_assert_eq(options_read_file(path, &read, &faults), 0, "%s",
                 faults.count ? faults.lines[0] : "?");
    for (unsigned i = 0; i < NR_OPTIONS; i++) {
        cr_assert_eq(read.values[i].source, SOURCE_FILE, "%s", option_table[i].name);
        cr_assert_str_eq(read.values[i].text, options.values[i].text);
    }
    unlink(path);
    free(text);
}
