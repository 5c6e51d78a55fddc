# SPDX-License-Identifier: Apache-2.0
"""P4: a hit through shared memory: find, pin, check, release; a client's own core does all of it."""
from __future__ import annotations

from rig import local
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result

ID = "P4"
TITLE = "local hit through shared memory: find, pin, check, release"
ABOUT = """\
One thread of a client on the server's host asks for random keys of a set that is stored: kvr_get_view and
kvr_release. The rate is taken without looking at a clock; the median is of hits timed one by one, the two
looks at the time stamp counter included. Values of 64 B and of 2 MiB: nothing is copied, so size must not
matter. The reference is the target itself."""
MEDIAN_NS, HITS_S = 150, 5e6
SETS = (  # name, keys, size of a value, settings
    ("64 B, 10 k keys", 10_000, 64, {"cache_size": "64MiB", "blocks_max": 20_000}),
    ("64 B, 1 M keys", 1_000_000, 64, {"cache_size": "256MiB", "blocks_max": 1_500_000}),
    ("2 MiB, 256 keys", 256, 2 << 20, {"cache_size": "768MiB"}),
)


def needs(context: Context) -> None:
    local.needs(context)


def run(context: Context) -> Result:
    figures, detail = [], {}
    for name, keys, size, cache in SETS:
        with local.start_server(context, cache) as running:
            local.load(context, running, "fill", keys, size, fill=True)
            side = Side(name, "hits/s", lambda: _one_run(context, running, keys, size))
            take_turns(context, [side])
        figures += [Figure(f"{name}: median", side.median_of("p50_ns"), "ns", MEDIAN_NS, "150 ns",
                           1.0, at_least=False),
                    Figure(f"{name}: rate", side.median(), "hits/s", HITS_S, "5 M/s", 1.0)]
        detail[name] = side.as_dict()
    return Result(figures, detail)


def _one_run(context: Context, running: object, keys: int, size: int) -> dict:
    said = local.load(context, running, "hit", keys, size)
    return {"value": said["hits_s"], "ns_per_hit": said["ns_per_hit"], **said["hit"],
            "tick_cost_ns": said["tick_cost_ns"]}
