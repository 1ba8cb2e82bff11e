"""Lays out what the service bears, for docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOADS = {
    "load": "torch",
    "bfloat16": "bfloat16",
    "onnx": "onnx",
    "onnx-int8": "onnx-int8",
    "overload": "torch, ten times as many",
    "after": "torch, afterwards",
}


def service_lines(measured: Mapping[str, Any]) -> list[str]:
    """Lays out loads, memory, edits and choices.

    Args:
        measured: Of service.json.

    Returns:
        Lines of Markdown.
    """
    headings = ("selections/s", "p50 ms", "p99 ms", "429, %", "errors", "same choice, %", "same set, %")
    lines = [f"| {measured['connections']} connections, queries by | {' | '.join(headings)} |", "|---" * 8 + "|"]
    for part, name in LOADS.items():
        if part not in measured:  # measured before there was this way
            continue
        load = measured[part]
        cells = (f"{load['selections_per_second']:.0f}", f"{load['p50_ms']:.0f}", f"{load['p99_ms']:.0f}")
        same = load.get("same", {"share": 1.0, "set": 1.0})
        alike = f"{100 * same['share']:.0f} | {100 * same['set']:.0f}"
        lines.append(
            f"| {name} | {' | '.join(cells)} | {100 * load['share_of_429']:.0f} | {load['errors']} | {alike} |"
        )
    memory, kill = measured["memory"], measured["kill"]
    parts = [
        f"Memory of the server, MiB: {memory['before_mib']:.0f} before, {memory['after_load_mib']:.0f} after the load,",
        f"{memory['after_overload_mib']:.0f} after the overload. Killed among edits: {kill['lost']} of",
        f"{kill['confirmed']} confirmed ones lost. Same choice: the same demonstrations in the same order as by torch,",
        f"of {measured['bfloat16']['same']['queries']} queries; same set: in any order.",
    ]
    return [*lines, "", " ".join(parts), ""]
