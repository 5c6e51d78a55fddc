# SPDX-License-Identifier: Apache-2.0
"""H1: two poll cores under a skewed load: requests steered to their owner, or handed over to it."""
from __future__ import annotations

from rig import get_load, load, server
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result

ID = "H1"
TITLE = "two poll cores, 80 % of the GETs for one of them: steered by queue, or handed over by ring"
ABOUT = """\
A client that knows the owner's queue reaches the owner at once; one that does not leaves the first
core to pass on what is not its own. The ratio is what a GET costs both cores together when all
arrive at the first one, over what it costs when each arrives at its owner. On a machine of two CPUs
one of the poll cores shares its CPU with the load engine: compare costs, not rates."""
TARGET = 2.0  # our own bound: a hand-over may cost no more than a second GET
MIX = load.Mix(depth=128)
QUEUES = 2


def needs(context: Context) -> None:
    get_load.needs(context)


def _one_run(context: Context, steer: str) -> dict:
    settings = {"device": server.memif(context.folder, "server"), "idle": "sleep", "workers": 2,
                "queues": QUEUES, "cpus": f"{context.server_cpu},{context.load_cpu}",
                **context.pages(), **get_load.CACHE}
    loader = get_load.engine(context, 1500)
    with server.Server(context.build, context.folder, settings) as running:
        loader.fixed += ["--queues", str(QUEUES), "--steer", steer, "--hot-partition", "0:80"]
        loader.fill(MIX)
        before = running.counters()
        said = loader.run(MIX, context.seconds, warm=False)
        spent = running.counters().since(before)
    gets = spent["hits"] + spent["misses"]
    return {
        "value": said["by_op"]["get"]["ended"].get("OK", 0) / said["seconds"],
        "loss": said["engine"]["loss"],
        "hit_ratio": said["hit_ratio"],
        "busy_ns_per_get": spent["busy_ns"] / gets if gets else 0.0,
        "handed_over": spent["handoff_in"] / gets if gets else 0.0,
        "refused_full": spent["handoff_full"],
        **load.latency(said),
    }


def run(context: Context) -> Result:
    steered = Side("steered", "GET/s", lambda: _one_run(context, "owner"))
    handed = Side("handed over", "GET/s", lambda: _one_run(context, "first"))
    take_turns(context, [steered, handed])
    ours, direct = (side.median_of("busy_ns_per_get") for side in (handed, steered))
    return Result(
        [Figure("cost of a GET handed over", ours, "ns of both cores", direct,
                "the same GETs steered to their owner", TARGET, at_least=False)],
        {"workers": 2, "queues": QUEUES, "hot_partition": "80 % of the GETs", "depth": MIX.depth,
         "steered": steered.as_dict(), "handed_over": handed.as_dict()})
