# SPDX-License-Identifier: Apache-2.0
"""P6: how long a MATCH of 4,096 keys takes, which are all stored: over UDP, on memif. Each way to
the server is a row of WAYS with a limit of its own."""
from __future__ import annotations

import collections.abc
import dataclasses

from rig import get_load, load, local
from rig.child import ChildFailed
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result

ID = "P6"
TITLE = "MATCH of 4,096 keys, all stored: p99 of the whole chain"
ABOUT = """\
A scheduler asks how much of a chain of 4,096 blocks is stored before it places a request. kvrail-load
asks one chain at a time: the keys are split by what fits a datagram, all datagrams leave together,
and the time ends when the answers have been put together to the prefix of the whole. The limit is a
time, so a ratio of 1 or less meets it. Beside it, in the detail: the same with frames of 1,500 bytes,
and asked for by a Poisson process of 1,000 chains a second, where a chain may wait for another."""
CHAIN = 4096
KEYS = "64k"
LOCAL_KEYS = 64_000
RATE = 1000  # chains a second
MTU = 9000
SMALL_MTU = 1500


@dataclasses.dataclass(frozen=True)
class Way:
    """How the keys get to the server and back."""

    name: str
    limit_us: float
    run: collections.abc.Callable[[Context], dict]


def _ask(context: Context, mtu: int, options: list[str]) -> dict:
    setting = get_load.Setting(load.Mix(ops="match", keys=KEYS, dist="uniform", depth=64), mtu,
                               {"cache_size": "256MiB", "blocks_max": "200000"})
    with get_load.start_server(context, setting) as running:
        loader = get_load.engine(context, mtu)
        loader.fill(dataclasses.replace(setting.mix, ops="get"))
        before = running.counters()
        said = loader.run(setting.mix, context.seconds, warm=False,
                          more=["--chain", str(CHAIN), *options])
        spent = running.counters().since(before)
    work = said["engine"]
    if said["errors"] or work["match_found"] < 1:
        raise ChildFailed(f"MATCH: {said['errors']} errors, {work['match_found']:.1%} found")
    times = load.latency(said, "match")
    return {"value": times["p99_us"], **times, "chains_s": said["ops_s"],
            "datagrams_per_chain": work["tx_datagrams"] / said["ops"], "loss": work["loss"],
            "load_busy": work["busy"], "preempted": work["preempted"],
            "server_busy": min(spent["busy_ns"] / 1e9 / said["seconds"], 1.0)}


def _one_at_a_time(context: Context, mtu: int) -> dict:
    return _ask(context, mtu, ["--depth", "1"])


def _poisson(context: Context) -> dict:
    return _ask(context, MTU, ["--rate", str(RATE), "--arrival", "poisson"])


def _local(context: Context) -> dict:
    """kvr_match_views: found and held as well; letting go is not in the time."""
    with local.start_server(context, {"cache_size": "256MiB", "blocks_max": "200000"}) as running:
        said = local.load(context, running, "match", LOCAL_KEYS, 64, fill=True, chain=CHAIN)
    return {"value": said["match"]["p99_ns"] / 1e3, **said["match"],
            "with_release": said["match_and_release"]}


WAYS = [Way("UDP over memif", 250.0, lambda context: _one_at_a_time(context, MTU)),
        Way("shared memory", 100.0, _local)]


def needs(context: Context) -> None:
    get_load.needs(context)
    local.needs(context)


def run(context: Context) -> Result:
    sides = [Side(f"p99, {way.name}", "us", lambda way=way: way.run(context)) for way in WAYS]
    beside = [Side(f"p99, UDP over memif, MTU {SMALL_MTU}", "us",
                   lambda: _one_at_a_time(context, SMALL_MTU)),
              Side(f"p99, UDP over memif, {RATE} chains a second", "us",
                   lambda: _poisson(context))]
    take_turns(context, sides + beside)
    return Result(
        [Figure(side.name, side.median(), "us", way.limit_us, "the limit, us", 1.0, at_least=False)
         for side, way in zip(sides, WAYS)],
        {"chain": CHAIN, "keys": KEYS, "mtu": MTU, "device": "net_memif, one queue",
         "sides": {side.name: side.as_dict() for side in sides + beside}})
