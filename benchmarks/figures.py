"""Writes the measured figures into docs/engine.md.

python -m benchmarks.figures
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "engine.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->"
HEADINGS = (
    *("workload", "queries/s", "computed tokens/s", "logical tokens/s", "duplicates avoided", "peak MiB"),
    "of GEMM peak",
    "of the fastest GEMM",
)
EXPLAINED = """*Plain first token* is one padded pass per prompt with last-position logits, which reads only the first
token of each label; *plain every label* scores every token of every label, as the engine does. *Duplicates avoided*
beyond 100 % means that prefixes kept from earlier calls were used too. *Of GEMM peak* counts the arithmetic of computed
tokens without attention and vocabulary, over what the best of three shapes of matrix products keeps up in the same run;
*of the fastest GEMM* is over the fastest single product, which a shared machine does not keep up.
"""


def engine_table(engine: dict[str, Any]) -> list[str]:
    """Lays the workloads out.

    Args:
        engine: Of engine.json.

    Returns:
        Lines of Markdown.
    """
    machine, workloads = engine["machine"], engine["workloads"]
    units = {True: "with", False: "without"}
    others = list(dict.fromkeys(other for rates in workloads.values() for other in rates["ratio"]))
    headings = [*HEADINGS, *(f"x {other.replace('_', ' ')}" for other in others)]
    lines = [
        f"{machine['cores']} cores of {machine['processor']} {units[machine['avx512']]} AVX-512 and",
        f"{units[machine['avx512_bf16']]} bfloat16 units, {engine['dtype'].removeprefix('torch.')}, bundled model,",
        f"questions of {engine['source']}. Columns with an x: queries per second against that.",
        "",
        f"| {' | '.join(headings)} |",
        "|---" * len(headings) + "|",
    ]
    for name, rates in workloads.items():
        row = rates["engine"]
        cells = [
            name,
            f"{row['queries_per_second']:.1f}",
            f"{row['computed_tokens_per_second']:,.0f}",
            f"{row['logical_tokens_per_second']:,.0f}",
            f"{row['duplicates_avoided']:.1%}",
            f"{row['peak_memory_mib']:.0f}",
            f"{row['gemm_share']:.0%}",
            f"{row['gemm_share_of_fastest_product']:.0%}",
            *(f"{rates['ratio'][other]:.1f}" if other in rates["ratio"] else "" for other in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", EXPLAINED]


def growth(linear: dict[str, Any]) -> list[str]:
    """Says how cost and memory grow.

    Args:
        linear: Of linear.json.

    Returns:
        Lines of Markdown.
    """
    first, last = linear["rows"][0], linear["rows"][-1]
    ratio = (last["seconds"] / last["tokens_computed"]) / (first["seconds"] / first["tokens_computed"])
    return [
        f"At {last['factor']} times the work a unique token costs {ratio:.2f} times as much; peak memory is",
        f"{last['peak_memory_mib']:.0f} MiB of a budget of {linear['memory_budget_mib']} MiB.",
        "",
        "![seconds and memory over unique tokens](../benchmarks/results/linear.svg)",
        "",
    ]


def restarts(killed: dict[str, Any]) -> list[str]:
    """Says what kills did to the score store.

    Args:
        killed: Of killed.json.

    Returns:
        Lines of Markdown.
    """
    return [
        f"Killed {killed['kills']} times at random moments, scoring went on each time where it stood: of the",
        f"{killed['requests']:,} requests {killed['stored_before_last_run']:,} were stored before the last run, and",
        f"{killed['answered_from_the_store_in_last_run']:,} came from the store in it. The largest difference of a",
        f"stored score and a fresh one is {killed['largest_difference_nats']:.1e} nats.",
        "",
    ]


def page() -> str:
    """Puts the figures into the page.

    Returns:
        The whole page with a new section between the two marks.
    """
    parts = {"engine": engine_table, "linear": growth, "killed": restarts}
    lines: list[str] = []
    for name, lay_out in parts.items():
        result = json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))
        lines += lay_out(result)
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return head + BEGIN + "\n".join(lines) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
