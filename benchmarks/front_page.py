"""Draws README's picture and lays out its table from the study of retrievers, and that of the demo for docs/results.md.

`python -m benchmarks.tables` puts them into the pages; this module knows the result files of the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.outcomes import Study, correctness, queries_of, shown
from selector.evaluation.charts import accuracy_chart
from selector.evaluation.compare import Summary
from selector.evaluation.statistics import Interval, PairedDifference, paired_bootstrap

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
DEMO = HERE.parent / "docs" / "results" / "demo" / "results.json"
PICTURE = HERE.parent / "docs" / "results" / "retriever.svg"
BASELINE: Final = "nearest"
ASKING: Final = ("random", "bm25", "nearest", "epr")
LM_FREE: Final = ("majority", "label-vote", "logreg", "epr: label vote")
STYLE: Final = """<style>
svg { font: 13px system-ui, sans-serif; background: #fff; } text { fill: #1c2024; }
.tick { fill: #667079; font-size: 12px; }
.grid { stroke: #dfe3e6; } .baseline { stroke: #667079; stroke-dasharray: 3 4; }
.interval { stroke-width: 3; stroke-linecap: round; opacity: .55; }
.lm circle { fill: #2563c9; } .lm .interval { stroke: #2563c9; }
.free circle { fill: #8a6a1f; } .free .interval { stroke: #8a6a1f; }
</style>"""


def method_summaries(found: Mapping[str, Sequence[Study]]) -> list[Summary]:
    """Sums each method up over the queries of all tasks and seeds.

    Args:
        found: Labelled tasks to their studies.

    Returns:
        The methods, best first; tokens are those asked of the language model for one query, and in training.
    """
    studies = [study for own in found.values() for study in own]
    asked = queries_of(studies)
    rows = {name: correctness(studies, name) for name in (*ASKING, *LM_FREE)}
    entries = []
    for name, right in rows.items():
        spread = paired_bootstrap(right, np.zeros_like(right), clusters=asked)
        trained = [study["cost"]["mining"]["tokens"] for study in studies] if name.startswith("epr") else [0]
        answering = [study["cost"][f"answering {name}"]["tokens"] / len(study["answers"][name]) for study in studies]
        entries.append(
            Summary(
                method=name,
                uses_lm=name in ASKING,
                accuracy=Interval(spread.delta, spread.low, spread.high),
                versus=None if name == BASELINE else paired_bootstrap(right, rows[BASELINE], clusters=asked),
                tokens=float(np.mean(answering)),
                seconds=0.0,
                training=float(np.mean(trained)),
            )
        )
    return sorted(entries, key=lambda entry: -entry.accuracy.estimate)


def picture(summaries: Sequence[Summary]) -> str:
    """Draws the methods.

    Args:
        summaries: The methods.

    Returns:
        An SVG file.
    """
    chart = accuracy_chart(summaries, recommended="epr")
    drawn = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return drawn.replace("</title>", "</title>" + STYLE, 1) + "\n"


def front_lines(found: Mapping[str, Sequence[Study]], summaries: Sequence[Summary]) -> list[str]:
    """Lays out what README shows.

    Args:
        found: Labelled tasks to their studies.
        summaries: The methods.

    Returns:
        Lines of Markdown.
    """
    studies = [study for own in found.values() for study in own]
    queries, shots = sum(len(study["gold"]) for study in studies), studies[0]["shots"]
    lines = [
        f"![accuracy of each method with 95 % intervals]({PICTURE.relative_to(README.parent).as_posix()})",
        "",
        f"{len(found)} real tasks ({', '.join(found)}), {len(studies)} runs, {queries:,} test queries, {shots} shots,",
        "SmolLM2-135M-Instruct and all-MiniLM-L6-v2; `python -m benchmarks.epr_study`. Blue asks the language model,",
        "yellow does not: *epr: label vote* lets the labels of the demonstrations vote that the trained retriever",
        "finds, *label-vote* those that the untrained encoder finds. [docs/results.md](docs/results.md) has each task,",
        "and what reinforcement learning and orders add.",
        "",
        f"| method | accuracy | 95 % interval | vs {BASELINE} | LM tokens in training | LM tokens a query |",
        "|---|---|---|---|---|---|",
    ]
    for entry in summaries:
        own = entry.accuracy
        cells = [
            entry.method,
            f"{100 * own.estimate:.1f}",
            f"{100 * own.low:.1f} to {100 * own.high:.1f}",
            "baseline" if entry.versus is None else shown(entry.versus),
            f"{entry.training:,.0f}",
            f"{entry.tokens:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def demo_lines(results: Mapping[str, Any]) -> list[str]:
    """Lays out what the demo found.

    Args:
        results: Of its results.json.

    Returns:
        Lines of Markdown.
    """
    baseline = results["baseline"]
    lines = [
        f"{results['shots']} shots, {results['rows'][0]['n']} held-out queries, {results['lm']}:",
        "",
        f"| method | accuracy | 95 % interval | vs {baseline} | LM tokens |",
        "|---|---|---|---|---|",
    ]
    for entry in results["summary"]:
        (low, high), versus = entry["ci95"], entry["vs_baseline"]
        cells = [
            entry["method"],
            f"{100 * entry['mean']:.1f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
            shown(PairedDifference(versus["delta"], *versus["ci95"], versus["p"])) if versus else "baseline",
            f"{entry['lm_tokens']:,.0f}" if entry["uses_lm"] else "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def read_demo() -> dict[str, Any]:
    """Reads what the demo found.

    Returns:
        Its results.json.
    """
    found: dict[str, Any] = json.loads(DEMO.read_text(encoding="utf-8"))
    return found
