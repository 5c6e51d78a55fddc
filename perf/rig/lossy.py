# SPDX-License-Identifier: Apache-2.0
"""Random loss on a device, both ways: netfilter drops what arrives and what leaves, each datagram
of the server's with the same chance, before the sockets and behind them. Whoever sends is not told.
No train of GSO is dropped as one: a veth pair passes it on whole, and so libkvrail sends none."""
from __future__ import annotations

import collections.abc
import contextlib
import shutil
import subprocess

PORTS = "9690-9753"
TABLE = "kvrail_loss"
PARTS = 10000  # of a whole


def missing() -> str | None:
    """Why there can be no loss here."""
    if not shutil.which("nft"):
        return "no nft (tools/setup --perf installs it)"
    probe = subprocess.run(["unshare", "-n", "nft", _rules("lo", 1)], capture_output=True,
                           text=True, check=False)
    return None if probe.returncode == 0 else f"nft: {probe.stderr.strip().splitlines()[0]}"


def _rules(device: str, parts: int) -> str:
    chance = f"numgen random mod {PARTS} < {parts} counter drop"
    return f"""table netdev {TABLE} {{
        chain arriving {{ type filter hook ingress device {device} priority 0;
                          udp sport {PORTS} {chance}; }}
        chain leaving {{ type filter hook egress device {device} priority 0;
                         udp dport {PORTS} {chance}; }}
    }}"""


@contextlib.contextmanager
def loss(enter: list[str], device: str, share: float) -> collections.abc.Iterator[None]:
    """enter: what puts a command into the device's namespace. share: 0.01 = a percent."""
    if share == 0:
        yield
        return
    subprocess.run([*enter, "nft", _rules(device, round(share * PARTS))], check=True)
    try:
        yield
    finally:
        subprocess.run([*enter, "nft", f"delete table netdev {TABLE}"], check=True)
