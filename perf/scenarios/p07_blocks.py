# SPDX-License-Identifier: Apache-2.0
"""P7: blocks of 2 MiB over UDP with jumbo frames, against what dpdk-testpmd moves one way over the
same device: af_packet on a veth pair with libkvrail over sockets as the client, GET and PUT; and
memif with kvrail-load as the client, GET and PUT."""
from __future__ import annotations

import collections.abc
import contextlib
import os
import subprocess
import time

from rig import build, echo, get_load, load, server, testpmd, veth
from rig.child import Child, ChildFailed
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result, Skipped
from rig.testpmd import Place

ID = "P7"
TITLE = "2 MiB blocks over UDP, MTU 9000, GET and PUT, one poll core"
ABOUT = """\
Blocks of 2 MiB, the KV cache of 16 tokens of Llama-3-8B. The limit is the bytes a second that
testpmd moves one way over the same device with frames of the same size. Over veth the client is
libkvrail with the kernel's sockets, whose cost on the client's side the limit does not have."""
TARGET = 0.70
MTU = 9000
FRAME = MTU + testpmd.FRAME_HEAD
BLOCKS = 128
MEMIF_DEPTH = 4  # blocks in flight: they fit the device's ring
MIX = {"keys": str(BLOCKS), "size": "2MiB", "dist": "uniform", "batch": 1}
SETTINGS = {"mtu": MTU, "cache_size": "768MiB", "packet_memory": 192, "packet_buffers": 16384,
            "idle": "spin", "rx_ring": 1024, "tx_ring": 1024}


def needs(_: Context) -> None:
    if why := testpmd.missing():
        raise Skipped(why)


def _server(context: Context, device: str, **more: object) -> server.Server:
    return server.Server(context.build, context.folder,
                         {**SETTINGS, **context.pages(), "device": device,
                          "cpus": context.server_cpu, **more})


def _rate(said: dict, op: str) -> dict:
    done = said["by_op"][op]
    row = {"value": said[f"{op}_bytes_s"], **load.latency(said, op),
           "errors": done["errors"]}
    if "retransmits" in said.get("client", {}):
        row["retransmits"] = said["client"]["retransmits"]
    return row


def _sockets(context: Context, op: str) -> dict:
    with veth.Veth(context.folder, MTU) as pair, \
            _server(context, veth.af_packet(veth.SERVER, MTU)) as running:
        before = running.counters()
        said = load.bench(context.build, load.Mix(ops=op, depth=4, **MIX), context.seconds,
                          warm=True, enter=pair.enter, more=["--no-verify", "--timeout", "10s"])
        spent = running.counters().since(before)
        return _rate(said, op) | {"server_tx_failed": spent["tx_failed"]}


def _veth_limit(context: Context, one_way: bool) -> dict:
    with veth.Veth(context.folder, MTU) as pair:
        here, there = (
            Place(context.folder, veth.af_packet(interface, MTU), cpu, other, context.hugepages,
                  MTU, enter)
            for interface, cpu, other, enter in (
                (veth.SERVER, context.server_cpu, context.load_cpu, []),
                (veth.CLIENT, context.load_cpu, context.server_cpu, pair.enter)))
        rate = echo.measure(here, there, FRAME, context.seconds, one_way)
    return {"value": rate.rx_s * FRAME, "frames_s": rate.rx_s}


def _memif_limit(context: Context, one_way: bool) -> dict:
    rate = get_load.memif_limit(context, FRAME, context.seconds, MTU, one_way)
    return {"value": rate.rx_s * FRAME, "frames_s": rate.rx_s}


def _interfaces() -> list[str]:
    """/sys shows those of another namespace."""
    with open("/proc/net/dev", encoding="ascii") as lines:
        return [line.partition(":")[0].strip() for line in lines]


