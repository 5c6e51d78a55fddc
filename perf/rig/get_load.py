# SPDX-License-Identifier: Apache-2.0
"""GETs from kvrail-load against one poll core over net_memif: what P1, P2, P3, P11 and P12 do."""
from __future__ import annotations

import dataclasses

from rig import echo, load, server
from rig.context import Context
from rig.result import Skipped
from rig.testpmd import Place

CACHE = {"cache_size": "256MiB", "blocks_max": "1500000"}  # for 1 M small values


@dataclasses.dataclass
class Setting:
    """How the server and the load engine are set."""

    mix: load.Mix
    mtu: int = 1500
    cache: dict[str, object] = dataclasses.field(default_factory=lambda: dict(CACHE))


def needs(context: Context) -> None:
    why = engine(context, 1500).missing()
    if why:
        raise Skipped(why)


def engine(context: Context, mtu: int) -> load.LoadEngine:
    return load.LoadEngine(context.build, context.folder, context.load_cpu, context.hugepages,
                           mtu=mtu)


def start_server(context: Context, setting: Setting) -> server.Server:
    settings = {"device": server.memif(context.folder, "server"), "idle": "spin",
                "cpus": context.server_cpu, "mtu": setting.mtu, **context.pages(), **setting.cache}
    return server.Server(context.build, context.folder, settings)


def one_run(context: Context, setting: Setting) -> dict:
    """A fresh server, filled; then the measured time."""
    with start_server(context, setting) as running:
        loader = engine(context, setting.mtu)
        loader.fill(setting.mix)
        return measure(running, loader, setting.mix, context.seconds)


def measure(running: server.Server, loader: load.LoadEngine, mix: load.Mix,
            seconds: float) -> dict:
    before = running.counters()
    said = loader.run(mix, seconds, warm=False)
    spent = running.counters().since(before)
    get, work = said["by_op"]["get"], said["engine"]
    spent["seconds"] = said["seconds"]
    shares = server.core_shares(spent, spent["hits"] + spent["misses"], work["tsc_hz"])
    return {
        "value": get["ended"].get("OK", 0) / said["seconds"],
        "loss": work["loss"],
        "hit_ratio": said["hit_ratio"],
        **load.latency(said),
        "server_busy": min(shares.pop("busy"), 1.0),
        "load_busy": work["busy"],
        "load_cycles_per_op": work["cycles_per_op"],
        "tx_failed": spent["tx_failed"],
        **shares,
    }


def memif_limit(context: Context, frame_bytes: float, seconds: float, mtu: int,
                one_way: bool = False) -> echo.Rate:
    """testpmd at both ends of a memif device like the server's."""
    name = "limit"
    socket = f"{context.folder}/{name}.sock"
    here, there = (
        Place(context.folder, server.memif(context.folder, role, name, mtu), cpu, other,
              context.hugepages, mtu)
        for role, cpu, other in (("server", context.server_cpu, context.load_cpu),
                                 ("client", context.load_cpu, context.server_cpu)))
    return echo.measure(here, there, round(frame_bytes), seconds, one_way, socket)


def echo_run(context: Context, request_bytes: float, reply_bytes: float, mtu: int) -> dict:
    """The echo rate for frames of both sizes: 1 / mean of the times of a frame of each size."""
    first, second = (memif_limit(context, size, context.seconds / 2, mtu)
                     for size in (request_bytes, reply_bytes))
    return {
        "value": 2 / (1 / first.rx_s + 1 / second.rx_s),
        "request_size_rx_s": first.rx_s, "request_size_tx_s": first.tx_s,
        "reply_size_rx_s": second.rx_s, "reply_size_tx_s": second.tx_s,
        "request_frame_bytes": first.frame_bytes, "reply_frame_bytes": second.frame_bytes,
    }
