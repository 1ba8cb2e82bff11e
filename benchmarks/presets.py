"""Does every preset work? Zero, one and four random demonstrations on a few queries of its real data.

    python -m benchmarks.presets --limit 20             every preset; goes on where it was stopped
    python -m benchmarks.presets --only copa,gsm8k --limit 3 --out FILE
    python -m benchmarks.tables                         the table of docs/results.md

A smoke test with numbers, not a study: a few queries say whether prompts, scores and answers fit each other, no more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks import SHARED_DATA
from selector.data.paths import score_store_path
from selector.data.presets import Preset, preset_named, presets
from selector.data.task import Task
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.pipeline import Pipeline
from selector.progress import SILENT, Progress, RichProgress
from selector.strategies.random import RandomSelector
from selector.types import Example

RESULT: Final = Path(__file__).parent / "results" / "presets.json"
SHOTS: Final = (0, 1, 4)


def measure(
    preset: Preset,
    task: Task,
    lm: LanguageModel,
    *,
    limit: int,
    shots: Sequence[int] = SHOTS,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Lets the language model answer the first test queries of a preset.

    Args:
        preset: The preset.
        task: The same, loaded.
        lm: The language model.
        limit: How many queries at most.
        shots: Numbers of demonstrations.
        progress: Shows queries.

    Returns:
        What stands in the result file for it.
    """
    engine = InferenceEngine(lm, task.template, task.pool, scoring=task.lm.scoring, calibration=task.lm.calibration)
    queries = task.test[:limit]
    start = time.monotonic()
    with progress.track(f"presets: {preset.name}", len(queries) * len(shots)) as advance:
        cells = {str(number): _answered(engine, queries, number, advance) for number in shots}
    return {
        "kind": preset.kind,
        "answers": preset.answers,
        "metric": preset.metric,
        "scoring": preset.scoring,
        "queries": len(queries),
        "limit": limit,
        "chance": _chance(task, queries),
        "shots": cells,
        "seconds": round(time.monotonic() - start, 1),
        "fingerprints": {"task": task.fingerprint, "language model": lm.fingerprint},
    }


def _answered(engine: InferenceEngine, queries: Sequence[Example], shots: int, advance: Any) -> dict[str, Any]:
    pipeline = Pipeline(RandomSelector(engine.pool, seed=0), engine)
    predictions = pipeline.predict(queries, shots, advance=advance)
    pairs = list(zip(predictions, queries, strict=True))
    right = [engine.is_right(own.label, str(query.label), query.aliases) for own, query in pairs]
    logprobs = engine.gold_logprobs(queries, [own.selection for own in predictions])
    return {
        "right": float(np.mean(right)),
        "gold_logprob": float(logprobs.mean()),
        "unread": sum(not own.label for own in predictions),
        "demonstrations": float(np.mean([len(own.selection.indices) for own in predictions])),
    }


def _chance(task: Task, queries: Sequence[Example]) -> float | None:
    """The share of right answers by chance; None where answers are written."""
    if task.template.free_text:
        return None
    return float(np.mean([1 / len(task.template.answers_of(query)) for query in queries]))


def preset_table(result: Mapping[str, Any]) -> list[str]:
    """Lays the result out.

    Args:
        result: Of presets.json.

    Returns:
        Lines of Markdown.
    """
    shots = [f"{number} shots: right, % | log P" for number in result["shots"]]
    lines = [
        f"| task | kind | metric | scoring | queries | chance, % | {' | '.join(shots)} | no answer read | seconds |",
        "|---" * (8 + 2 * len(shots)) + "|",
    ]
    for name, own in result["presets"].items():
        cells = [own["shots"][str(number)] for number in result["shots"]]
        chance = "-" if own["chance"] is None else f"{100 * own['chance']:.0f}"
        values = " | ".join(f"{100 * cell['right']:.0f} | {cell['gold_logprob']:.2f}" for cell in cells)
        unread = sum(cell["unread"] for cell in cells)
        head = f"| {name} | {own['kind']} | {own['metric']} | {own['scoring']} | {own['queries']} | {chance}"
        lines.append(f"{head} | {values} | {unread} | {own['seconds']:.0f} |")
    return [*lines, "", *(f"{name}: {reason}." for name, reason in result["left_out"].items())]


def run(
    chosen: Sequence[Preset], lm: LanguageModel, *, limit: int, out: Path, data_dir: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Measures the presets that are not measured yet; the file is written after each one.

    Args:
        chosen: The presets.
        lm: The language model.
        limit: How many queries at most.
        out: Where the result goes.
        data_dir: The folder of data sets.
        progress: Shows queries.

    Returns:
        The result.
    """
    result: dict[str, Any] = {"shots": list(SHOTS), "presets": {}, "left_out": {}}
    if out.is_file():
        result |= json.loads(out.read_text(encoding="utf-8"))
    for preset in chosen:
        result["left_out"].pop(preset.name, None)
        if not preset.found:
            result["left_out"][preset.name] = "its data is not found"
            continue
        task = Task.load(preset.name, data_dir=data_dir)
        known = result["presets"].get(preset.name, {})
        fingerprints = {"task": task.fingerprint, "language model": lm.fingerprint}
        if known.get("fingerprints") == fingerprints and known["limit"] == limit:
            continue
        result["presets"][preset.name] = measure(preset, task, lm, limit=limit, progress=progress)
        cells = result["presets"][preset.name]["shots"].values()
        print(preset.name, *(f"{cell['right']:.2f}" for cell in cells), flush=True)
        _write(result, out)
    _write(result, out)
    return result


def _write(result: Mapping[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")  # a kill while writing must not cost the presets that are done
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part.replace(out)


def main(
    *,
    limit: Annotated[int, typer.Option(min=1, help="Test queries of each preset.")] = 20,
    only: Annotated[str, typer.Option(help="Names of presets, parted by commas; else all.")] = "",
    data_dir: Annotated[Path, typer.Option(help="The folder of data sets.")] = SHARED_DATA,
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = RESULT,
) -> None:
    """Measures the presets."""
    names = [name for name in only.split(",") if name]
    chosen = [preset_named(name, data_dir=data_dir) for name in names] or presets(data_dir=data_dir)
    lm = load_language_model(LanguageModelConfig(), store=score_store_path())
    run(chosen, lm, limit=limit, out=out, data_dir=data_dir, progress=RichProgress())


if __name__ == "__main__":
    typer.run(main)
