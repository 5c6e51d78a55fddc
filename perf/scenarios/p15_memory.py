# SPDX-License-Identifier: Apache-2.0
"""P15: memory: how much of a full cache holds values, for the block sizes of real models; and what
a small item costs beyond its key and value, in a real server."""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess

from rig import build, get_load, load, server, smaps
from rig.context import Context
from rig.result import Figure, Result, Skipped

ID = "P15"
TITLE = "memory: utilisation on the block sizes of real models; overhead of a small item"
ABOUT = """\
Utilisation: bytes of values over bytes of the data segment when the cache is full and evicts, for
blocks of published models (layers x (K and V) x heads x dimension x bytes x tokens). Overhead: what
a small item costs a real server in resident memory of any kind, beyond its key and its value."""
UTILISATION_TARGET, OVERHEAD_TARGET = 0.95, 64
DATA = "16GiB"
DATA_BYTES = 16 << 30
VALUE_MAX = 64 << 20
TOKENS = (16, 64, 256, 512)
SMALL_VALUE = 64
SMALL_KEYS = (16, 32)
SMALL_ITEMS = (500_000, 1_500_000)  # what the second costs more is what its items cost


@dataclasses.dataclass(frozen=True)
class Model:
    """Shape of a published model's KV cache."""

    name: str
    layers: int
    per_layer: int  # numbers per token and layer
    width: int = 2  # bytes of a number

    def block_bytes(self, tokens: int) -> int:
        return tokens * self.layers * self.per_layer * self.width


def grouped(heads: int, head_dim: int) -> int:
    return 2 * heads * head_dim  # keys and values


MODELS = (
    Model("Llama-3-8B", 32, grouped(8, 128)),
    Model("Llama-3-70B", 80, grouped(8, 128)),
    Model("Llama-3-70B fp8", 80, grouped(8, 128), 1),
    Model("Mistral-7B", 32, grouped(8, 128)),
    Model("Qwen2.5-7B", 28, grouped(4, 128)),
    Model("Qwen2.5-72B", 80, grouped(8, 128)),
    Model("DeepSeek-V3 MLA", 61, 576),
)


def needs(context: Context) -> None:
    get_load.needs(context)
    if not os.path.exists(_program(context)):
        raise Skipped("no perf/memory/utilisation in this build")


def _program(context: Context) -> str:
    return build.program(context.build, "utilisation")


def _pieces(size: int) -> tuple[int, int]:
    """A block above the largest value is stored as equal parts: how many, and of how many bytes."""
    parts = -(-size // VALUE_MAX)
    return parts, -(-size // parts)


def _utilisation(context: Context, sizes: str, smallest: int) -> dict:
    run = subprocess.run(
        [_program(context), "--data", DATA, "--blocks", str(2 * DATA_BYTES // smallest + 1024),
         "--size", sizes], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"utilisation --size {sizes}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def _models(context: Context) -> list[dict]:
    rows = []
    for model in MODELS:
        for tokens in TOKENS:
            size = model.block_bytes(tokens)
            parts, piece = _pieces(size)
            said = _utilisation(context, str(piece), piece)
            rows.append({"model": model.name, "tokens": tokens, "block_bytes": size,
                         "values_per_block": parts, "utilisation": said["utilisation"]})
    for first, second in ((MODELS[0], MODELS[4]), (MODELS[0], MODELS[6])):
        sizes = [model.block_bytes(64) for model in (first, second)]
        said = _utilisation(context, ",".join(f"{size}:50" for size in sizes), min(sizes))
        rows.append({"model": f"{first.name} and {second.name}, half of the blocks each",
                     "tokens": 64, "block_bytes": sum(sizes) // 2, "values_per_block": 1,
                     "utilisation": said["utilisation"]})
    worst = min(rows, key=lambda row: row["utilisation"])
    context.progress(f"utilisation {worst['utilisation']:.3f} at worst: {worst['model']}, "
                     f"{worst['tokens']} tokens")
    return rows


def _filled(context: Context, key_size: int, items: int) -> dict[str, float]:
    """Resident bytes of a dataplane that holds this many small items and may hold no more."""
    data_mib = items * 2 * SMALL_VALUE // (1 << 20) + 32
    settings = {"device": server.memif(context.folder, "server"), "idle": "sleep",
                "cpus": context.server_cpu, "hugepages": "off", "populate": "off",
                "cache_size": f"{data_mib}MiB", "blocks_max": items}
    with server.Server(context.build, context.folder, settings) as running:
        loader = get_load.engine(context, 1500)
        loader.fill(load.Mix(keys=str(items), key_size=key_size, size=str(SMALL_VALUE)))
        stored = sum(part["items"] for part in running.ask("stat")["partitions"])
        found = smaps.resident(running.dataplane_pid())
    return {"items": stored, **found}


def _small(context: Context, key_size: int) -> dict:
    few, many = (_filled(context, key_size, items) for items in SMALL_ITEMS)
    items = many["items"] - few["items"]
    by_part = {name: (many.get(name, 0) - few.get(name, 0)) / items
               for name in ("index", "data", "private", "other")}
    total = sum(by_part.values())
    row = {"key_bytes": key_size, "value_bytes": SMALL_VALUE, "bytes_per_item": round(total, 1),
           "overhead": round(total - key_size - SMALL_VALUE, 1),
           "by_part": {name: round(each, 1) for name, each in by_part.items()},
           "items": [few["items"], many["items"]], "resident": [few, many]}
    context.progress(f"an item of {key_size} + {SMALL_VALUE} B takes {total:.1f} B")
    return row


def run(context: Context) -> Result:
    models = _models(context)
    small = [_small(context, key_size) for key_size in SMALL_KEYS]
    worst = min(models, key=lambda row: row["utilisation"])
    figures = [Figure(f"utilisation, {worst['model']}, {worst['tokens']} tokens", worst["utilisation"], "of the data segment", 1.0,
                      "the data segment", UTILISATION_TARGET)]
    figures += [Figure(f"overhead of an item, key of {row['key_bytes']} B", row["overhead"],
                       "bytes", 1, "one byte", OVERHEAD_TARGET, at_least=False) for row in small]
    return Result(figures, {"cache": DATA, "policy": "lru", "figure_is": f"the worst of {len(models)}",
                            "models": models, "small": small})
