# SPDX-License-Identifier: Apache-2.0
"""P16: what an idle daemon costs: CPU time of kvraild and its dataplane over some seconds."""
from __future__ import annotations

import time

from rig import machine, server
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result

ID = "P16"
TITLE = "an idle daemon with `idle: sleep`: share of one core"
ABOUT = """\
CPU time of both processes while nothing is asked, from /proc. A poll core that sleeps wakes up
now and then to look."""
TARGET = 0.02
SECONDS = 4  # for each of --time's: 20 s by default
SETTLE_S = 5  # its sleeps become longer for some seconds


def needs(_: Context) -> None:
    pass


def _one_run(context: Context) -> dict:
    settings = {"device": server.memif(context.folder, "server"), "idle": "sleep",
                "cache_size": "256MiB", **context.pages()}
    seconds = SECONDS * context.seconds
    with server.Server(context.build, context.folder, settings) as running:
        time.sleep(min(SETTLE_S, context.seconds))
        uses = {"kvraild": machine.CpuUse(running.child.pid),
                "dataplane": machine.CpuUse(running.dataplane_pid())}
        began = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        shares = {name: use.seconds() / took for name, use in uses.items()}
    return {"value": sum(shares.values()), **shares, "seconds": took}


def run(context: Context) -> Result:
    kvrail = Side("idle daemon", "of a core", lambda: _one_run(context))
    take_turns(context, [kvrail])
    return Result(
        [Figure("CPU of kvraild and dataplane", kvrail.median(), "of a core", 1.0, "one core",
                TARGET, at_least=False)],
        {"device": "net_memif without a peer", "kvrail": kvrail.as_dict()})
