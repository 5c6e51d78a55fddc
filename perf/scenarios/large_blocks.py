# SPDX-License-Identifier: Apache-2.0
"""L1: what random loss of a percent each way leaves of the goodput of large blocks: libkvrail over
sockets, af_packet on a veth pair with jumbo frames, one and four clients. Every pair of runs, with
and without loss, follows one upon the other on the same server."""
from __future__ import annotations

import dataclasses

from rig import load, lossy, server, veth
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result, Skipped

ID = "L1"
TITLE = "blocks of 64 KiB to 8 MiB with 1 % loss each way, of what they are without, MTU 9000"
ABOUT = """\
Of every hundred datagrams one is lost on the way there and one on the way back, by a rule of the
kernel's packet filter. The ratio is the goodput of libkvrail with that loss over the goodput
without: what recovery costs, and whether the window mistakes chance for congestion. At least 0.70
is wanted of 2 MiB blocks; the other sizes are held to the same."""
TARGET = 0.70
LOSS = 0.01
MTU = 9000
STORED_MIB = 64
SHARE_OF_TIME = 0.2  # of --time, for each of the 32 runs of a round
SIZES = {"64KiB": 1 / 16, "256KiB": 1 / 4, "2MiB": 2, "8MiB": 8}  # MiB
DEPTH = 4  # calls of a client in flight
SETTINGS = {"mtu": MTU, "cache_size": "384MiB", "packet_memory": 192, "packet_buffers": 16384,
            "idle": "pause", "rx_ring": 1024, "tx_ring": 1024}


@dataclasses.dataclass(frozen=True)
class Case:
    op: str
    size: str
    flows: int

    def name(self) -> str:
        return f"{self.op.upper()} {self.size}, {self.flows} flow{'s' if self.flows > 1 else ''}"

    def mix(self) -> load.Mix:
        keys = max(8, round(STORED_MIB / SIZES[self.size]))
        return load.Mix(ops=self.op, keys=str(keys), size=self.size, dist="uniform",
                        depth=DEPTH)


CASES = [Case(op, size, flows) for op in ("get", "put") for size in SIZES for flows in (1, 4)]


def needs(_: Context) -> None:
    if why := lossy.missing():
        raise Skipped(why)


def _one_run(context: Context, link: veth.Veth, case: Case, share: float) -> dict:
    with lossy.loss(link.enter, veth.CLIENT, share):
        said = load.bench(context.build, case.mix(), max(0.2, SHARE_OF_TIME * context.seconds),
                          warm=True, enter=link.enter,
                          more=["--threads", str(case.flows), "--no-verify", "--timeout", "10s"])
    return {"value": said[f"{case.op}_bytes_s"], **load.latency(said, case.op),
            "errors": said["errors"], "retransmits": said["client"]["retransmits"],
            "tx_datagrams": said["client"]["tx_datagrams"]}


def _side(context: Context, link: veth.Veth, case: Case, share: float) -> Side:
    name = case.name() + (f", {share:.0%} loss" if share else "")
    return Side(name, "bytes/s", lambda: _one_run(context, link, case, share))


def run(context: Context) -> Result:
    settings = {**SETTINGS, "device": veth.af_packet(veth.SERVER, MTU),
                "cpus": context.server_cpu}
    pairs = []
    for size in SIZES:  # a fresh server each: no memory is laid out for another size
        with veth.Veth(context.folder, MTU) as link, \
                server.Server(context.build, context.folder, settings):
            these = [(_side(context, link, case, LOSS), _side(context, link, case, 0))
                     for case in CASES if case.size == size]
            take_turns(context, [side for both in these for side in both])
        pairs += these
    return Result(
        [Figure(with_loss.name, with_loss.median(), "bytes/s of values", without.median(),
                "the same without loss", TARGET) for with_loss, without in pairs],
        {"mtu": MTU, "loss": LOSS, "depth": DEPTH,
         "sides": {side.name: side.as_dict() for both in pairs for side in both}})
