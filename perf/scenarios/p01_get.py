# SPDX-License-Identifier: Apache-2.0
"""P1: single GETs of small values over memif, against the echo rate of the same device."""
from __future__ import annotations

from rig import get_load, testpmd
from rig.context import Context, Side, take_turns
from rig.load import Mix
from rig.result import Figure, Result, Skipped

ID = "P1"
TITLE = "GET of 64 B values, zipf 0.99 over 1 M keys, one op a datagram, UDP over memif, one core"
ABOUT = """\
Each GET is a datagram of its own, as a client without batching sends it. The limit is what the
same core does with the same device when it only sends every frame back: dpdk-testpmd, macswap, with
frames of the sizes of kvrail's requests and replies. 0.60 means that parsing, cookie, hash, lookup,
CRC and reply together cost two thirds of what the frame itself costs."""
TARGET = 0.60
LOSS_MAX = 0.01
SETTING = get_load.Setting(Mix(batch=1, depth=256))


def needs(context: Context) -> None:
    get_load.needs(context)
    if why := testpmd.missing():
        raise Skipped(why)


def against_echo(context: Context, setting: get_load.Setting) -> tuple[Side, Side]:
    """kvrail and the echo in turns; the echo has the frame sizes that kvrail's last run had."""
    kvrail = Side("kvrail", "GET/s", lambda: get_load.one_run(context, setting))

    def echo_like_kvrail() -> dict:
        run = kvrail.runs[-1]
        return get_load.echo_run(context, run["request_frame_bytes"], run["reply_frame_bytes"],
                                 setting.mtu)

    limit = Side("testpmd echo", "frames/s", echo_like_kvrail)
    take_turns(context, [kvrail, limit])
    return kvrail, limit


def figures(kvrail: Side, limit: Side, target: float) -> list[Figure]:
    return [
        Figure("rate against the echo", kvrail.median(), "GET/s", limit.median(),
               "dpdk-testpmd macswap echo, frames/s", target),
        Figure("loss", kvrail.median_of("loss"), "share of the datagrams", 1.0, "all datagrams",
               LOSS_MAX, at_least=False),
    ]


def detail(kvrail: Side, limit: Side, setting: get_load.Setting) -> dict[str, object]:
    return {
        "device": "net_memif, one queue", "mtu": setting.mtu, "depth": setting.mix.depth,
        "ops_per_datagram": setting.mix.batch,
        "kvrail": kvrail.as_dict(), "echo": limit.as_dict(),
        "ratio_of_each_round": [round(ours / echo, 3) for ours, echo in
                                zip(kvrail.values(), limit.values())],
        "echo_is": "frames a second that reach the echoing core, which sends all of them back; "
                   "mean time of a frame of the request's and of the reply's size",
        "server_busy": round(kvrail.median_of("server_busy"), 3),
        "load_busy": round(kvrail.median_of("load_busy"), 3),
        "bottleneck": "server" if kvrail.median_of("server_busy") > kvrail.median_of("load_busy")
                      else "load engine",
        **{name: kvrail.median_of(name) for name in
           ("p50_us", "p99_us", "p99_9_us", "packets_per_burst", "ns_per_get", "cycles_per_get",
            "replies_per_request")},
    }


def run(context: Context) -> Result:
    kvrail, limit = against_echo(context, SETTING)
    return Result(figures(kvrail, limit, TARGET), detail(kvrail, limit, SETTING))
