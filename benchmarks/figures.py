"""Writes the measured figures into docs/engine.md.

python -m benchmarks.figures
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "engine.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->"


def section() -> str:
    """Lays the result files out as Markdown.

    Returns:
        The section between the two marks.
    """
    engine, linear, killed = (
        json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("engine", "linear", "killed")
    )
    machine = engine["machine"]
    others = list(dict.fromkeys(other for rates in engine["workloads"].values() for other in rates["ratio"]))
    lines = [
        f"{machine['cores']} cores of {machine['processor']}, AVX-512 {'yes' if machine['avx512'] else 'no'}, bfloat16 units "
        f"{'yes' if machine['avx512_bf16'] else 'no'}, {engine['dtype'].removeprefix('torch.')}, bundled model, questions "
        f"of {engine['source']}. Columns with a multiplication sign: queries per second against that.",
        "",
        "| workload | queries/s | computed tokens/s | logical tokens/s | duplicates avoided | peak MiB | of GEMM peak | "
        + " | ".join(f"× {other.replace('_', ' ')}" for other in others)
        + " |",
        "|---" * (7 + len(others)) + "|",
    ]
    for name, rates in engine["workloads"].items():
        row = rates["engine"]
        ratios = [f"{rates['ratio'][other]:.1f}" if other in rates["ratio"] else "" for other in others]
        lines.append(
            f"| {name} | {row['queries_per_second']:.1f} | {row['computed_tokens_per_second']:,.0f} | "
            f"{row['logical_tokens_per_second']:,.0f} | {row['duplicates_avoided']:.1%} | {row['peak_memory_mib']:.0f} | "
            f"{row['gemm_share']:.0%} | " + " | ".join(ratios) + " |"
        )
    first, last = linear["rows"][0], linear["rows"][-1]
    growth = (last["seconds"] / last["tokens_computed"]) / (first["seconds"] / first["tokens_computed"])
    lines += [
        "",
        "*Plain first token* is one padded pass per prompt with last-position logits, which reads only the first token of "
        "each label; *plain every label* scores every token of every label, as the engine does. *Duplicates avoided* above "
        "100 % means that prefixes kept from earlier calls were used too. *Of GEMM peak* counts the arithmetic of computed "
        "tokens without attention and vocabulary, over the fastest single matrix product of the same run.",
        "",
        f"Eight times the work costs {growth:.2f} times as much per unique token; its peak memory is "
        f"{last['peak_memory_mib']:.0f} MiB of a budget of {linear['memory_budget_mib']} MiB.",
        "",
        "![seconds and memory over unique tokens](../benchmarks/results/linear.svg)",
        "",
        f"Killed {killed['kills']} times at random moments, scoring went on each time where it stood: of "
        f"{killed['requests']:,} requests {killed['stored_before_last_run']:,} were stored before the last run and exactly "
        f"{killed['answered_from_the_store_in_last_run']:,} came from the store in it; the largest difference between a stored "
        f"score and a fresh one is {killed['largest_difference_nats']:.1e} nats.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Replaces the section."""
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + section() + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
