/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "dataplane/settings.h"

static struct settings settings;

static void setup(void)
{
    settings_defaults(&settings);
}

TestSuite(settings, .init = setup);

Test(settings, start_with_their_defaults)
{
    cr_assert_str_eq(settings.device, "net_tap0,iface=kvr0");
    cr_assert_str_eq(settings.cpus, "");
    cr_assert_eq(settings.port, 9690);
    cr_assert_eq(settings.idle, IDLE_SLEEP);
    cr_assert_not(settings.hugepages);
}

Test(settings, every_kind_of_value_is_taken)
{
    cr_assert_eq(settings_set(&settings, "device", "net_null0", false), 0);
    cr_assert_str_eq(settings.device, "net_null0");
    cr_assert_eq(settings_set(&settings, "ipv4", "", false), 0);
    cr_assert_str_eq(settings.ipv4, "");
    cr_assert_eq(settings_set(&settings, "mtu", "9000", false), 0);
    cr_assert_eq(settings.mtu, 9000);
    cr_assert_eq(settings_set(&settings, "hugepages", "1", false), 0);
    cr_assert(settings.hugepages);
    cr_assert_eq(settings_set(&settings, "hugepages", "false", false), 0);
    cr_assert_not(settings.hugepages);
    cr_assert_eq(settings_set(&settings, "idle", "spin", false), 0);
    cr_assert_eq(settings.idle, IDLE_SPIN);
}

Test(settings, what_is_malformed_changes_nothing)
{
    static const char *const bad[] = {"", "-1", "+1", "1x", " 1", "0x10", "18446744073709551616"};
    char longest[SETTING_TEXT_MAX + 1];

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(settings_set(&settings, "mtu", bad[i], false), -EINVAL, "%s", bad[i]);
    cr_assert_eq(settings.mtu, 1500);
    cr_assert_eq(settings_set(&settings, "port", "18446744073709551615", false), 0);
    cr_assert_eq(settings_set(&settings, "hugepages", "2", false), -EINVAL);
    cr_assert_eq(settings_set(&settings, "idle", "doze", false), -EINVAL);
    cr_assert_eq(settings_set(&settings, "device", "net\ntap", false), -EINVAL);
    memset(longest, 'a', sizeof(longest));
    longest[SETTING_TEXT_MAX] = '\0';
    cr_assert_eq(settings_set(&settings, "device", longest, false), -EINVAL);
    longest[SETTING_TEXT_MAX - 1] = '\0';
    cr_assert_eq(settings_set(&settings, "device", longest, false), 0);
    cr_assert_eq(settings_set(&settings, "color", "red", false), -ENOENT);
}

Test(settings, only_some_change_while_running)
{
    cr_assert_eq(settings_set(&settings, "idle", "pause", true), 0);
    cr_assert_eq(settings_set(&settings, "train_max", "1000", true), 0);
    cr_assert_eq(settings_set(&settings, "workers", "2", true), -EBUSY);
    cr_assert_eq(settings_set(&settings, "color", "red", true), -ENOENT);
    cr_assert_eq(settings.workers, 1);
}

Test(settings, what_is_written_is_read_back)
{
    struct settings other;
    char text[SETTING_TEXT_MAX + 64];
    unsigned nr = 0;

    cr_assert_eq(settings_set(&settings, "idle", "pause", false), 0);
    cr_assert_eq(settings_set(&settings, "device", "net_null0,a=b c", false), 0);
    cr_assert_eq(settings_set(&settings, "ipv6", "", false), 0);
    cr_assert_eq(settings_set(&settings, "populate", "0", false), 0);
    settings_defaults(&other);
    for (; settings_text(&settings, nr, text, sizeof(text)); nr++) {
        char *value = strchr(text, ' ');

        *value++ = '\0';
        cr_assert_eq(settings_set(&other, text, value, false), 0, "%s", text);
    }
    cr_assert_gt(nr, 20);
    cr_assert_eq(memcmp(&settings, &other, sizeof(settings)), 0);
}
