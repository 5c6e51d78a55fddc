# SPDX-License-Identifier: Apache-2.0
"""P4: a hit through shared memory: find, pin, check, release; a client's own core does all of it."""
from __future__ import annotations

from rig import local
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result

ID = "P4"
TITLE = "local hit through shared memory: find, pin, check, release"
ABOUT = """\
One thread of a client on the server's host asks for random keys of a set that is stored, uniform or zipf
(as P1's): kvr_get_view and kvr_release. The rate is taken without looking at a clock; the median is of hits timed one by one, the two
looks at the time stamp counter included. Values of 64 B and of 2 MiB: nothing is copied, so size must not
matter. Beside that, of the same sets, keys asked for together: kvr_get_views of so many random keys and the
release of what it held, the time of a call divided by its keys. The reference is the target itself."""
TOGETHER = 32
MEDIAN_NS, HITS_S = 150, 5e6
ZIPF = 0.99
SETS = (  # name, keys, size of a value, settings, also zipf
    ("64 B, 10 k keys", 10_000, 64, {"cache_size": "64MiB", "blocks_max": 20_000}, False),
    ("64 B, 1 M keys", 1_000_000, 64, {"cache_size": "256MiB", "blocks_max": 1_500_000}, True),
    ("2 MiB, 256 keys", 256, 2 << 20, {"cache_size": "768MiB"}, False),
)


def needs(context: Context) -> None:
    local.needs(context)


def run(context: Context) -> Result:
    figures, detail = [], {}
    for name, keys, size, cache, skewed in SETS:
        with local.start_server(context, cache) as running:
            local.load(context, running, "fill", keys, size, fill=True)
            alone = Side(name, "hits/s", lambda: _alone(context, running, keys, size))
            together = Side(f"{name}, {TOGETHER} a call", "hits/s",
                            lambda: _together(context, running, keys, size))
            sides = [(alone, "p50_ns"), (together, "p50_ns_a_key")]
            if skewed:
                zipf = Side(f"{name}, zipf {ZIPF}", "hits/s",
                            lambda: _alone(context, running, keys, size, zipf=ZIPF))
                sides.insert(0, (zipf, "p50_ns"))
            take_turns(context, [side for side, _ in sides])
        for side, what in sides:
            figures += [Figure(f"{side.name}: median", side.median_of(what), "ns", MEDIAN_NS,
                               "150 ns", 1.0, at_least=False),
                        Figure(f"{side.name}: rate", side.median(), "hits/s", HITS_S, "5 M/s", 1.0)]
            detail[side.name] = side.as_dict()
    return Result(figures, detail)


def _alone(context: Context, running: object, keys: int, size: int, **dist: float) -> dict:
    said = local.load(context, running, "hit", keys, size, **dist)
    return {"value": said["hits_s"], "ns_per_hit": said["ns_per_hit"], **said["hit"],
            "tick_cost_ns": said["tick_cost_ns"]}


def _together(context: Context, running: object, keys: int, size: int) -> dict:
    said = local.load(context, running, "hits", keys, size, batch=TOGETHER)
    return {"value": said["hits_s"], "ns_per_hit": said["ns_per_hit"], "call": said["call"],
            "p50_ns_a_key": said["call"]["p50_ns"] / TOGETHER}
