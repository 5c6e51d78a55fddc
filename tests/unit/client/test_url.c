/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "client/url.h"
#include "kvrail/proto.h"

static void expect(const char *text, const char *host, uint16_t port)
{
    struct url url;

    cr_assert_eq(url_parse(text, &url), 0, "%s", text);
    cr_assert_str_eq(url.host, host);
    cr_assert_eq(url.port, port, "%s: %u", text, url.port);
}

Test(url, takes_names_and_addresses_with_and_without_port)
{
    expect("udp://cache", "cache", KVR_PORT);
    expect("udp://cache.example.org:1", "cache.example.org", 1);
    expect("udp://10.96.0.1", "10.96.0.1", KVR_PORT);
    expect("udp://10.96.0.1:65535", "10.96.0.1", 65535);
    expect("udp://[fd96::1]", "fd96::1", KVR_PORT);
    expect("udp://[::1]:9691", "::1", 9691);
    expect("udp://[fe80::1%eth0]:9691", "fe80::1%eth0", 9691);
}

Test(url, takes_the_path_of_a_local_socket)
{
    char longest[6 + URL_PATH_MAX + 2] = "shm://";
    struct url url;

    cr_assert_eq(url_parse("shm:///run/kvrail/local.sock", &url), 0);
    cr_assert_eq(url.scheme, URL_SHM);
    cr_assert_str_eq(url.path, "/run/kvrail/local.sock");
    cr_assert_eq(url_parse("shm://./here", &url), 0);
    cr_assert_str_eq(url.path, "./here");
    cr_assert_eq(url_parse("udp://cache", &url), 0);
    cr_assert_eq(url.scheme, URL_UDP);
    memset(longest + 6, 'a', URL_PATH_MAX);
    cr_assert_eq(url_parse(longest, &url), 0);
    longest[6 + URL_PATH_MAX] = 'a';
    cr_assert_eq(url_parse(longest, &url), -EINVAL);
    cr_assert_eq(url_parse("shm://", &url), -EINVAL);
}

Test(url, refuses_everything_else)
{
    static const char *const bad[] = {"",
                                      "udp",
                                      "udp:/",
                                      "udp://",
                                      "tcp://a",
                                      "UDP://a",
                                      "cache",
                                      "cache:9690",
                                      "udp://:9690",
                                      "udp://a:",
                                      "udp://a:0",
                                      "udp://a:65536",
                                      "udp://a:99999999999999999999",
                                      "udp://a:1x",
                                      "udp://a:-1",
                                      "udp://a: 1",
                                      "udp://a/",
                                      "udp://a:1/x",
                                      "udp://[::1",
                                      "udp://[]",
                                      "udp://[]:1",
                                      "udp://[::1]x",
                                      "udp://[::1]9",
                                      "udp://::1",
                                      "udp://a b",
                                      "udp://a@b",
                                      "udp://[::1]:"};
    struct url url;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(url_parse(bad[i], &url), -EINVAL, "%s", bad[i]);
}

Test(url, refuses_a_host_that_is_too_long)
{
    char text[6 + URL_HOST_MAX + 2];
    struct url url;

    memset(text, 'a', sizeof(text));
    memcpy(text, "udp://", 6);
    text[6 + URL_HOST_MAX] = '\0';
    cr_assert_eq(url_parse(text, &url), 0);
    cr_assert_eq(strlen(url.host), URL_HOST_MAX);
    text[6 + URL_HOST_MAX] = 'a';
    text[6 + URL_HOST_MAX + 1] = '\0';
    cr_assert_eq(url_parse(text, &url), -EINVAL);
}
