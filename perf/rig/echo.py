# SPDX-License-Identifier: Apache-2.0
"""The limit of a device: how many frames a second dpdk-testpmd takes from it and sends back
(macswap) when a second testpmd (flowgen) sends as fast as it can; or takes only, from txonly."""
from __future__ import annotations

import dataclasses
import os
import time

from rig.testpmd import Place, Testpmd

SETTLE_S = 0.5


@dataclasses.dataclass
class Rate:
    frame_bytes: int
    rx_s: float  # frames a second that reached the measured side
    tx_s: float  # that it sent


def measure(server: Place, client: Place, frame_bytes: int, seconds: float, one_way: bool = False,
            socket: str | None = None) -> Rate:
    """socket: a file that the server's device makes (memif), without which the client cannot
    start."""
    here, there = ("rxonly", "txonly") if one_way else ("macswap", "flowgen")
    with Testpmd("limit-server", server, here, []) as echo:
        if socket:
            echo.child.wait_for(lambda: os.path.exists(socket), 20, f"makes no {socket}")
        echo.ready()
        with Testpmd("limit-client", client, there, [f"--txpkts={frame_bytes}"]) as generator:
            generator.ready()
            echo.ask("start")
            generator.ask("start")
            time.sleep(SETTLE_S)
            before = echo.counters()
            time.sleep(seconds)
            after = echo.counters()
            generator.ask("stop")
    took = after["at"] - before["at"]
    return Rate(frame_bytes, (after["rx"] - before["rx"]) / took,
                (after["tx"] - before["tx"]) / took)
