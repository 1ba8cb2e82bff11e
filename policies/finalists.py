"""The prompt that a training of the per-corpus problem keeps: the best of all that it has seen valued.

Every stored episode is a prompt that was valued by the reward queries. The best of them, and what the policy chooses,
are valued by the dev queries too, and the best over both is kept: the first round is cheap and broad, the second dear
and narrow (successive halving; Jamieson & Talwalkar, 2016). The policy chooses freely, and once more among
demonstrations of the labels that the best prompts have, in their order. The network is still needed wherever the
pool, or the number of demonstrations, is another. This module knows stored episodes and potentials, no language models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from envs.corpus import CorpusProblem
from envs.dynamics import Episode
from policies.episodes import StoredEpisode
from selector.data.paths import write_whole
from selector.errors import ArtifactError
from selector.progress import SILENT, Progress
from selector.types import Selection

PROMPT_FILE: Final = "prompt.json"
POLICY: Final = "policy"
MOST_PATTERNS: Final = 6  # distinct label patterns of the best prompts, in each of which the policy chooses
ChoosesWithin = Callable[[Sequence[str]], Selection]  # from the labels of a prompt in its order, or none


@dataclass(frozen=True)
class KeptPrompt:
    """The best prompt of a training.

    Attributes:
        indices: Pool positions in prompt order.
        reward_value: Its potential for the reward queries.
        dev_value: Its potential for the dev queries.
        found: Where it comes from: "random", "online" or "policy".
        labels: Of its demonstrations, in prompt order; none where the policy does not know labels by name.
    """

    indices: tuple[int, ...]
    reward_value: float
    dev_value: float
    found: str
    labels: tuple[str, ...] = ()


def choose_prompt(
    problem: CorpusProblem,
    dev: CorpusProblem,
    *,
    random: Sequence[StoredEpisode],
    online: Sequence[StoredEpisode],
    policy: ChoosesWithin,
    finalists: int,
    queries: tuple[int, int] = (1, 1),
    progress: Progress = SILENT,
) -> KeptPrompt:
    """Finds the best prompt of a training.

    Args:
        problem: The task as it was rewarded.
        dev: The same candidates, valued by the dev queries.
        random: Episodes that were played at random.
        online: Episodes that the policy has played.
        policy: Gives what the policy chooses, freely or of given labels; always judged.
        finalists: How many stored prompts are valued by the dev queries.
        queries: How many queries reward and how many judge: each counts alike.
        progress: Shows finalists.

    Returns:
        The prompt; of equal ones the policy's own, then the one that was rewarded more.
    """
    gains = {
        _prompt(problem, episode): (round(sum(episode.rewards), 9), found)
        for found, episodes in (("online", online), ("random", random))
        for episode in episodes
    }
    ranked = sorted(gains, key=lambda indices: -gains[indices][0])
    patterns = dict.fromkeys(problem.candidates.label_pattern(indices) for indices in ranked[:finalists])
    asked = dict.fromkeys([(), *[pattern for pattern in patterns if pattern][:MOST_PATTERNS]])
    own = dict.fromkeys(policy(pattern).indices for pattern in asked)
    others = [indices for indices in ranked if indices not in own][:finalists]
    (start,) = problem.start([0])
    judged: list[KeptPrompt] = []
    with progress.track("judge the best prompts", len(own) + len(others)) as advance:
        for indices in (*own, *others):
            # Rounded, for a potential and the gain up to it differ in the last bits.
            rewarded = _value(problem, indices) if indices in own else round(start.potential + gains[indices][0], 9)
            found = POLICY if indices in own else gains[indices][1]
            labels = problem.candidates.label_pattern(indices)
            judged.append(KeptPrompt(indices, rewarded, _value(dev, indices), found, labels))
            advance(1)
    return max(judged, key=lambda one: queries[0] * one.reward_value + queries[1] * one.dev_value)


def _value(problem: CorpusProblem, indices: tuple[int, ...]) -> float:
    return round(float(problem.scorer.potentials([0], [Selection.of(*indices)])[0]), 9)


def write_prompt(run: Path, prompt: KeptPrompt) -> None:
    """Writes the prompt into a run folder, whole or not at all.

    Args:
        run: The run folder.
        prompt: The prompt.

    Raises:
        DiskFullError: When there is no room.
    """
    write_whole(run / PROMPT_FILE, json.dumps(asdict(prompt), indent=2) + "\n")


def read_prompt(run: Path, *, candidates: Collection[int], label_names: Collection[str] = ()) -> KeptPrompt | None:
    """Reads the prompt of a run folder.

    Args:
        run: The run folder.
        candidates: Pool positions among which the run chooses.
        label_names: The labels that it knows by name.

    Returns:
        The prompt; None where the training has kept none.

    Raises:
        ArtifactError: When the file is damaged.
    """
    path = run / PROMPT_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        indices = tuple(content["indices"])
        values = (float(content["reward_value"]), float(content["dev_value"]))
        labels = list(content.get("labels", []))  # older runs do not say
        prompt = KeptPrompt(indices, *values, str(content["found"]), tuple(labels))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise _damaged(path, type(error).__name__) from error
    if not all(type(index) is int for index in indices) or len({*indices} & {*candidates}) != len(indices):
        raise _damaged(path, "no distinct candidates of the run")
    if not all(label in label_names for label in labels) or len(labels) not in (0, len(indices)):
        raise _damaged(path, "no known label for each demonstration")
    return prompt


def _damaged(path: Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged ({how})",
        expected="what train-policy has written",
        remedy="Delete it and give the same train-policy command again: the best prompts are judged again.",
    )


def _prompt(problem: CorpusProblem, episode: StoredEpisode) -> tuple[int, ...]:
    chosen = tuple(action for action in episode.actions if action < problem.config.size)
    return problem.selection(Episode(0, chosen)).indices
