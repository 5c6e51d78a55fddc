# SPDX-License-Identifier: Apache-2.0
"""P12: what a GET costs the poll core with more and more keys: from those that fit the caches of
the CPU to those that do not, by the core's own busy accounting."""
from __future__ import annotations

import dataclasses

from rig import get_load, load, local, machine
from rig.context import Context, Side
from rig.result import Figure, Result, Skipped

ID = "P12"
TITLE = "cost of a GET of 64 B from 1 M to 64 M keys, uniform and zipf 0.99"
ABOUT = """\
The same GETs as P1 against caches that hold more and more keys: what is not in the CPU's caches
must be fetched from memory while other requests are worked on. 1.3 means at most 30 % dearer. The local
figures are hits through shared memory, one at a time (P4): there nothing overlaps the misses."""
TARGET = 1.3
MILLIONS = (1, 4, 16, 64)
SMALLER = (56, 48, 40, 32, 24)  # where the largest does not fit
DISTS = ("uniform", "zipf:0.99")
# Of an item with its 16 B key and 64 B value: in the two segments, and the dataplane's own memory.
ARENA_BYTES, PRIVATE_BYTES = 176, 32
SPARE_MIB = 1536  # packets, programs


def _arena_mib(millions: int) -> int:
    return millions * 1_000_000 * ARENA_BYTES // (1 << 20)


def _private_mib(millions: int) -> int:
    return millions * 1_000_000 * PRIVATE_BYTES // (1 << 20)


def huge_pages() -> int:
    """That the largest arena would like to have."""
    return _arena_mib(MILLIONS[-1]) // 2


def needs(context: Context) -> None:
    get_load.needs(context)
    local.needs(context)


def _fits(millions: int, huge_mib: int, ordinary_mib: int) -> bool:
    arena, private = _arena_mib(millions), _private_mib(millions)
    room = ordinary_mib - SPARE_MIB
    return (arena <= huge_mib and private <= room) or arena + private <= room


def choose_sizes(huge_mib: int, ordinary_mib: int) -> list[int]:
    """The sizes that fit, and the largest smaller one instead of those that do not."""
    fit = [size for size in MILLIONS if _fits(size, huge_mib, ordinary_mib)]
    if not fit:
        raise Skipped(f"{MILLIONS[0]} M keys do not fit {ordinary_mib} MiB")
    if len(fit) < len(MILLIONS):  # as large as it can be
        fit += [size for size in SMALLER
                if size > fit[-1] and _fits(size, huge_mib, ordinary_mib)][:1]
    if len(fit) < 2:
        raise Skipped(f"no more than {fit[0]} M keys fit {ordinary_mib} MiB")
    return fit


def _setting(millions: int) -> get_load.Setting:
    keys = millions * 1_000_000
    return get_load.Setting(
        load.Mix(keys=f"{millions}M"),
        cache={"cache_size": f"{keys * 72 // (1 << 20) + 64}MiB",
               "blocks_max": keys + keys // 50 + 1024})


def _measure_size(context: Context, millions: int) -> dict[str, object]:
    """All runs with one number of keys; they are stored once."""
    setting = _setting(millions)
    sides = {dist: Side(dist, "ns/GET", lambda: {}) for dist in DISTS}
    with get_load.start_server(context, setting) as running:
        loader = get_load.engine(context, setting.mtu)
        loader.fill(setting.mix)
        status = running.ask("status")
        stored = sum(part["items"] for part in running.ask("stat")["partitions"])
        for _ in range(context.runs):
            for dist, side in sides.items():
                run = get_load.measure(running, loader,
                                       dataclasses.replace(setting.mix, dist=dist),
                                       context.seconds)
                side.runs.append(run | {"value": run["ns_per_get"], "gets_s": run["value"]})
                context.progress(f"{millions} M keys, {dist}: {run['ns_per_get']:.0f} ns/GET, "
                                 f"{run['value'] / 1e6:.2f} M GET/s")
    return {"millions": millions, "stored": stored, "hugepages": status["arena"]["hugepages"],
            "index_bytes": status["arena"]["index_bytes"],
            "data_bytes": status["arena"]["data_bytes"],
            **{dist: side.as_dict() for dist, side in sides.items()}}


def _measure_local(context: Context, millions: int) -> dict[str, object]:
    sides = {dist: Side(dist, "ns/hit", lambda: {}) for dist in DISTS}
    keys = millions * 1_000_000
    with local.start_server(context, _setting(millions).cache) as running:
        local.load(context, running, "fill", keys, 64, fill=True)
        for _ in range(context.runs):
            for dist, side in sides.items():
                zipf = {"zipf": dist.partition(":")[2]} if dist != "uniform" else {}
                said = local.load(context, running, "hit", keys, 64, **zipf)
                side.runs.append({"value": said["ns_per_hit"], **said["hit"]})
                context.progress(f"local, {millions} M keys, {dist}: {said['ns_per_hit']:.0f} "
                                 "ns/hit")
    return {"millions": millions, **{dist: side.as_dict() for dist, side in sides.items()}}


def _local_figures(rows: list[dict]) -> list[Figure]:
    figures = []
    for dist in DISTS:
        worst = max(rows[1:], key=lambda row: row[dist]["median"])
        figures.append(Figure(f"local, {dist}, {worst['millions']} M keys", worst[dist]["median"],
                              "ns/hit", rows[0][dist]["median"],
                              f"{rows[0]['millions']} M keys, ns/hit", TARGET, at_least=False))
    return figures


def run(context: Context) -> Result:
    huge_mib = machine.huge_pages()[1] * 2 if context.hugepages else 0
    ordinary_mib = machine.available_mib()
    sizes = choose_sizes(huge_mib, ordinary_mib)
    detail: dict[str, object] = {"huge_mib": huge_mib, "ordinary_mib": ordinary_mib}
    if sizes[-1] != MILLIONS[-1]:
        detail["smaller"] = (
            f"{MILLIONS[-1]} M keys need {_arena_mib(MILLIONS[-1])} MiB in huge pages or not, and "
            f"{_private_mib(MILLIONS[-1])} MiB beside them; this machine has {huge_mib} MiB and "
            f"{ordinary_mib} MiB: the largest is {sizes[-1]} M")
        context.progress(str(detail["smaller"]))
    rows = [_measure_size(context, size) for size in sizes]
    # Once more at the end: has the machine itself changed?
    again = _measure_size(context, sizes[0])
    figures = []
    for dist in DISTS:
        first = (rows[0][dist]["median"] + again[dist]["median"]) / 2
        worst = max(rows[1:], key=lambda row: row[dist]["median"])
        figures.append(Figure(f"{dist}, {worst['millions']} M keys", worst[dist]["median"],
                              "ns/GET", first, f"{sizes[0]} M keys, ns/GET", TARGET,
                              at_least=False))
    local_rows = [_measure_local(context, size) for size in sizes]
    figures += _local_figures(local_rows)
    return Result(figures, detail | {"sizes": rows, "first_again": again, "local": local_rows,
                                     "cost": "busy_ns of the poll core over GETs, the "
                                             "device's driver included"})

