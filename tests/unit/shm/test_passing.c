/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with descriptors beside them, from those who mean it well and from those who do not.
 * After each test the process has as many descriptors open as before. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/passing.h"
#include "tests/fixture/descriptors.h"

#define MANY 9u

static int ends[2], given[MANY];
static unsigned open_before;

static void setup(void)
{
    open_before = descriptors_open();
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    for (unsigned i = 0; i < MANY; i++)
        given[i] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

static void teardown(void)
{
    passing_close(given, MANY);
    passing_close(ends, 2);
    cr_assert_eq(descriptors_open(), open_before, "a descriptor was left open");
}

/* More than passing_send would. */
static void send_many(const char *text, unsigned nr)
{
    cr_assert_eq(descriptors_send(ends[0], text, given, nr), (ssize_t)strlen(text));
}

static bool same_file(int a, int b)
{
    struct stat of_a, of_b;

    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_ino == of_b.st_ino;
}

TestSuite(passing, .init = setup, .fini = teardown);

Test(passing, a_message_arrives_with_as_many_descriptors_as_were_sent)
{
    for (unsigned nr = 0; nr <= PASSING_MAX; nr++) {
        struct passed came;
        char text[8];

        cr_assert_eq(passing_send(ends[0], "abc", 3, given, nr), 3);
        cr_assert_eq(passing_receive(ends[1], text, sizeof(text), &came), 3);
        cr_assert_eq(memcmp(text, "abc", 3), 0);
        cr_assert(came.nr == nr && !came.cut);
        for (unsigned i = 0; i < nr; i++) {
            cr_assert(same_file(came.fds[i], given[i]));
            cr_assert(fcntl(came.fds[i], F_GETFD) & FD_CLOEXEC);
        }
        passing_close(came.fds, came.nr);
    }
    cr_assert_eq(passing_send(ends[0], "abc", 3, given, PASSING_MAX + 1), -EINVAL);
}

Test(passing, of_too_many_descriptors_the_first_come_and_the_rest_is_closed)
{
    struct passed came;
    char text[8];

    for (unsigned nr = PASSING_MAX + 1; nr <= MANY; nr++) {
        send_many("abc", nr);
        cr_assert_eq(passing_receive(ends[1], text, sizeof(text), &came), 3);
        cr_assert(came.nr == PASSING_MAX && came.cut);
        passing_close(came.fds, came.nr);
    }
}

Test(passing, a_message_that_is_too_long_is_none_and_its_descriptors_are_the_callers)
{
    struct passed came;
    char text[8];

    cr_assert_eq(passing_send(ends[0], "123456789", 9, given, 2), 9);
    cr_assert_eq(passing_receive(ends[1], text, sizeof(text), &came), -EMSGSIZE);
    cr_assert(came.nr == 2 && !came.cut);
    passing_close(came.fds, came.nr);
}

Test(passing, without_room_for_descriptors_the_message_says_so)
{
    struct rlimit before, none;
    struct passed came;
    char text[8];
    ssize_t got;

    cr_assert_eq(passing_send(ends[0], "abc", 3, given, 2), 3);
    getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    got = passing_receive(ends[1], text, sizeof(text), &came);
    setrlimit(RLIMIT_NOFILE, &before);
    cr_assert_eq(got, 3);
    cr_assert(came.nr == 0 && came.cut);
}

Test(passing, nothing_waits)
{
    struct passed came = {.nr = 7, .cut = true};
    static char bytes[64 << 10];
    ssize_t n;

    cr_assert_eq(passing_receive(ends[1], bytes, sizeof(bytes), &came), -EAGAIN);
    cr_assert(came.nr == 0 && !came.cut);
    do
        n = passing_send(ends[0], bytes, sizeof(bytes), NULL, 0);
    while (n > 0);
    cr_assert_eq(n, -EAGAIN);
}

Test(passing, a_message_to_nobody_is_an_error_and_no_signal)
{
    close(ends[1]);
    cr_assert_eq(passing_send(ends[0], "abc", 3, given, 1), -EPIPE);
    ends[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

Test(passing, the_end_of_a_connection_is_a_message_of_no_bytes)
{
    struct passed came;
    char text[8];

    close(ends[0]);
    cr_assert_eq(passing_receive(ends[1], text, sizeof(text), &came), 0);
    cr_assert_eq(came.nr, 0);
    ends[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
}
