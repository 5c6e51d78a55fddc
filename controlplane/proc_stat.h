/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of a process or thread in its stat file (proc(5)). Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a process. In clock ticks since boot; 0: there is none. */
uint64_t process_started(uint32_t pid);

struct thread_time {
    char state;      /* 'R': runs, or would if it got a CPU */
    uint64_t run_ns; /* CPU time that it got */
};
/* Of the thread of that name; false: there is none. */
[[nodiscard]] bool thread_time_read(pid_t pid, const char *name, struct thread_time *found);
