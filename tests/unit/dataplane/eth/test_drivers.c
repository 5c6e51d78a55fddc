/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "dataplane/eth/drivers.h"

static char out[128];

Test(drivers, virtual_drivers_are_known_and_others_are_hardware)
{
    cr_assert_eq(frame_room(1500), 2048);
    cr_assert_eq(frame_room(9000), 9216);
    cr_assert(driver_find("net_tap")->owns_interface);
    cr_assert(driver_find("net_memif")->late_link);
    cr_assert_not(driver_find("net_virtio_user")->copies);
    cr_assert_null(driver_find("net_ice")->driver);
    cr_assert_not(driver_find("net_ice")->copies);
}

Test(drivers, queues_and_frame_sizes_are_asked_for_where_the_string_does_not_say)
{
    cr_assert_eq(driver_device_args("net_af_packet0,iface=v0", 2, 1500, out, sizeof(out)), 0);
    cr_assert_str_eq(out, "net_af_packet0,iface=v0,qpairs=2");
    cr_assert_eq(driver_device_args("net_af_packet0,iface=v0,qpairs=1", 2, 9000, out, sizeof(out)),
                 0);
    cr_assert_str_eq(out, "net_af_packet0,iface=v0,qpairs=1,framesz=9216,blocksz=36864");
    cr_assert_eq(driver_device_args("net_af_xdp0,iface=v0", 4, 1500, out, sizeof(out)), 0);
    cr_assert_str_eq(out, "net_af_xdp0,iface=v0,queue_count=4");
    cr_assert_eq(driver_device_args("net_memif0,role=client", 2, 9000, out, sizeof(out)), 0);
    cr_assert_str_eq(out, "net_memif0,role=client,bsize=9216");
    cr_assert_eq(driver_device_args("net_memif0,role=client", 2, 1500, out, sizeof(out)), 0);
    cr_assert_str_eq(out, "net_memif0,role=client");
    cr_assert_eq(driver_device_args("net_tap0,iface=kvr0", 4, 9000, out, sizeof(out)), 0);
    cr_assert_str_eq(out, "net_tap0,iface=kvr0");
}

Test(drivers, a_string_that_grows_too_long_is_refused)
{
    cr_assert_eq(driver_device_args("net_af_packet0,iface=v0", 2, 1500, out, 30), -EINVAL);
    cr_assert_eq(driver_device_args("net_af_packet0,iface=v0", 2, 1500, out, 10), -EINVAL);
}
