# SPDX-License-Identifier: Apache-2.0
"""The limit of a device: how many frames a second dpdk-testpmd takes from it and sends back
(macswap) when a second testpmd (flowgen) sends as fast as it can, or takes only (rxonly)."""
from __future__ import annotations

import dataclasses
import os
import time

from rig.child import ChildFailed
from rig.testpmd import Place, Testpmd

SETTLE_S = 0.5
ATTEMPTS = 3


class Stalled(ChildFailed):
    pass


@dataclasses.dataclass
class Rate:
    frame_bytes: int
    rx_s: float  # frames a second that reached the measured side
    tx_s: float  # that it sent


def measure(server: Place, client: Place, frame_bytes: int, seconds: float, one_way: bool = False,
            socket: str | None = None) -> Rate:
    """socket: a file that the server's device makes (memif), without which the client cannot
    start. A pair that stalls, which is seen on busy machines, is started again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return _measure_once(server, client, frame_bytes, seconds, one_way, socket)
        except Stalled:
            continue
    return _measure_once(server, client, frame_bytes, seconds, one_way, socket)


def _measure_once(server: Place, client: Place, frame_bytes: int, seconds: float, one_way: bool,
                  socket: str | None) -> Rate:
    if socket and os.path.exists(socket):
        os.unlink(socket)
    here, there = ("rxonly", "flowgen") if one_way else ("macswap", "flowgen")
    with Testpmd("limit-server", server, here, []) as echo:
        if socket:
            echo.child.wait_for(lambda: os.path.exists(socket), 20, f"makes no {socket}")
        echo.ready()
        with Testpmd("limit-client", client, there, [f"--txpkts={frame_bytes}"]) as generator:
            generator.ready()
            echo.start()
            generator.start()
            time.sleep(SETTLE_S)
            before = echo.counters()
            time.sleep(seconds)
            after = echo.counters()
            generator.ask("stop")
        if after["rx"] == before["rx"]:
            raise Stalled(str(echo.child.failure(f"no frame of {frame_bytes} bytes arrives")))
    took = after["at"] - before["at"]
    return Rate(frame_bytes, (after["rx"] - before["rx"]) / took,
                (after["tx"] - before["tx"]) / took)
