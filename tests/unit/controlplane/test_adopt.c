/* SPDX-License-Identifier: Apache-2.0 */
/* kvraild is killed, and the next one comes. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon.h"

TestSuite(adopt, .init = daemon_setup, .fini = daemon_teardown, .timeout = 60);

static struct guest guest;

/* Kills kvraild; the dataplane that it leaves. */
static pid_t orphan(void)
{
    json_t *answer = wait_state("ok");
    pid_t dataplane = dataplane_pid(answer);

    json_decref(answer);
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    pid = -1;
    poll(NULL, 0, 100);
    cr_assert_eq(kill(dataplane, 0), 0, "the dataplane serves on");
    return dataplane;
}

static void ended(pid_t process)
{
    for (unsigned i = 0; i < 250 && kill(process, 0) == 0; i++)
        poll(NULL, 0, 20);
    cr_assert_eq(kill(process, 0), -1);
}

Test(adopt, the_next_kvraild_goes_on_with_the_same_dataplane)
{
    json_t *answer, *result;
    char arena[32];
    pid_t before;

    write_file("");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    result = json_object_get(json_object_get(answer, "result"), "arena");
    snprintf(arena, sizeof(arena), "%s", json_string_value(json_object_get(result, "id")));
    json_decref(answer);
    before = orphan();
    for (unsigned times = 0; times < 2; times++) {
        pid = start("ready", NULL);
        answer = wait_state("ok");
        result = json_object_get(json_object_get(answer, "result"), "arena");
        cr_assert_eq(dataplane_pid(answer), before);
        cr_assert_str_eq(json_string_value(json_object_get(result, "id")), arena);
        cr_assert(json_is_true(json_object_get(dataplane_of(answer), "adopted")));
        cr_assert_str_eq(first_of(answer, "notes"), "no hugepages: ordinary pages are used");
        result = json_object_get(dataplane_of(answer), "recovery");
        cr_assert_eq(json_integer_value(json_object_get(result, "kept")), 3);
        json_decref(answer);
        if (times == 0)
            cr_assert_eq(orphan(), before);
    }
    cr_assert(said("adopted the dataplane with pid "));
    /* It is watched, told things, and stopped as a child would be. */
    answer = ask("{\"command\":\"config-set\",\"key\":\"policy\",\"value\":\"lfu\"}\n");
    cr_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    kill(before, SIGKILL);
    answer = wait_other(before);
    before = dataplane_pid(answer);
    cr_assert(json_is_false(json_object_get(dataplane_of(answer), "adopted")));
    cr_assert_str_eq(json_string_value(json_object_get(dataplane_of(answer), "last_exit")),
                     "the dataplane ended, its parent long before it");
    json_decref(answer);
    kill(pid, SIGTERM);
    cr_assert_eq(end_of(pid), 0);
    pid = -1;
    ended(before);
}

Test(adopt, an_adopted_dataplane_is_stopped_with_kvraild)
{
    pid_t before;

    write_file("");
    pid = start("ready", NULL);
    before = orphan();
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    kill(pid, SIGTERM);
    cr_assert_eq(end_of(pid), 0);
    pid = -1;
    ended(before);
}

Test(adopt, one_that_stalls_later_is_killed_and_replaced)
{
    pid_t before;

    write_file("stall_ms: 400ms\n");
    pid = start("ready", NULL);
    before = orphan();
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    kill(before, SIGSTOP);
    json_decref(wait_other(before));
    ended(before);
}

Test(adopt, clients_are_adopted_as_well)
{
    json_t *answer, *client;
    pid_t before, child;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_WRITE);
    child = guest_fork();
    before = orphan();
    cr_assert(guest_hung_up(&guest));
    pid = start("ready", NULL);
    answer = wait_clients(2);
    client = json_array_get(json_object_get(json_object_get(answer, "result"), "clients"), 0);
    cr_assert_eq(json_integer_value(json_object_get(client, "id")), guest.done.id);
    cr_assert_eq(json_integer_value(json_object_get(client, "pid")), getpid());
    cr_assert(json_is_true(json_object_get(client, "may_write")));
    cr_assert_str_eq(json_string_value(json_object_get(client, "name")), "guest?[1m");
    json_decref(answer);
    kill(child, SIGKILL); /* no connection: its process says it */
    json_decref(wait_clients(1));
    cr_assert_eq(waitpid(child, NULL, 0), child);
    kill(before, SIGKILL); /* the next dataplane hears of them */
    json_decref(wait_other(before));
    json_decref(wait_clients(1));
}