@contextlib.contextmanager
def _bridge(context: Context) -> collections.abc.Iterator[None]:
    """testpmd carries the frames of the server's memif to a TAP device, where sockets are."""
    tap = "kvt0"
    command = ["dpdk-testpmd", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m",
               "512", "--file-prefix=bridge", "--lcores",
               f"0@{context.load_cpu},1@{context.load_cpu}", "--vdev",
               server.memif(context.folder, "client", mtu=MTU), "--vdev", f"net_tap0,iface={tap}",
               "--", "-i", "--forward-mode=io", "--nb-cores=1", "--total-num-mbufs=16384"]
    with Child(context.folder, "bridge", command, talk=True) as bridge:
        bridge.wait_for(lambda: tap in _interfaces(), 20, "no TAP device")
        bridge.wait_for(lambda: testpmd.PROMPT in bridge.said(), 20, "does not start")
        for words in (["addr", "add", "10.96.0.2/24", "dev", tap], ["link", "set", tap, "up"]):
            subprocess.run(["ip", *words], check=True)
        bridge.tell("start")
        yield


def _memif_get(context: Context) -> dict:
    mix = load.Mix(ops="get", depth=MEMIF_DEPTH, **MIX)
    # kvrail-load asks for a whole value at once.
    with _server(context, server.memif(context.folder, "server"), train_max="2MiB") as running:
        with _bridge(context):
            load.bench(context.build, load.Mix(ops="put", depth=2, **MIX), 0.2, warm=True, enter=[],
                       more=["--timeout", "20s"])
        time.sleep(0.5)
        loader = get_load.engine(context, MTU)
        before = running.counters()
        said = loader.run(mix, context.seconds, warm=False)
        spent = running.counters().since(before)
    if said["hit_ratio"] < 1:
        raise ChildFailed(f"kvrail-load hit {said['hit_ratio']:.0%} of the stored blocks only")
    row = _rate(said, "get") | {"loss": said["engine"]["loss"], "load_busy": said["engine"]["busy"]}
    return row | {"server_busy": min(spent["busy_ns"] / 1e9 / said["seconds"], 1.0)}


def _memif_put(context: Context) -> dict:
    mix = load.Mix(ops="put", depth=MEMIF_DEPTH, **MIX)
    with _server(context, server.memif(context.folder, "server")) as running:
        loader = get_load.engine(context, MTU)
        loader.run(mix, 0.2, warm=True)
        before = running.counters()
        said = loader.run(mix, context.seconds, warm=False)
        spent = running.counters().since(before)
    row = _rate(said, "put") | {"loss": said["engine"]["loss"], "load_busy": said["engine"]["busy"]}
    return row | {"server_busy": min(spent["busy_ns"] / 1e9 / said["seconds"], 1.0)}


def run(context: Context) -> Result:
    get = Side("GET, veth", "bytes/s", lambda: _sockets(context, "get"))
    put = Side("PUT, veth", "bytes/s", lambda: _sockets(context, "put"))
    wire = Side("testpmd one way, veth", "bytes/s", lambda: _veth_limit(context, True))
    back = Side("testpmd echo, veth", "bytes/s", lambda: _veth_limit(context, False))
    sides = [get, put, wire, back]
    figures = [(get, wire), (put, wire)]
    if os.path.exists(build.program(context.build, "kvrail-load")):
        memif = Side("GET, memif", "bytes/s", lambda: _memif_get(context))
        memif_put = Side("PUT, memif", "bytes/s", lambda: _memif_put(context))
        memif_wire = Side("testpmd one way, memif", "bytes/s", lambda: _memif_limit(context, True))
        memif_back = Side("testpmd echo, memif", "bytes/s", lambda: _memif_limit(context, False))
        sides += [memif, memif_put, memif_wire, memif_back]
        figures += [(memif, memif_wire), (memif_put, memif_wire)]
    take_turns(context, sides)
    return Result(
        [Figure(side.name, side.median(), "bytes/s of values", limit.median(),
                f"{limit.name}, bytes/s of frames", TARGET) for side, limit in figures],
        {"mtu": MTU, "blocks": BLOCKS,
         "clients": "veth: kvrail bench (libkvrail, kernel sockets). memif: kvrail-load, which "
                    "asks for a whole value at once",
         "sides": {side.name: side.as_dict() for side in sides}})
