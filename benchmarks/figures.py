"""Writes the measured figures into docs/engine.md.

python -m benchmarks.figures
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.bars import bars_table, breakdown_table, misses, paragraph, threads_of

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "engine.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->"
HEADINGS = (
    *("workload", "queries/s", "computed tokens/s", "logical tokens/s", "duplicates avoided", "of GEMM peak"),
    "of the fastest GEMM",
)
EXPLAINED = """*Plain first token* is one padded pass per prompt with last-position logits, which reads only the first
token of each label; *plain every label* scores every token of every label, as the engine does. *Duplicates avoided*
beyond 100 % means that prefixes kept from earlier calls were used too. *Of GEMM peak* counts the arithmetic of computed
tokens without attention and vocabulary, over what the best of three shapes of matrix products keeps up in the same run;
*of the fastest GEMM* is over the fastest single product, which a shared machine does not keep up.
"""
MEMORY = """*Peak MiB* is beside the weights, in a process of its own for each workload, counted from right after the
model was loaded, with the usual budget.
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
    remembered = all("memory" in rates for rates in workloads.values())
    headings = [*HEADINGS, *(["peak MiB"] if remembered else []), *(f"x {other.replace('_', ' ')}" for other in others)]
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
            f"{row['gemm_share']:.0%}",
            f"{row['gemm_share_of_fastest_product']:.0%}",
            *([f"{rates['memory']['peak_memory_mib']:.0f}"] if remembered else []),
            *(f"{rates['ratio'][other]:.1f}" if other in rates["ratio"] else "" for other in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", EXPLAINED, *([MEMORY] if remembered else [])]


def growth(linear: dict[str, Any]) -> list[str]:
    """Says how cost and memory grow.

    Args:
        linear: Of linear.json.

    Returns:
        Lines of Markdown.
    """
    first, last = linear["rows"][0], linear["rows"][-1]
    clock, processor = (
        (last[name] / last["tokens_computed"]) / (first[name] / first["tokens_computed"])
        for name in ("seconds", "processor_seconds")
    )
    peaks = ", ".join(f"{row['peak_memory_mib']:.0f}" for row in linear["rows"])
    factors = ", ".join(str(row["factor"]) for row in linear["rows"])
    stays = "stays below it" if linear["peak_below_budget_at_every_factor"] else "does **not** stay below it"
    return [
        *paragraph(
            f"At {last['factor']} times the work a unique token costs {processor:.2f} times the processor time and",
            f"{clock:.2f} times the time by the clock, which sees other work on the machine too. Peak memory beside",
            f"the weights is {peaks} MiB at {factors} times the work. The budget is {linear['memory_budget_mib']} MiB,",
            "of which kept prefixes may fill half and come to",
            f"{last['kept_prefixes_mib_at_the_end']:.0f} MiB; the peak {stays}. Each size ran in a fresh process, in",
            f"{first['calls']} to {last['calls']} calls, with {threads_of(linear)}; memory is counted from right after",
            "the model was loaded.",
        ),
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
    whole = "whole" if killed["file_was_whole_after_every_kill"] else "**damaged**"
    return paragraph(
        f"A process that scores {killed['requests']:,} requests and stores {killed['requests_a_commit']} at a time was",
        f"killed {killed['kills']} times, each time after a random number of commits and at a random moment before the",
        f"next. {killed['rounds_with_progress']} of these runs stored something, together",
        f"{killed['stored_by_killed_runs']:,} requests; the last run took",
        f"{killed['from_the_store_in_last_run']:,} from the store and computed the other",
        f"{killed['computed_in_last_run']:,}. Of what was stored {killed['stored_and_lost']} requests were lost and",
        f"{killed['stored_and_computed_again']} computed again; the file was {whole} after every kill. The largest",
        f"difference of a stored score and a fresh one is {killed['largest_difference_nats']:.1e} nats.",
    )


def page() -> str:
    """Puts the figures into the page.

    Returns:
        The whole page with a new section between the two marks.
    """
    names = ("engine", "linear", "killed", "breakdown")
    results = {name: json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    lines = [
        *engine_table(results["engine"]),
        *bars_table(results["engine"], results["linear"]),
        *misses(results["engine"], results["breakdown"]),
        *breakdown_table(results["breakdown"]),
        *growth(results["linear"]),
        *restarts(results["killed"]),
    ]
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return head + BEGIN + "\n".join(lines) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
