/* SPDX-License-Identifier: Apache-2.0 */
/* Reads commands line by line from the control socket, with the descriptors that came beside them,
 * and signals from a signalfd. While there is no kvraild it waits for one. */
#include "dataplane/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "dataplane/adopt.h"
#include "dataplane/arguments.h"
#include "dataplane/note.h"
#include "shm/attach.h"
#include "shm/passing.h"

static int ctl = -1, signals = -1;
static char input[512];
static size_t input_len;
static bool overlong; /* the rest of a line that did not fit is being skipped */
static int came[4];   /* descriptors that no line has taken yet */
static unsigned nr_came;

int control_open(int ctl_fd, int adopt)
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
    return adopt_open(adopt);
}

static void came_close(void)
{
    while (nr_came)
        close(came[--nr_came]);
}

void control_close(void)
{
    if (ctl >= 0)
        close(ctl);
    close(signals);
    ctl = signals = -1;
    came_close();
    adopt_close();
}

static void say(const int *fds, unsigned nr, const char *format, va_list args)
{
    char line[768];
    ssize_t sent;
    size_t len;

    vsnprintf(line, sizeof(line) - 1, format, args);
    for (char *c = line; *c; c++)
        if (*c == '\n')
            *c = ' ';
    adopt_remember(line);
    if (ctl < 0)
        return;
    len = strlen(line);
    line[len++] = '\n';
    sent = passing_send(ctl, line, len, fds, nr);
    if (sent < 0 && sent != -EPIPE)
        log_warning("control socket takes no line (%s): %.*s", strerror((int)-sent), (int)len - 1,
                    line);
}

void control_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(NULL, 0, format, args);
    va_end(args);
}

