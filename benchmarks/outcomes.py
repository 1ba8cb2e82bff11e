"""What the result files of a study say of each query: right or wrong, and which query it was.

Tables are made elsewhere; this module knows files and arithmetic.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selector.evaluation.statistics import PairedDifference, Values
from selector.inference.free_text import exact_match

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "epr"
Study = dict[str, Any]


def read_studies(folder: Path = RESULTS) -> dict[str, list[Study]]:
    """Reads the finished studies.

    Args:
        folder: Where `benchmarks.epr_study` has written them.

    Returns:
        Task to its studies, by seed, cut to the queries that every method has answered; those whose retriever is not
        trained, or whose last method has not answered yet, are left out.
    """
    found: defaultdict[str, list[Study]] = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        study = json.loads(file.read_text(encoding="utf-8"))
        answered = min(map(len, study["answers"].values()), default=0)
        trained = "training epr" in study["config"] and "epr" in study["answers"]
        if trained and "random" in study["answers"] and answered:
            study["answers"] = {name: given[:answered] for name, given in study["answers"].items()}
            found[study["task"]].append(study | {name: study[name][:answered] for name in ("gold", "uids")})
    return dict(found)


def correctness(studies: Sequence[Study], method: str) -> Values:
    """Puts the outcomes of all seeds into one row.

    Args:
        studies: Of one task.
        method: As it stands in the studies.

    Returns:
        (N,) of 0 and 1.
    """
    return np.array(
        [
            float(exact_match(answer, gold) if study["free_text"] else answer == gold)
            for study in studies
            for answer, gold in zip(study["answers"][method], study["gold"], strict=True)
        ]
    )


def queries_of(studies: Sequence[Study]) -> list[str]:
    """Names the query of every outcome: seeds draw their test queries from one file and share some.

    Args:
        studies: In the order of `correctness`.

    Returns:
        N names.
    """
    return [f"{study['task']} {uid}" for study in studies for uid in study["uids"]]


def shown(difference: PairedDifference) -> str:
    """Writes a difference in points.

    Args:
        difference: Of shares.

    Returns:
        Estimate and interval.
    """
    return f"{100 * difference.delta:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
