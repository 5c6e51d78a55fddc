# SPDX-License-Identifier: Apache-2.0
"""P5: values copied out of shared memory against memcpy of equally large blocks."""
from __future__ import annotations

from rig import local
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result

ID = "P5"
TITLE = "local copy-out of 2 MiB blocks against memcpy"
ABOUT = """\
kvr_get_copy of random blocks into one buffer, in turns of 20 ms with memcpy from as many blocks of ordinary
memory into the same buffer. The sets are larger than the CPU's caches."""
TARGET = 0.90
KEYS, SIZE = 256, 2 << 20


def needs(context: Context) -> None:
    local.needs(context)


def run(context: Context) -> Result:
    with local.start_server(context, {"cache_size": "768MiB"}) as running:
        local.load(context, running, "fill", KEYS, SIZE, fill=True)
        side = Side("copy-out", "bytes/s", lambda: _one_run(context, running))
        take_turns(context, [side])
    return Result([Figure("2 MiB", side.median(), "bytes/s", side.median_of("memcpy_bytes_s"),
                          "memcpy", TARGET, ratio=side.median_of("ratio"))], side.as_dict())


def _one_run(context: Context, running: object) -> dict:
    said = local.load(context, running, "copy", KEYS, SIZE)
    return {"value": said["copy_bytes_s"], "memcpy_bytes_s": said["memcpy_bytes_s"],
            "ratio": said["ratio"]}
