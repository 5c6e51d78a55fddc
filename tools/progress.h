/* SPDX-License-Identifier: Apache-2.0 */
/* Progress of long work on stderr: a bar on a terminal, else a line now and then. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what;
    uint64_t total;
    uint64_t start_ns, next_ns;
    bool shown, terminal;
};

/* what outlives the progress. quiet: show nothing at all. */
void progress_begin(struct progress *p, const char *what, uint64_t total, bool quiet);
/* May be called as often as wanted. detail: what else there is to say, short. */
void progress_update(struct progress *p, uint64_t done, const char *detail);
/* Takes the bar away, or writes the last line. */
void progress_end(struct progress *p, const char *detail);
