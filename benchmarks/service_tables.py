"""Lays out what the service bears, for docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOADS = {"load": "float32", "bfloat16": "queries in bfloat16", "overload": "ten times as many", "after": "afterwards"}


def service_lines(measured: Mapping[str, Any]) -> list[str]:
    """Lays out loads, memory, edits and choices.

    Args:
        measured: Of service.json.

    Returns:
        Lines of Markdown.
    """
    lines = [
        f"| {measured['connections']} connections | selections/s | p50 ms | p99 ms | 429, % | errors |",
        "|---" * 6 + "|",
    ]
    for part, name in LOADS.items():
        load = measured[part]
        cells = (f"{load['selections_per_second']:.0f}", f"{load['p50_ms']:.0f}", f"{load['p99_ms']:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * load['share_of_429']:.0f} | {load['errors']} |")
    memory, kill, same = measured["memory"], measured["kill"], measured["bfloat16"]["same"]
    parts = [
        f"Memory of the server, MiB: {memory['before_mib']:.0f} before, {memory['after_load_mib']:.0f} after the load,",
        f"{memory['after_overload_mib']:.0f} after the overload. Killed among edits: {kill['lost']} of",
        f"{kill['confirmed']} confirmed ones lost. In bfloat16 {100 * same['share']:.0f} % of {same['queries']}",
        "queries get the same demonstrations in the same order,",
        f"{100 * same['set']:.0f} % the same ones.",
    ]
    return [*lines, "", " ".join(parts), ""]
