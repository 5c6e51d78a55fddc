/* SPDX-License-Identifier: Apache-2.0 */
/* The real program against a real server on loopback, one of its own for each test; over shared
 * memory if KVRAIL_OVER is set. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pid_t server;
static char url[96];

struct result {
    int code;
    char *out;
    size_t len;
};

/* The first line of fd, or false after 10 s. */
static bool first_line(int fd, char *line, size_t size)
{
    size_t used = 0;

    while (used + 1 < size && (used == 0 || line[used - 1] != '\n')) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, 10000) != 1 || read(fd, line + used, 1) != 1)
            return false;
        used++;
    }
    line[used] = 0;
    return true;
}

static void start_server(const char *size)
{
    const char *program = getenv("KVRAIL_SOCKSERVER");
    char *argv[6] = {(char *)(uintptr_t)program, strdup("--size"), strdup(size)};
    char path[64];
    posix_spawn_file_actions_t actions;
    char line[64];
    int fds[2];
    unsigned port;

    if (!program || access(program, X_OK) || !getenv("KVRAIL_CLI"))
        cr_skip_test("KVRAIL_SOCKSERVER names no program: sockserver is not built");
    snprintf(path, sizeof(path), "/tmp/kvrail-tools-%d.sock", (int)getpid());
    if (getenv("KVRAIL_OVER")) {
        argv[3] = strdup("--local");
        argv[4] = strdup(path);
    }
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    cr_assert_eq(posix_spawn(&server, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    cr_assert(first_line(fds[0], line, sizeof(line)), "the server does not start");
    cr_assert_eq(sscanf(line, "ready %u", &port), 1, "%s", line);
    if (getenv("KVRAIL_OVER"))
        snprintf(url, sizeof(url), "shm://%s", path);
    else
        snprintf(url, sizeof(url), "udp://127.0.0.1:%u", port);
    setenv("KVRAIL_SERVER", url, 1);
}

static void start(void)
{
    start_server("67108864");
}

static int end_server(int signal_number)
{
    int status = 0;

    if (server > 0) {
        kill(server, signal_number);
        waitpid(server, &status, 0);
    }
    server = 0;
    return status;
}

/* Where the test has killed the server itself. */
static void end_server_fini(void)
{
    end_server(SIGTERM);
}

static void stop(void)
{
    int status = end_server(SIGTERM);

    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %d", status);
}

/* Runs argv[0] with input on its standard input; standard error is kept apart. */
static struct result spawn(char *const argv[], const char *input, size_t input_len)
{
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC), status;
    posix_spawn_file_actions_t actions;
    struct result r = {0};
    pid_t pid;

    cr_assert_eq(write(in, input, input_len), (ssize_t)input_len);
    lseek(in, 0, SEEK_SET);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    cr_assert_eq(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    r.len = (size_t)lseek(out, 0, SEEK_END);
    r.out = malloc(r.len + 1);
    cr_assert_eq(pread(out, r.out, r.len, 0), (ssize_t)r.len);
    r.out[r.len] = 0;
    close(in);
    close(out);
    return r;
}

static struct result run_words(const char *input, size_t input_len, va_list words)
{
    /* What is tested is the result, also on a machine that has other things to do. */
    char *argv[48] = {getenv("KVRAIL_CLI"), strdup("--timeout"), strdup("10s")};
    struct result r;
    int argc = 3;

    for (const char *w; argc < 47 && (w = va_arg(words, const char *));)
        argv[argc++] = strdup(w);
    r = spawn(argv, input, input_len);
    while (--argc > 0)
        free(argv[argc]);
    return r;
}

__attribute__((sentinel)) static struct result run(const char *input, ...)
{
    struct result r;
    va_list words;

    va_start(words, input);
    r = run_words(input, strlen(input), words);
    va_end(words);
    return r;
}

/* Runs with --json, demands the code; the last line, parsed. The caller's. */
__attribute__((sentinel)) static json_t *run_json(int code, ...)
{
    json_error_t error;
    struct result r;
    va_list words;
    char *last;
    json_t *json;

    va_start(words, code);
    r = run_words("", 0, words);
    va_end(words);
    cr_assert_eq(r.code, code, "exit %d for %d: %s", r.code, code, r.out);
    if (r.len > 0)
        r.out[r.len - 1] = 0;
    last = strrchr(r.out, '\n');
    json = json_loads(last ? last + 1 : r.out, 0, &error);
    cr_assert_not_null(json, "%s: %s", error.text, r.out);
    free(r.out);
    return json;
}

static double number(const json_t *json, const char *name)
{
    cr_assert(json_is_number(json_object_get(json, name)), "no number %s", name);
    return json_number_value(json_object_get(json, name));
}

static int code_of(struct result r)
{
    free(r.out);
    return r.code;
}

Test(end_to_end, a_value_is_stored_shown_touched_and_deleted, .init = start, .fini = stop)
{
    struct result r;
    json_t *json;

    cr_assert_eq(code_of(run("hello", "put", "greeting", "--ttl", "100s", NULL)), 0);
    r = run("", "get", "greeting", NULL);
    cr_assert_eq(r.code, 0);
    cr_assert_str_eq(r.out, "hello");
    free(r.out);
    json = run_json(0, "get", "greeting", "--meta", "--json", NULL);
    cr_assert_eq(number(json, "value_len"), 5);
    cr_assert(number(json, "ttl_left_ms") > 50000 && number(json, "ttl_left_ms") <= 100000);
    json_decref(json);
    cr_assert_eq(code_of(run("", "put", "greeting", "--value", "x", "--add", NULL)), 1);
    cr_assert_eq(code_of(run("", "touch", "greeting", NULL)), 0);
    json = run_json(0, "get", "greeting", "--json", NULL);
    cr_assert_eq(number(json, "ttl_left_ms"), 0);
    json_decref(json);
    cr_assert_eq(code_of(run("", "del", "greeting", NULL)), 0);
    cr_assert_eq(code_of(run("", "del", "greeting", NULL)), 1);
    json = run_json(1, "get", "greeting", "--json", NULL);
    cr_assert_str_eq(json_string_value(json_object_get(json, "status")), "MISS");
    json_decref(json);
}

Test(end_to_end, values_of_all_sizes_come_back_byte_for_byte, .init = start, .fini = stop)
{
    static const size_t lens[] = {0, 1, 1000, 9000, 65536, 5u << 20};
    char *bytes = malloc(5u << 20);

    for (size_t i = 0; i < 5u << 20; i++)
        bytes[i] = (char)(i * 2654435761u >> 11);
    for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        char *const put[] = {getenv("KVRAIL_CLI"), (char[]){"put"}, (char[]){"big"}, NULL};
        struct result r = spawn(put, bytes, lens[i]);

        cr_assert_eq(r.code, 0, "%zu bytes", lens[i]);
        free(r.out);
        r = run("", "get", "big", NULL);
        cr_assert_eq(r.code, 0);
        cr_assert_eq(r.len, lens[i]);
        cr_assert_eq(memcmp(r.out, bytes, lens[i]), 0, "%zu bytes", lens[i]);
        free(r.out);
    }
    struct result r = run("", "get", "big", "--off", "1000", "--len", "16", "--stride", "1M",
                          "--count", "4", NULL);
    cr_assert_eq(r.len, 64);
    for (size_t i = 0; i < 4; i++)
        cr_assert_arr_eq(r.out + 16 * i, bytes + 1000 + (i << 20), 16);
    free(r.out);
    cr_assert_eq(code_of(run("", "get", "big", "--off", "6MiB", NULL)), 1, "beyond the end");
    free(bytes);
}

Test(end_to_end, a_chain_of_thousands_is_matched, .init = start, .fini = stop)
{
    char *chain = malloc(1 << 17), *at = chain;
    struct result r;
    json_error_t error;
    json_t *json;

    for (int i = 0; i < 4000; i++)
        at += sprintf(at, "block-%d\n", i);
    for (int i = 0; i < 5; i++) {
        char key[16];

        snprintf(key, sizeof(key), "block-%d", i == 4 ? 3999 : i);
        cr_assert_eq(code_of(run("", "put", key, "--value", "v", NULL)), 0);
    }
    r = run(chain, "match", "-f", "-", "--json", NULL);
    cr_assert_eq(r.code, 0);
    json = json_loads(r.out, 0, &error);
    cr_assert_not_null(json);
    cr_assert_eq(number(json, "prefix"), 4);
    cr_assert_eq(number(json, "present"), 5);
    cr_assert_eq(json_array_size(json_object_get(json, "keys")), 4000);
    json_decref(json);
    free(r.out);
    r = run(chain, "del", "-f", "-", "--json", NULL);
    cr_assert_eq(r.code, 1, "most were not there");
    cr_assert_not_null(strstr(r.out, "{\"key\":\"block-3999\",\"status\":\"OK\"}"));
    free(r.out);
    free(chain);
}

Test(end_to_end, ping_and_stat_answer_and_say_when_nobody_is_there, .init = start,
     .fini = end_server_fini)
{
    json_t *json = run_json(0, "ping", "-c", "5", "-i", "1ms", "--json", NULL);

    cr_assert_eq(number(json, "answered"), 5);
    cr_assert_gt(number(json, "rtt_min_us"), 0);
    json_decref(json);
    json = run_json(0, "stat", "-c", "2", "-i", "20ms", "--json", NULL);
    cr_assert_eq(number(json, "items"), 0);
    cr_assert_gt(number(json, "capacity"), 60e6);
    json_decref(json);
    end_server(SIGKILL);
    cr_assert_eq(code_of(run("", "ping", "-c", "1", "-t", "200", NULL)), 4);
    cr_assert_eq(code_of(run("", "stat", "-c", "1", "-t", "200", NULL)), 4);
    cr_assert_eq(code_of(run("", "get", "x", "-t", "200", NULL)), 4);
    cr_assert_eq(code_of(run("", "bench", "-t", "200", NULL)), 4);
    cr_assert_eq(code_of(run("", "replay", "--generate", "turns=2", "-t", "200", NULL)), 4);
}

Test(end_to_end, bench_verifies_small_and_large_values, .init = start, .fini = stop)
{
    json_t *json = run_json(0, "bench", "--read", "80", "--count", "20000", "--keys", "300",
                            "--size", "0:5,15:10,64:35,1KiB:30,64KiB:20", "--batch", "8", "--depth",
                            "32", "--threads", "2", "--json", NULL);

    cr_assert_eq(number(json, "ops"), 20000);
    cr_assert_eq(number(json, "corrupt"), 0);
    cr_assert_eq(number(json, "errors"), 0);
    cr_assert_eq(number(json, "hit_ratio"), 1);
    json_decref(json);
    json = run_json(0, "bench", "--ops", "get:3,match:1,touch:1,del:1,put:1", "--chain", "300",
                    "--count", "3000", "--keys", "500", "--json", NULL);
    cr_assert_eq(number(json, "errors"), 0);
    cr_assert_eq(number(json, "corrupt"), 0);
    json_decref(json);
}

Test(end_to_end, bench_looks_at_hits_in_place, .init = start, .fini = stop)
{
    json_t *json;

    if (!getenv("KVRAIL_OVER"))
        cr_skip_test("only over shared memory");
    json = run_json(0, "bench", "--ops", "get:20,match:1,put:2", "--view", "--count", "50000",
                    "--keys", "300", "--size", "15:10,64:35,1KiB:30,64KiB:20", "--threads", "2",
                    "--json", NULL);
    cr_assert_eq(number(json, "ops"), 50000);
    cr_assert_eq(number(json, "corrupt"), 0);
    cr_assert_eq(number(json, "errors"), 0);
    json_decref(json);
}

Test(end_to_end, bench_in_an_open_loop_is_never_ahead_of_its_rate, .init = start, .fini = stop)
{
    json_t *json = run_json(0, "bench", "--ops", "get", "--rate", "1000", "--seconds", "1",
                            "--keys", "100", "--json", NULL);

    cr_assert(number(json, "ops") > 0 && number(json, "ops") < 1010, "%.0f", number(json, "ops"));
    cr_assert_eq(number(json, "corrupt"), 0);
    json_decref(json);
}

static void start_small(void)
{
    start_server("8388608");
}

Test(end_to_end, replay_verifies_every_hit_under_constant_eviction, .init = start_small,
     .fini = stop)
{
    json_t *json = run_json(0, "replay", "--generate", "conversations=60,turns=5,think=5",
                            "--block-bytes", "64KiB", "--json", NULL);

    cr_assert_eq(number(json, "corrupt"), 0);
    cr_assert_eq(number(json, "errors"), 0);
    cr_assert_eq(number(json, "requests"), 300);
    cr_assert(number(json, "hit_ratio") > 0.05 && number(json, "hit_ratio") < 0.9, "%.4f",
              number(json, "hit_ratio"));
    json_decref(json);
    json = run_json(0, "stat", "-c", "1", "-i", "10ms", "--json", NULL);
    cr_assert_gt(number(json, "bytes"), 4e6);
    json_decref(json);
}

Test(end_to_end, replay_reads_what_workload_writes, .init = start, .fini = stop)
{
    char path[] = "/tmp/kvrail-trace-XXXXXX";
    int fd = mkstemp(path);
    json_t *json =
        run_json(0, "workload", "conversations=10", "turns=3", "-o", path, "--json", NULL);
    double requests = number(json, "requests"), distinct = number(json, "distinct");

    cr_assert_eq(requests, 30);
    json_decref(json);
    json = run_json(0, "replay", path, "--block-bytes", "4KiB", "--threads", "2", "--json", NULL);
    cr_assert_eq(number(json, "requests"), requests);
    cr_assert_eq(number(json, "corrupt"), 0);
    json_decref(json);
    json = run_json(0, "stat", "-c", "1", "-i", "10ms", "--json", NULL);
    cr_assert_eq(number(json, "items"), distinct, "each block is stored once");
    json_decref(json);
    json = run_json(0, "replay", path, "--block-bytes", "4KiB", "--json", NULL);
    cr_assert_eq(number(json, "hit_ratio"), 1, "the second time all is there");
    json_decref(json);
    close(fd);
    unlink(path);
}

Test(end_to_end, what_asks_kvraild_says_that_there_is_none, .init = start, .fini = stop)
{
    static const char *const commands[][3] = {
        {"status", NULL, NULL}, {"errors", NULL, NULL}, {"latency", NULL, NULL}};

    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        cr_assert_eq(code_of(run("", commands[i][0], "--control", "/nonexistent/socket", NULL)), 4,
                     "%s", commands[i][0]);
}

Test(end_to_end, bash_completes_commands_and_options, .init = start, .fini = stop)
{
    static const char script[] =
        "source \"$KVRAIL_COMPLETION\"; kvrail() { :; }\n"
        "try() { COMP_WORDS=(\"$KVRAIL_CLI\" \"$@\"); COMP_CWORD=$#; _kvrail; "
        "printf '%s\\n' \"${COMPREPLY[@]}\" | sort | tr '\\n' ' '; echo; }\n"
        "try ben; try st; try bench --thr; try --server x bench --rea; try bench --dist z;"
        "try get --priority hi; try config g; try config set id\n";
    char *const argv[] = {(char[]){"bash"}, (char[]){"-s"}, NULL};
    struct result r;

    if (!getenv("KVRAIL_COMPLETION") || access("/bin/bash", X_OK))
        cr_skip_test("no bash");
    r = spawn(argv, script, strlen(script));
    cr_assert_str_eq(r.out, "bench \nstat status \n--threads= \n--read= \nzipf:0.99 \nhigh \nget \n"
                            "idle \n");
    free(r.out);
}
