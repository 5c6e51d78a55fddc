/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "dataplane/eth/address.h"

Test(address, ipv4_with_its_prefix_is_read)
{
    uint8_t ip[4];
    unsigned prefix;

    cr_assert_eq(address4_parse("10.96.0.1/24", ip, &prefix), 0);
    cr_assert_arr_eq(ip, "\x0a\x60\0\1", 4);
    cr_assert_eq(prefix, 24);
    cr_assert_eq(address4_parse("192.0.2.1/32", ip, &prefix), 0);
    cr_assert_eq(prefix, 32);
}

Test(address, ipv6_with_its_prefix_is_read)
{
    uint8_t ip[16];
    unsigned prefix;

    cr_assert_eq(address6_parse("fd96::1/64", ip, &prefix), 0);
    cr_assert_eq(ip[0], 0xfd);
    cr_assert_eq(ip[15], 1);
    cr_assert_eq(prefix, 64);
}

Test(address, anything_else_is_refused)
{
    static const char *const bad4[] = {
        "",           "10.96.0.1",  "10.96.0.1/",  "10.96.0.1/33",
        "10.96.0/24", "10.0.0.1/0", "10.0.0.1/2x", "10.0.0.1/0024",
        "/24",        "0.0.0.0/8",  "127.0.0.1/8", "224.0.0.1/4",
        "1.2.3.4 /8", "1.2.3.4/ 8", "1.2.3.4/-1",  "255.255.255.255/8"};
    static const char *const bad6[] = {"fd96::1",     "fd96::1/129", "ff02::1/64",
                                       "::/64",       "::1/128",     "::ffff:10.0.0.1/96",
                                       "10.0.0.1/24", "fd96:::1/64"};
    uint8_t ip[16];
    unsigned prefix;

    for (unsigned i = 0; i < sizeof(bad4) / sizeof(bad4[0]); i++)
        cr_assert_eq(address4_parse(bad4[i], ip, &prefix), -EINVAL, "%s", bad4[i]);
    for (unsigned i = 0; i < sizeof(bad6) / sizeof(bad6[0]); i++)
        cr_assert_eq(address6_parse(bad6[i], ip, &prefix), -EINVAL, "%s", bad6[i]);
}
