/* SPDX-License-Identifier: Apache-2.0 */
/* Adds addresses by rtnetlink: that way an IPv6 address comes without duplicate address detection,
 * whose second of silence would stall the first client. */
#include "dataplane/eth/host_side.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/eth/address.h"
#include "dataplane/note.h"

struct address_message {
    struct nlmsghdr head;
    struct ifaddrmsg body;
    uint8_t attributes[64];
};

static void add_attribute(struct address_message *message, uint16_t type, const void *bytes,
                          uint16_t len)
{
    struct rtattr *attribute =
        (struct rtattr *)((uint8_t *)message + NLMSG_ALIGN(message->head.nlmsg_len));

    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(len);
    memcpy(RTA_DATA(attribute), bytes, len);
    message->head.nlmsg_len = NLMSG_ALIGN(message->head.nlmsg_len) + RTA_LENGTH(len);
}

static int ask_kernel(const struct address_message *message)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        uint8_t rest[256];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), rc;
    ssize_t len;

    if (fd < 0)
        return -errno;
    if (send(fd, message, message->head.nlmsg_len, 0) < 0 ||
        (len = recv(fd, &answer, sizeof(answer), 0)) < 0)
        rc = -errno;
    else if ((size_t)len < sizeof(answer.head) + sizeof(answer.error) ||
             answer.head.nlmsg_type != NLMSG_ERROR)
        rc = -EPROTO;
    else
        rc = answer.error.error;
    close(fd);
    return rc == -EEXIST ? 0 : rc;
}

static int add_address(unsigned index, uint8_t family, const uint8_t *ip, uint16_t size,
                       unsigned prefix)
{
    struct address_message message = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(message.body)),
                 .nlmsg_type = RTM_NEWADDR,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE},
        .body = {.ifa_family = family,
                 .ifa_prefixlen = (uint8_t)prefix,
                 .ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0,
                 .ifa_index = index},
    };

    add_attribute(&message, IFA_LOCAL, ip, size);
    add_attribute(&message, IFA_ADDRESS, ip, size);
    return ask_kernel(&message);
}

static int bring_up(const char *interface)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = 0;

    if (fd < 0)
        return -errno;
    strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
        rc = -errno;
    } else {
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
            rc = -errno;
    }
    close(fd);
    return rc;
}

/* A TAP has a carrier exactly while some program has opened it. */
bool tap_is_held(const char *interface)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool held = false;

    if (fd < 0)
        return false;
    strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        held = request.ifr_flags & IFF_RUNNING;
    close(fd);
    return held;
}

int interface_set_mtu(unsigned index, unsigned mtu)
{
    struct ifreq request = {0};
    int fd, rc = 0;

    if (!if_indextoname(index, request.ifr_name))
        return -errno;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, SIOCGIFMTU, &request) < 0) {
        rc = -errno;
    } else if ((unsigned)request.ifr_mtu < mtu) {
        request.ifr_mtu = (int)mtu;
        if (ioctl(fd, SIOCSIFMTU, &request) < 0)
            rc = -errno;
    }
    close(fd);
    return rc;
}

int host_side_setup(const char *interface, const char *ipv4, const char *ipv6, struct fault *fault)
{
    unsigned index = if_nametoindex(interface), prefix;
    uint8_t ip[16];
    int rc = 0;

    if (*ipv4) {
        if (address4_parse(ipv4, ip, &prefix))
            return fault_set(fault, -EINVAL, "host_ipv4: %s is no host address with prefix length",
                             ipv4);
        rc = add_address(index, AF_INET, ip, 4, prefix);
    }
    if (!rc)
        rc = bring_up(interface);
    if (rc)
        return fault_set(fault, rc,
                         "interface %s cannot be set up: %s: run as root, or inside "
                         "`unshare -Urn`",
                         interface, strerror(-rc));
    if (!*ipv6)
        return 0;
    if (address6_parse(ipv6, ip, &prefix))
        return fault_set(fault, -EINVAL, "host_ipv6: %s is no host address with prefix length",
                         ipv6);
    rc = add_address(index, AF_INET6, ip, 16, prefix);
    if (rc)
        note("interface %s gets no IPv6 address (%s): only IPv4 works", interface, strerror(-rc));
    return 0;
}

/* The value of ",NAME=VALUE" in a device string; false if there is none or it is too long. */
static bool device_value(const char *device, const char *name, char *value, size_t size)
{
    const char *at = strstr(device, name);
    size_t len;

    if (!at)
        return false;
    at += strlen(name);
    len = strcspn(at, ",");
    if (len == 0 || len >= size)
        return false;
    memcpy(value, at, len);
    value[len] = '\0';
    return true;
}

void memif_socket_clear(const char *device)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char role[16];
    struct stat st;
    int fd;

    if (strncmp(device, "net_memif", 9) != 0 || !strstr(device, ",socket-abstract=no") ||
        !device_value(device, ",role=", role, sizeof(role)) ||
        (strcmp(role, "server") != 0 && strcmp(role, "master") != 0) ||
        !device_value(device, ",socket=", address.sun_path, sizeof(address.sun_path)) ||
        lstat(address.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
        errno == ECONNREFUSED)
        (void)unlink(address.sun_path);
    close(fd);
}
