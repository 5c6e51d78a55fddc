# SPDX-License-Identifier: Apache-2.0
"""P3: kvrail's single and batched GETs against memcached and Redis, one thread each, on the same
machine with the same keys and values. Each peer is asked in the way that suits it best."""
from __future__ import annotations

import os

from rig import build, get_load, local, peer
from rig.context import Context, Side, take_turns
from rig.peer import Peer, Way
from rig.result import Figure, Result, Skipped
from scenarios import p01_get, p02_batch

ID = "P3"
TITLE = "P1 and P2 against memcached (UDP and TCP, one thread) and Redis on the same machine"
ABOUT = """\
memcached and Redis run on the server's CPU with one thread, the loader on the other, as for kvrail;
keys, values and popularity are the same. Short trials choose what suits each peer best: number of
connections, batch, multiget, pipelining. Their requests go through the kernel, kvrail's do not: that
is the point of the comparison, not an accident of it. The local figure is kvrail's hits through shared
memory (P4) against the same best unbatched peer: none of them has such a way."""
UNBATCHED_TARGET, BATCHED_TARGET = 60, 15
LOCAL_TARGET = 60  # none was set for it
KEYS, SIZE = 1_000_000, 64

UNBATCHED = {
    "memcached TCP": [Way("memcached", "memcached", slots=n) for n in (1, 4, 16, 64)],
    "memcached UDP": [Way("memcached", "memcached", slots=n, udp=True) for n in (1, 8, 32, 64)],
    "Redis": [Way("redis", "redis", slots=n) for n in (1, 4, 16, 64)]
             + [Way("redis", "redis-benchmark", slots=50)],
}
BATCHED = {
    "memcached batched": [Way("memcached", protocol, batch, slots)
                          for protocol in ("memcached", "memcached-pipeline")
                          for batch in (24, 50, 100) for slots in (1, 8)],
    "Redis batched": [Way("redis", protocol, batch, slots)
                      for protocol in ("redis", "redis-mget")
                      for batch in (32, 100) for slots in (1, 8)]
                     + [Way("redis", "redis-benchmark", 32, 50)],
}


def needs(context: Context) -> None:
    get_load.needs(context)
    local.needs(context)
    if why := peer.missing():
        raise Skipped(why)
    if not os.path.exists(build.program(context.build, "peer_load")):
        raise Skipped("no peer_load in this build")


def _side(name: str, one: Peer, way: Way, seconds: float) -> Side:
    return Side(name, "GET/s", lambda: one.run(way, seconds))


def _kvrail(context: Context) -> list[Side]:
    return [Side(f"kvrail, {setting.mix.batch} a datagram", "GET/s",
                 lambda setting=setting: get_load.one_run(context, setting))
            for setting in (p01_get.SETTING, p02_batch.SETTING)]


def _local_run(context: Context) -> dict:
    with local.start_server(context, dict(get_load.CACHE)) as running:
        said = local.load(context, running, "hit", KEYS, SIZE, fill=True, zipf=0.99)
    return {"value": said["hits_s"], **said["hit"]}


def run(context: Context) -> Result:
    trials: dict[str, dict[str, float]] = {}
    sides: dict[str, Side] = {}
    chosen: dict[str, str] = {}
    with (Peer(context, "memcached", KEYS, SIZE) as memcached,
          Peer(context, "redis", KEYS, SIZE) as redis):
        for name, ways in (UNBATCHED | BATCHED).items():
            one = memcached if ways[0].kind == "memcached" else redis
            way, trials[name] = one.best(ways)
            sides[name] = _side(name, one, way, context.seconds)
            chosen[name] = way.words()
        single, batched = _kvrail(context)
        shared = Side("kvrail, shared memory", "GET/s", lambda: _local_run(context))
        # An idle peer takes no CPU from kvrail: both sleep in epoll_wait.
        take_turns(context, [single, batched, shared, *sides.values()])
    best_single = max((sides[name] for name in UNBATCHED), key=Side.median)
    best_batched = max((sides[name] for name in BATCHED), key=Side.median)
    figures = [
        Figure("unbatched", single.median(), "GET/s", best_single.median(),
               chosen[best_single.name], UNBATCHED_TARGET),
        Figure("batched", batched.median(), "GET/s", best_batched.median(),
               chosen[best_batched.name], BATCHED_TARGET),
        Figure("local, unbatched", shared.median(), "GET/s", best_single.median(),
               chosen[best_single.name], LOCAL_TARGET),
    ]
    return Result(figures, {
        "kvrail": {single.name: single.as_dict(), batched.name: batched.as_dict(),
                   shared.name: shared.as_dict()},
        "peers": {name: {"asked": chosen[name], "ratio": _ratio(name, single, batched, side),
                         **side.as_dict()} for name, side in sides.items()},
        "trials": trials,
    })


def _ratio(name: str, single: Side, batched: Side, side: Side) -> float:
    kvrail = single if name in UNBATCHED else batched
    return round(kvrail.median() / side.median(), 1)