Test(adopt, a_client_that_leaves_while_the_dataplane_starts_is_no_client_of_the_new_one)
{
    json_t *answer;
    pid_t before;

    write_file("");
    pid = start("slow", NULL);
    answer = wait_state("ok");
    before = dataplane_pid(answer);
    json_decref(answer);
    guest_attach(&guest, ATTACH_READ);
    kill(before, SIGKILL);
    json_decref(wait_state("degraded"));
    close(guest.conn);
    json_decref(wait_other(before));
    json_decref(wait_clients(0));
    orphan(); /* the next kvraild hears of those that the dataplane has */
    pid = start("slow", NULL);
    json_decref(wait_state("ok"));
    json_decref(wait_clients(0));
}

Test(adopt, what_hangs_is_killed_and_its_cache_and_clients_are_kept)
{
    uint64_t arena;
    json_t *answer;
    pid_t before, child;

    write_file("");
    pid = start("ready", NULL);
    json_decref(wait_state("ok"));
    guest_attach(&guest, ATTACH_READ);
    child = guest_fork();
    arena = guest.offer.arena_id;
    before = orphan();
    kill(before, SIGSTOP);
    kill(child, SIGKILL); /* it dies while nobody looks */
    cr_assert_eq(waitpid(child, NULL, 0), child);
    pid = start("ready", NULL);
    cr_assert(said_in_time("does not answer: it is killed, its cache is kept"));
    json_decref(wait_other(before));
    ended(before);
    answer = wait_clients(1);
    json_decref(answer);
    cr_assert_not(said("the cache starts empty"));
    guest_connect(&guest);
    cr_assert_eq(guest_hello(&guest, ATTACH_READ), 0);
    cr_assert_eq(guest.offer.arena_id, arena);
}

Test(adopt, one_that_speaks_otherwise_is_stopped_and_that_is_said)
{
    json_t *answer;
    pid_t before;

    write_file("");
    pid = start("foreign", NULL);
    before = orphan();
    pid = start("ready", NULL);
    answer = wait_other(before);
    cr_assert(strstr(first_of(answer, "notes"), "cannot be adopted: it is of another version"),
              "%s", first_of(answer, "notes"));
    json_decref(answer);
    ended(before);
}

Test(adopt, settings_that_differ_wait_for_a_restart_and_live_ones_are_sent)
{
    json_t *answer;
    pid_t before;

    write_file("port: 1234\n");
    pid = start("ready", NULL);
    before = orphan();
    write_file("port: 4321\npolicy: lfu\nstall_ms: 5s\n");
    pid = start("ready", NULL);
    answer = wait_state("ok");
    cr_assert_eq(dataplane_pid(answer), before);
    cr_assert_str_eq(first_of(answer, "urls"), "udp://10.96.0.1:1234");
    cr_assert_str_eq(first_of(answer, "notes"), "port: 4321 takes effect after `kvrail restart`");
    json_decref(answer);
    cr_assert(said_in_time("policy: now lfu"));
    json_decref(ask("{\"command\":\"restart\"}\n"));
    answer = wait_other(before);
    cr_assert_str_eq(first_of(answer, "urls"), "udp://10.96.0.1:4321");
    json_decref(answer);
}

Test(adopt, a_dataplane_that_died_too_is_replaced_over_an_empty_cache)
{
    pid_t before;

    write_file("");
    pid = start("ready", NULL);
    before = orphan();
    kill(before, SIGKILL);
    ended(before);
    pid = start("ready", NULL);
    json_decref(wait_other(before));
}
