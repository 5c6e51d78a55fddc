# SPDX-License-Identifier: Apache-2.0
"""P13: the dataplane is killed with a full cache; how soon it serves again, and what is still there."""
from __future__ import annotations

import os
import signal
import time

from rig import local, machine
from rig.child import wait_until
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result, Skipped

ID = "P13"
TITLE = "kill -9 of the dataplane with 8 GiB of blocks: serving again, and blocks still hit"
ABOUT = """\
8 GiB of 2 MiB blocks, and again of 16 KiB blocks, are stored through shared memory; then the dataplane is
killed with SIGKILL. The time runs from the signal until kvraild calls the new one ready: its poll cores serve
then. After that every block is asked for and compared. The target is for 16 GiB; the machine has memory for half
of it."""
SECONDS, HITS = 1.0, 0.999
GIB = 1 << 30
SETS = (("2 MiB", 2 << 20), ("16 KiB", 16 << 10))
FILL = 0.95  # of the cache: nothing must be evicted for it


def needs(context: Context) -> None:
    local.needs(context)


def huge_pages() -> int:
    return 9 * GIB // (2 << 20)


def _size() -> int:
    for size in (8, 4, 2, 1):
        if machine.available_mib() + 2 * machine.huge_pages()[1] > size * 1024 * 5 // 4 + 2048:
            return size * GIB
    raise Skipped("less than 3.3 GiB of memory is free")


def _one_run(context: Context, running: object, keys: int, size: int) -> dict:
    before = running.ask("status")["dataplane"]
    began = time.monotonic()
    os.kill(before["pid"], signal.SIGKILL)

    def again() -> bool:
        now = running.ask("status")["dataplane"]
        return now["state"] == "ready" and now["pid"] != before["pid"]

    if not wait_until(again, 30):
        raise RuntimeError("the dataplane does not come back")
    seconds = time.monotonic() - began
    said = local.load(context, running, "count", keys, size)
    return {"value": seconds, "hits": said["hits"] / keys, "wrong": said["wrong"],
            "restart_ms": running.ask("status")["dataplane"].get("last_restart_ms")}


def run(context: Context) -> Result:
    cache, figures, detail = _size(), [], {}
    for name, size in SETS:
        keys = int(cache * FILL) // size
        with local.start_server(context, {"cache_size": f"{cache >> 20}MiB"}) as running:
            local.load(context, running, "fill", keys, size, fill=True)
            side = Side(name, "s", lambda: _one_run(context, running, keys, size))
            take_turns(context, [side])
        detail[name] = side.as_dict() | {"blocks": keys, "bytes": keys * size}
        figures += [Figure(f"{cache >> 30} GiB of {name}: serving again", side.median(), "s", SECONDS,
                           "1 s", 1.0, at_least=False),
                    Figure(f"{name}: blocks hit", min(run["hits"] for run in side.runs), "of all",
                           1.0, "all", HITS)]
    return Result(figures, detail)
