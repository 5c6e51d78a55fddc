/* SPDX-License-Identifier: Apache-2.0 */
/* Waits for the next kvraild while there is none, and says to it again what was said before. Main
 * thread. */
#include "dataplane/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/control.h"

#define NOTES_MAX 32u
#define SAID_MAX 768u

static int listening = -1;
static char notes[NOTES_MAX][SAID_MAX], recovered[SAID_MAX], ready[SAID_MAX];
static unsigned nr_notes;

int adopt_open(int fd)
{
    if (fd < 0)
        return 0;
    if (listen(fd, 1) < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    listening = fd;
    return 0;
}

void adopt_close(void)
{
    if (listening >= 0)
        close(listening);
    listening = -1;
}

int adopt_fd(void)
{
    return listening;
}

int adopt_accept(void)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);

    if (fd < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
        (peer.uid != 0 && peer.uid != geteuid())) {
        log_warning("user %u may not adopt this dataplane; turned away", (unsigned)peer.uid);
        close(fd);
        return -1;
    }
    log_info("adopted by the kvraild with pid %d", (int)peer.pid);
    return fd;
}

static bool begins(const char *line, const char *word)
{
    return strncmp(line, word, strlen(word)) == 0;
}

void adopt_remember(const char *line)
{
    if (begins(line, "recovered "))
        snprintf(recovered, sizeof(recovered), "%s", line);
    else if (begins(line, "ready "))
        snprintf(ready, sizeof(ready), "%s", line);
    else if (begins(line, "note ") && nr_notes < NOTES_MAX)
        snprintf(notes[nr_notes++], sizeof(notes[0]), "%s", line);
}

static void tell_clients(const struct adopt_told *told)
{
    struct local_spec client;

    for (unsigned i = 0; told->client(told->context, i, &client); i++) {
        int fds[2] = {client.segment_fd, client.pidfd};

        control_say_fds(fds, 2, "client %u %u %u %d %llu", client.id, client.pid, client.uid,
                        client.may_write, (unsigned long long)client.pinned_max);
    }
}

void adopt_tell(const struct adopt_told *told)
{
    int fds[3] = {told->index_fd, told->data_fd, told->roster_fd};
    unsigned said = nr_notes;
    char setting[SETTING_TEXT_MAX + 64];

    control_say("adopted %d %s", ADOPT_VERSION, KVRAIL_VERSION);
    control_say_fds(fds, told->roster_fd < 0 ? 2 : 3, "arena");
    tell_clients(told);
    for (unsigned i = 0; settings_text(told->settings, i, setting, sizeof(setting)); i++)
        control_say("setting %s", setting);
    for (unsigned i = 0; i < said; i++)
        control_say("%s", notes[i]);
    if (recovered[0])
        control_say("%s", recovered);
    control_say("%s", ready);
    nr_notes = said; /* they were said again, not new */
}
