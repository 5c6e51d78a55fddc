/* SPDX-License-Identifier: Apache-2.0 */
/* Written in this machine's byte order; read in the same order only. */
#include "perf/pktgen/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MAGIC 0xa1b2c3d4u /* times in microseconds */
#define ETHERNET 1u
#define US_PER_S 1000000u

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, longest, link;
};
_Static_assert(sizeof(struct file_header) == 24, "as in the file");

struct frame_header {
    uint32_t s, us, stored, len;
};
_Static_assert(sizeof(struct frame_header) == 16, "as in the file");

int capture_create(struct capture_writer *writer, const char *path)
{
    struct file_header header = {
        .magic = MAGIC, .major = 2, .minor = 4, .longest = CAPTURE_FRAME_MAX, .link = ETHERNET};

    *writer = (struct capture_writer){.file = fopen(path, "wb"), .path = path};
    if (!writer->file) {
        int rc = -errno;

        log_error("%s: %s", path, strerror(-rc));
        return rc;
    }
    fwrite(&header, sizeof(header), 1, writer->file);
    return 0;
}

void capture_add(struct capture_writer *writer, const uint8_t *frame, uint32_t len, uint64_t us)
{
    struct frame_header header = {
        .s = (uint32_t)(us / US_PER_S), .us = (uint32_t)(us % US_PER_S), .stored = len, .len = len};

    fwrite(&header, sizeof(header), 1, writer->file);
    fwrite(frame, len, 1, writer->file);
    writer->frames++;
    writer->bytes += len;
}

int capture_finish(struct capture_writer *writer)
{
    int failed = ferror(writer->file), rc;

    rc = fclose(writer->file) ? -errno : failed ? -EIO : 0;
    if (rc)
        log_error("%s: %s", writer->path, strerror(-rc));
    return rc;
}

static int read_all(const char *path, uint8_t **bytes, size_t *size)
{
    FILE *file = fopen(path, "rb");
    long end;
    int rc = 0;

    if (!file)
        return -errno;
    if (fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
        rc = -errno;
        goto close;
    }
    *size = (size_t)end;
    *bytes = malloc(*size + 1);
    if (!*bytes)
        rc = -ENOMEM;
    else if (fread(*bytes, 1, *size, file) != *size)
        rc = -EIO;
    if (rc) {
        free(*bytes);
        *bytes = NULL;
    }
close:
    fclose(file);
    return rc;
}

/* Counts the frames, and notes where they lie if frames is not NULL. -1: the file is damaged. */
static int64_t walk(const uint8_t *file, size_t size, struct capture_frame *frames)
{
    size_t at = sizeof(struct file_header);
    int64_t nr = 0;

    while (at < size) {
        struct frame_header header;

        if (size - at < sizeof(header))
            return -1;
        memcpy(&header, file + at, sizeof(header));
        at += sizeof(header);
        if (header.stored != header.len || header.len > CAPTURE_FRAME_MAX || header.len > size - at)
            return -1;
        if (frames)
            frames[nr] = (struct capture_frame){.bytes = file + at, .len = header.len};
        at += header.len;
        nr++;
    }
    return nr;
}

int capture_read(const char *path, struct capture *capture)
{
    struct file_header header;
    size_t size = 0;
    int64_t nr;
    int rc;

    memset(capture, 0, sizeof(*capture));
    rc = read_all(path, &capture->file, &size);
    if (rc) {
        log_error("%s: %s", path, strerror(-rc));
        return rc;
    }
    memcpy(&header, capture->file, size < sizeof(header) ? size : sizeof(header));
    if (size < sizeof(header) || header.magic != MAGIC || header.link != ETHERNET) {
        log_error("%s: not a capture file of Ethernet frames", path);
        rc = -EPROTO;
        goto undo;
    }
    nr = walk(capture->file, size, NULL);
    if (nr <= 0) {
        log_error("%s: %s", path, nr < 0 ? "damaged, or frames are cut short" : "holds no frame");
        rc = -EPROTO;
        goto undo;
    }
    capture->frames = malloc((size_t)nr * sizeof(*capture->frames));
    if (!capture->frames) {
        log_error("%s: %s", path, strerror(ENOMEM));
        rc = -ENOMEM;
        goto undo;
    }
    capture->nr = (uint64_t)walk(capture->file, size, capture->frames);
    for (uint64_t i = 0; i < capture->nr; i++)
        capture->bytes += capture->frames[i].len;
    return 0;
undo:
    capture_free(capture);
    return rc;
}

void capture_free(struct capture *capture)
{
    free(capture->file);
    free(capture->frames);
    memset(capture, 0, sizeof(*capture));
}