void control_say_fds(const int *fds, unsigned nr, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(fds, nr < CONTROL_FDS_MAX ? nr : CONTROL_FDS_MAX, format, args);
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

static enum control_event read_set(char *key, struct control_command *command)
{
    char *value = strchr(key, ' ');

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

static enum control_event read_client_add(const char *words, struct control_command *command)
{
    if (nr_came < 2 || client_words(words, ' ', &command->client) < 0) {
        control_say("error expected: client-add ID PID UID WRITE PINNED_MAX, two descriptors");
        came_close();
        return CONTROL_TICK;
    }
    command->client.segment_fd = came[0];
    command->client.pidfd = came[1];
    nr_came -= 2;
    memmove(came, came + 2, nr_came * sizeof(came[0]));
    return CONTROL_CLIENT_ADD;
}

static enum control_event read_client_drop(const char *word, struct control_command *command)
{
    char *end;
    unsigned long id = strtoul(word, &end, 10);

    if (end == word || *end || id < 1 || id > CLIENT_ID_MAX) {
        control_say("error expected: client-drop ID");
        return CONTROL_TICK;
    }
    command->client = (struct local_spec){.id = (uint32_t)id};
    return CONTROL_CLIENT_DROP;
}

static bool hex_bytes(const char *text, uint8_t *bytes, size_t max)
{
    size_t n = strlen(text) / 2;

    if (n > max || strlen(text) % 2 != 0 || strspn(text, "0123456789abcdef") != strlen(text))
        return false;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

/* A descriptor that came belongs to the line, whether it is right or not. */
static enum control_event read_region_add(const char *words, struct control_command *command)
{
    struct gpu_handle *handle = &command->handle;
    char hex[2 * GPU_HANDLE_MAX + 2] = "";
    unsigned long long size = 0;
    unsigned kind = 0;
    bool good;

    *handle = (struct gpu_handle){.fd = -1};
    command->client = (struct local_spec){0};
    good = sscanf(words, "%u %u %u %llu %129s", &command->client.id, &command->region, &kind, &size,
                  hex) == 5 &&
           (strcmp(hex, "-") == 0 || hex_bytes(hex, handle->bytes, sizeof(handle->bytes))) &&
           kind >= GPU_HANDLE_MEMFD && kind <= GPU_HANDLE_CUDA_FD &&
           (kind == GPU_HANDLE_CUDA_IPC || nr_came > 0);
    if (!good) {
        control_say("error expected: region-add CLIENT REGION KIND SIZE HEX, a descriptor");
        came_close();
        return CONTROL_TICK;
    }
    handle->kind = (enum gpu_handle_kind)kind;
    handle->size = size;
    if (kind != GPU_HANDLE_CUDA_IPC) {
        handle->fd = came[0];
        nr_came--;
        memmove(came, came + 1, nr_came * sizeof(came[0]));
    }
    return CONTROL_REGION_ADD;
}

static enum control_event read_region_drop(const char *words, struct control_command *command)
{
    command->client = (struct local_spec){0};
    if (sscanf(words, "%u %u", &command->client.id, &command->region) != 2) {
        control_say("error expected: region-drop CLIENT REGION");
        return CONTROL_TICK;
    }
    return CONTROL_REGION_DROP;
}

static enum control_event read_pool_export(const char *words, struct control_command *command)
{
    command->client = (struct local_spec){0};
    if (sscanf(words, "%u %u %u", &command->client.id, &command->device, &command->core) != 3) {
        control_say("error expected: pool-export CLIENT DEVICE CORE");
        return CONTROL_TICK;
    }
    return CONTROL_POOL_EXPORT;
}

static enum control_event read_line(char *line, struct control_command *command)
{
    if (!strcmp(line, "stop"))
        return CONTROL_STOP;
    if (!strncmp(line, "set ", 4))
        return read_set(line + 4, command);
    if (!strncmp(line, "client-add ", 11))
        return read_client_add(line + 11, command);
    if (!strncmp(line, "client-drop ", 12))
        return read_client_drop(line + 12, command);
    if (!strncmp(line, "region-add ", 11))
        return read_region_add(line + 11, command);
    if (!strncmp(line, "region-drop ", 12))
        return read_region_drop(line + 12, command);
    if (!strncmp(line, "pool-export ", 12))
        return read_pool_export(line + 12, command);
    control_say("error unknown command");
    came_close();
    return CONTROL_TICK;
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

/* More descriptors than there is room for are closed. */
static void came_add(const struct passed *passed)
{
    for (unsigned i = 0; i < passed->nr; i++) {
        if (nr_came < sizeof(came) / sizeof(came[0]))
            came[nr_came++] = passed->fds[i];
        else
            close(passed->fds[i]);
    }
}

static void receive(void)
{
    struct passed passed;
    ssize_t len = passing_receive(ctl, input + input_len, sizeof(input) - input_len, &passed);

    came_add(&passed);
    if (len > 0) {
        input_len += (size_t)len;
    } else if (len == 0 || (len != -EAGAIN && len != -EINTR)) {
        /* kvraild went away; the dataplane serves on. */
        log_info("control socket closed: serving on without kvraild");
        close(ctl);
        ctl = -1;
        input_len = 0;
        overlong = false;
        came_close();
    }
}

enum control_event control_wait(int timeout_ms, int also_fd, struct control_command *command)
{
    struct pollfd fds[3] = {{.fd = signals, .events = POLLIN},
                            {.fd = ctl >= 0 ? ctl : adopt_fd(), .events = POLLIN},
                            {.fd = also_fd, .events = POLLIN}};
    struct signalfd_siginfo signal_seen;
    char line[sizeof(input)];

    if (take_line(line))
        return read_line(line, command);
    if (poll(fds, 3, timeout_ms) <= 0)
        return CONTROL_TICK;
    if (fds[0].revents && read(signals, &signal_seen, sizeof(signal_seen)) > 0)
        return CONTROL_STOP;
    if (fds[1].revents && ctl < 0) {
        ctl = adopt_accept();
        return ctl < 0 ? CONTROL_TICK : CONTROL_ADOPT;
    }
    if (fds[1].revents) {
        receive();
        if (take_line(line))
            return read_line(line, command);
    }
    return CONTROL_TICK;
}
