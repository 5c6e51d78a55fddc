/* SPDX-License-Identifier: Apache-2.0 */
/* Reads commands line by line from the control socket, and signals from a signalfd. */
#include "dataplane/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/note.h"

static int ctl = -1, signals = -1;
static char input[512];
static size_t input_len;
static bool overlong; /* the rest of a line that did not fit is being skipped */

int control_open(int ctl_fd)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL))
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        return -errno;
    ctl = ctl_fd;
    return 0;
}

void control_close(void)
{
    if (ctl >= 0)
        close(ctl);
    close(signals);
    ctl = signals = -1;
}

static void say(const char *kind, const char *format, va_list args)
{
    char line[768];
    size_t len = (size_t)snprintf(line, sizeof(line), "%s", kind);

    if (ctl < 0)
        return;
    vsnprintf(line + len, sizeof(line) - len - 1, format, args);
    for (char *c = line; *c; c++)
        if (*c == '\n')
            *c = ' ';
    len = strlen(line);
    line[len++] = '\n';
    if (send(ctl, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE)
        log_warning("control socket takes no line (%s): %.*s", strerror(errno), (int)len - 1, line);
}

void control_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("", format, args);
    va_end(args);
}

void note(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_warning("%s", text);
    control_say("note %s", text);
}

static enum control_event read_line(char *line, struct control_command *command)
{
    char *key, *value;

    if (!strcmp(line, "stop"))
        return CONTROL_STOP;
    if (strncmp(line, "set ", 4)) {
        control_say("error unknown command");
        return CONTROL_TICK;
    }
    key = line + 4;
    value = strchr(key, ' ');
    if (!value || (size_t)(value - key) >= sizeof(command->key) ||
        strlen(value + 1) >= sizeof(command->value)) {
        control_say("error expected: set KEY VALUE");
        return CONTROL_TICK;
    }
    *value++ = '\0';
    memcpy(command->key, key, strlen(key) + 1);
    memcpy(command->value, value, strlen(value) + 1);
    return CONTROL_SET;
}

/* The next whole line of the input, if there is one. */
static bool take_line(char *line)
{
    char *end = memchr(input, '\n', input_len);
    size_t len;
    bool skip = overlong;

    if (!end) {
        if (input_len == sizeof(input)) {
            overlong = true;
            input_len = 0;
        }
        return false;
    }
    len = (size_t)(end - input);
    memcpy(line, input, len);
    line[len] = '\0';
    input_len -= len + 1;
    memmove(input, end + 1, input_len);
    overlong = false;
    if (skip)
        line[0] = '\0'; /* answered as an unknown command */
    return true;
}

static void receive(void)
{
    ssize_t len = recv(ctl, input + input_len, sizeof(input) - input_len, MSG_DONTWAIT);

    if (len > 0) {
        input_len += (size_t)len;
    } else if (len == 0 || (errno != EAGAIN && errno != EINTR)) {
        /* kvraild went away; the dataplane serves on. */
        log_info("control socket closed: serving on without kvraild");
        close(ctl);
        ctl = -1;
    }
}

enum control_event control_wait(int timeout_ms, struct control_command *command)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN}, {.fd = ctl, .events = POLLIN}};
    struct signalfd_siginfo signal_seen;
    char line[sizeof(input)];

    if (take_line(line))
        return read_line(line, command);
    if (poll(fds, 2, timeout_ms) <= 0)
        return CONTROL_TICK;
    if (fds[0].revents && read(signals, &signal_seen, sizeof(signal_seen)) > 0)
        return CONTROL_STOP;
    if (fds[1].revents) {
        receive();
        if (take_line(line))
            return read_line(line, command);
    }
    return CONTROL_TICK;
}
