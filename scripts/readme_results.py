"""Writes README's picture and table from a results.json: `python scripts/readme_results.py docs/results/demo`."""

import json
from pathlib import Path

import typer

from selector.evaluation.charts import accuracy_chart
from selector.evaluation.compare import Summary
from selector.evaluation.statistics import Interval, PairedDifference

START, END = "<!-- results: begin -->", "<!-- results: end -->"
STYLE = """<style>
svg { font: 13px system-ui, sans-serif; background: #fff; } text { fill: #1c2024; }
.tick { fill: #667079; font-size: 12px; }
.grid { stroke: #dfe3e6; } .baseline { stroke: #667079; stroke-dasharray: 3 4; }
.interval { stroke-width: 3; stroke-linecap: round; opacity: .55; }
.lm circle { fill: #2563c9; } .lm .interval { stroke: #2563c9; }
.free circle { fill: #8a6a1f; } .free .interval { stroke: #8a6a1f; }
</style>"""


def summary_of(entry: dict) -> Summary:
    """One method of results.json as the charts take it."""
    versus = entry["vs_baseline"]
    return Summary(
        method=entry["method"],
        uses_lm=entry["uses_lm"],
        accuracy=Interval(entry["mean"], *entry["ci95"]),
        versus=versus and PairedDifference(versus["delta"], *versus["ci95"], versus["p"]),
        tokens=entry["lm_tokens"],
        seconds=entry["seconds"],
    )


def main(folder: Path, readme: Path = Path("README.md")) -> None:
    """Reads FOLDER/results.json, writes FOLDER/accuracy.svg and replaces the results section of README."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    chart = accuracy_chart([summary_of(entry) for entry in results["summary"]])
    svg = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    (folder / "accuracy.svg").write_text(svg.replace("</title>", "</title>" + STYLE, 1) + "\n", encoding="utf-8")
    count = results["rows"][0]["n"]
    better = [
        entry["method"] for entry in results["summary"] if entry["vs_baseline"] and entry["vs_baseline"]["ci95"][0] > 0
    ]
    lines = [
        f"![accuracy of each method with 95 % intervals]({(folder / 'accuracy.svg').as_posix()})",
        "",
        f"What `{results['command']}` gave ({results['shots']} shots, {count} held-out queries, {results['lm']};",
        f"[results.json]({(folder / 'results.json').as_posix()})). Blue asks the language model, yellow does not.",
        f"So few queries leave wide intervals; better than {results['baseline']} beyond chance:",
        f"{', '.join(better) or 'none'}.",
        "",
        f"| method | accuracy | 95 % interval | vs {results['baseline']} | LM tokens |",
        "|---|---|---|---|---|",
    ]
    for entry in results["summary"]:
        low, high = entry["ci95"]
        versus = entry["vs_baseline"]
        cells = [
            entry["method"],
            f"{100 * entry['mean']:.1f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{100 * versus['delta']:+.1f} [{100 * versus['ci95'][0]:+.1f}, {100 * versus['ci95'][1]:+.1f}]"
            if versus
            else "baseline",
            f"{entry['lm_tokens']:,.0f}" if entry["uses_lm"] else "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    readme.write_text("\n".join([before + START, *lines, END]) + after, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
