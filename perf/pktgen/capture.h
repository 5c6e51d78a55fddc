/* SPDX-License-Identifier: Apache-2.0 */
/* Capture files in the classic form that every tool reads: a header of 24 bytes, then frames with
 * 16 bytes each in front. Ethernet only. One thread a file. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CAPTURE_FRAME_MAX 9216u

struct capture_writer {
    FILE *file;
    const char *path;
    uint64_t frames, bytes; /* bytes: of the frames */
};

/* Errors are logged. 0 or -errno. */
[[nodiscard]] int capture_create(struct capture_writer *writer, const char *path);
/* us: time of the frame since the first one. Errors show at the end. */
void capture_add(struct capture_writer *writer, const uint8_t *frame, uint32_t len, uint64_t us);
[[nodiscard]] int capture_finish(struct capture_writer *writer);

struct capture_frame {
    const uint8_t *bytes;
    uint32_t len;
};

/* A whole file in memory. */
struct capture {
    uint8_t *file;
    struct capture_frame *frames;
    uint64_t nr, bytes;
};

/* 0; -EPROTO: no such file, or damaged; -ENOMEM; -errno. Logged. */
[[nodiscard]] int capture_read(const char *path, struct capture *capture);
void capture_free(struct capture *capture);
