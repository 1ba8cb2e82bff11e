"""What was asked of the engine, what was reached, and why a bar was missed; all from the result files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.workloads import LABELS

Results = dict[str, Any]

LM_EVAL, LM_EVAL_FP32, OPENICL, PLAIN = "lm-eval bf16", "lm-eval fp32", "openicl fp32", "plain_first_token"
PEERS = ((LM_EVAL, "a", 20.0), (OPENICL, "a", 120.0), (LM_EVAL, "b", 3.5), (PLAIN, "c", 3.0))
GEMM = (("a", 0.55), ("b", 0.65))
WITHOUT_DUPLICATES = ("a", "c", "d")


@dataclass(frozen=True)
class Bar:
    """One figure that was asked for.

    Attributes:
        name: What is measured, on which workload.
        asked: The bar, as it is shown.
        reached: What was measured, as it is shown; empty when it was not.
        met: Whether it was reached; None when it was not measured.
    """

    name: str
    asked: str
    reached: str
    met: bool | None


def bars(engine: Results, linear: Results) -> Iterator[Bar]:
    """Compares the result files with what was asked.

    Args:
        engine: Of engine.json.
        linear: Of linear.json.

    Yields:
        The bars, in the order in which they were asked for.
    """
    workloads = {name[0]: rates for name, rates in engine["workloads"].items()}
    for peer, letter, asked in PEERS:
        ratio = workloads[letter]["ratio"].get(peer)
        yield Bar(
            f"({letter}) queries/s against {peer.replace('_', ' ')}",
            f"{asked:g} x",
            "" if ratio is None else f"{ratio:.1f} x",
            None if ratio is None else ratio >= asked,
        )
    for letter, asked in GEMM:
        row = workloads[letter]["engine"]
        for key, of in (("gemm_share", "kept up"), ("gemm_share_of_fastest_product", "of the fastest product")):
            yield Bar(f"({letter}) share of the GEMM peak, {of}", f"{asked:.0%}", f"{row[key]:.0%}", row[key] >= asked)
    for letter in WITHOUT_DUPLICATES:
        share = workloads[letter]["engine"]["duplicates_avoided"]
        yield Bar(f"({letter}) duplicate prefix tokens avoided", "100%", f"{share:.1%}", share >= 1)
    most = linear["rows"][-1]
    yield Bar(
        f"(b) peak memory at {most['factor']} x the work",
        f"below {most['memory_budget_mib']:.0f} MiB",
        f"{most['peak_memory_mib']:.0f} MiB",
        bool(most["peak_below_budget"]),
    )


def bars_table(engine: Results, linear: Results) -> list[str]:
    """Lays the bars out.

    Args:
        engine: Of engine.json.
        linear: Of linear.json.

    Returns:
        Lines of Markdown.
    """
    words = {True: "yes", False: "**no**", None: "not measured"}
    return [
        "| bar | asked | reached | met |",
        "|---|---|---|---|",
        *(f"| {bar.name} | {bar.asked} | {bar.reached} | {words[bar.met]} |" for bar in bars(engine, linear)),
        "",
    ]


def misses(engine: Results, breakdown: Results) -> list[str]:
    """Says why bars were missed, and which of those that were met say little.

    Args:
        engine: Of engine.json.
        breakdown: Of breakdown.json.

    Returns:
        Lines of Markdown, a paragraph for each reason.
    """
    workloads = {name[0]: rates for name, rates in engine["workloads"].items()}
    lines: list[str] = []
    if not engine["machine"]["avx512_bf16"] and LM_EVAL in workloads["a"]["ratio"]:
        lines += _without_bfloat16(workloads)
    if workloads["a"]["ratio"].get(OPENICL, 120.0) < 120:
        lines += _against_openicl(workloads["a"])
    if workloads["c"]["ratio"][PLAIN] < 3:
        lines += _against_plain(workloads["c"])
    if any(workloads[letter]["engine"]["gemm_share_of_fastest_product"] < asked for letter, asked in GEMM):
        lines += _below_the_peak(engine, breakdown)
    return lines


def _without_bfloat16(workloads: dict[str, Results]) -> list[str]:
    ratios = [f"{workloads[letter]['ratio'][LM_EVAL_FP32]:.1f} x on ({letter})" for letter in "ab"]
    return paragraph(
        "*bfloat16.* This machine has no bfloat16 units, so a bfloat16 peer is emulated and slow, and the bars against",
        "it are easily met. Against lm-evaluation-harness in float32 the engine, in float32 too, reaches",
        f"{' and '.join(ratios)}.",
    )


def _against_openicl(rates: Results) -> list[str]:
    row = rates["engine"]
    return paragraph(
        f"*OpenICL.* Of {row['tokens_logical']:,} tokens the engine computes {row['tokens_computed']:,},",
        f"{row['tokens_logical'] / row['tokens_computed']:.0f} times fewer, and none of them twice: there is",
        f"nothing left to share. The ratio of {rates['ratio'][OPENICL]:.0f} is reached in float32 on both sides.",
        "The bar counts on bfloat16, which OpenICL cannot use and this machine does not have.",
    )


def _against_plain(rates: Results) -> list[str]:
    row = rates["engine"]
    computed = row["tokens_computed"] / row["queries"]
    # A request's tokens but its last: at least the prompt, whatever the label's length.
    plain = row["tokens_logical"] / row["queries"] / len(LABELS)
    return paragraph(
        f"*Plain batching on (c).* A query costs the engine {computed:.1f} computed tokens, and a plain prompt, read",
        f"for the first token of each label, {plain:.1f} at most. At equal speed a token that bounds the gain at about",
        f"{plain / computed:.1f} x, beside what padding costs the plain batches. These do about",
        f"{rates['others'][PLAIN] * plain:.0f} tokens a second, padding not counted, the engine",
        f"{row['computed_tokens_per_second']:.0f}; the bar would need {3 * rates['others'][PLAIN] * computed:.0f}.",
        "Where plain batches score every token of every label, as the engine does, the ratio is",
        f"{rates['ratio']['plain_every_label']:.1f}.",
    )


def _below_the_peak(engine: Results, breakdown: Results) -> list[str]:
    parts = []
    for name, row in breakdown["workloads"].items():
        inside, speed = row["shares"]["linear layers"], row["linear_layers_of_gemm_peak"]
        parts.append(f"({name[0]}) {inside:.0%} of the seconds at {speed:.0%} of the peak: {inside * speed:.0%}")
    threads, others = threads_of(breakdown), threads_of(engine)
    apart = f"The run above had {others}; what one waits for another is not seen here."
    return paragraph(
        "*GEMM peak.* The share of the peak is the share of seconds spent in linear layers times how near these come",
        f"to the peak. In a profile of small samples, measured apart with {threads}, linear layers take",
        f"{'; '.join(parts)}. The rest of the seconds goes where the next table says.",
        *([apart] if threads != others else []),
    )


def threads_of(result: Results) -> str:
    """Says with how many threads something was measured.

    Args:
        result: Of a result file.

    Returns:
        As "2 threads".
    """
    threads = result["machine"]["threads"]
    return f"{threads} thread{'' if threads == 1 else 's'}"


def paragraph(*parts: str) -> list[str]:
    """Breaks a text into lines.

    Args:
        *parts: What stands one after the other.

    Returns:
        Lines, and an empty one.
    """
    return [*textwrap.wrap(" ".join(parts), 120, break_long_words=False, break_on_hyphens=False), ""]


def breakdown_table(breakdown: Results) -> list[str]:
    """Lays out where the seconds go.

    Args:
        breakdown: Of breakdown.json.

    Returns:
        Lines of Markdown.
    """
    rows = breakdown["workloads"]
    names = list(next(iter(rows.values()))["shares"])
    lines = [
        f"Where the seconds go, measured apart on small samples with {threads_of(breakdown)}:",
        "",
        f"| workload | tokens | {' | '.join(names)} | linear layers of GEMM peak |",
        "|---" * (len(names) + 3) + "|",
    ]
    for name, row in rows.items():
        cells = [name, f"{row['tokens_computed']:,}", *(f"{row['shares'][part]:.1%}" for part in names)]
        lines.append(f"| {' | '.join(cells)} | {row['linear_layers_of_gemm_peak']:.0%} |")
    return [
        *lines,
        "",
        *paragraph(
            "*Vocabulary layer* includes the normaliser; *other layers* are norms, rotary angles, activations and",
            "embeddings; *planning* makes trees, chunks and blocks; *everything else* is making prompts, tokenising,",
            "and Python between passes.",
        ),
    ]
