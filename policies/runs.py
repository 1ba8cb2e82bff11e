"""The run folder of a policy: what it was trained on and with, its metrics, its best weights.

run.json          configuration, provenance and network sizes; written first, compared on resume
metrics.jsonl     one line for each evaluation on dev
checkpoints/      the newest training state
best/             weights of the best evaluation, and observations with their scores for the parity check
warm_starts.json  what the rules were worth among which a warm start chose; the first of the best was imitated
prompt.json       the best prompt that was valued, where one prompt serves a task
tensorboard/      curves
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Generic

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from selector.data.folder_kinds import missing_file, other_kind
from selector.data.paths import write_whole
from selector.errors import ArtifactError, UsageError
from selector.learned.artifact import NetworkT
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import Observation
from selector.learned.tensors import save_tensors

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
WARM_STARTS_FILE = "warm_starts.json"
POLICY_RUN, CORPUS_RUN = "policy-run", "corpus-policy-run"  # a prompt for each query, or one for a task
WARM_UP_RUN = "warm-up"
_SCRATCH: Final = re.compile(r"\.(.+?)(?:\.[0-9]+-[0-9]+)?\.new")  # what a kill leaves of a file that was being written
_PARTS: Final = frozenset(
    [
        *("checkpoints", "best", ".best", "tensorboard"),
        *("lm_usage.json", "prompt.json", WARM_STARTS_FILE, "uncertainty.safetensors"),
        *(f"{name}.{end}" for name in ("metrics", "episodes", "online", "oracle") for end in ("jsonl", "new")),
    ]
)
"""All that stands in a run folder beside run.json."""
_WARM_UP_PARTS: Final = frozenset(("model", ".model", "evaluation.json", "evaluation.part"))
"""What a warm-up adds; elsewhere a folder of that name may be anybody's model."""


@dataclass(frozen=True)
class Provenance:
    """What a policy was trained on.

    Attributes:
        encoder: The encoder's name, or the folder of a trained retriever.
        labelled_demonstrations: Whether demonstrations are embedded with their label.
        fingerprints: Of "pool", "template", "encoder" and "language model", and of what it is paid by: "reward queries"
            and "dev queries", the names of "scoring" and "calibration", and "other tasks" where there are several.
    """

    encoder: str
    labelled_demonstrations: bool
    fingerprints: Mapping[str, str]


def open_run(out: Path, content: dict[str, Any], *, resume: bool) -> bool:
    """Makes a run folder, or finds the one that is there.

    Args:
        out: The folder.
        content: What makes the run what it is; what JSON can write.
        resume: Whether an unfinished run in the folder is continued; else it is deleted.

    Returns:
        Whether a run is continued.

    Raises:
        ArtifactError: When a run is to be continued and what says what it is is damaged.
        UsageError: When the folder holds another run, a run that nothing says what it is, or files that are no run.
    """
    path = out / RUN_FILE
    content = json.loads(json.dumps(content))
    if out.exists() and not (path.is_file() and resume):
        _require_no_other_files(out, resume=resume)
    if path.is_file() and resume:
        there = _read(out)
        if there == content:
            return True
        changed = _changed(there, content)
        raise UsageError(
            f"{out} holds a run with other settings or data ({', '.join(changed)})",
            expected="the same settings and data to go on with it",
            remedy="Choose another --out, or pass --no-resume to start afresh.",
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_whole(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return False


def _require_no_other_files(out: Path, *, resume: bool) -> None:
    """Refuses a folder without run.json, but for what a kill leaves, and whatever --no-resume may not delete."""
    names = [entry.name for entry in out.iterdir()]
    scratch = {name: found[1] for name in names if (found := _SCRATCH.fullmatch(name))}
    there = {scratch.get(name, name) for name in names} - {RUN_FILE}
    if not there <= (_PARTS | _WARM_UP_PARTS if _is_warm_up(out) else _PARTS):
        raise UsageError(f"{out} holds other files", expected="a run folder or nothing", remedy="Choose another --out.")
    if resume and there:
        raise UsageError(
            f"{out} holds parts of a run ({', '.join(sorted(there))}) without {RUN_FILE}",
            expected=f"{RUN_FILE}, which says what the run is, to go on with it",
            remedy="Pass --no-resume to start afresh, or choose another --out.",
        )


def _is_warm_up(out: Path) -> bool:
    try:
        return _read(out).get("kind") == WARM_UP_RUN
    except ArtifactError:
        return False


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The names of what differs, those of nested entries where both have them."""
    changed = []
    for name in sorted(name for name in {*there, *here} if there.get(name) != here.get(name)):
        own, other = there.get(name), here.get(name)
        changed += _changed(own, other) if isinstance(own, dict) and isinstance(other, dict) else [name]
    return changed


def _read(run: Path) -> dict[str, Any]:
    """What says what a run of any learner is."""
    try:
        content = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if other_kind(run)[0] and not (run / RUN_FILE).is_file():
            raise missing_file(run, RUN_FILE, writer="shotsmith train-policy") from error
        raise _no_run(run, type(error).__name__) from error
    if not isinstance(content, dict):
        raise _no_run(run, f"{RUN_FILE} is damaged")
    return content


def read_run(run: Path) -> dict[str, Any]:
    """Reads what a run of `train-policy` is.

    Args:
        run: The run folder.

    Returns:
        The content given to `open_run`.

    Raises:
        ArtifactError: When the folder is no run, or its run.json is damaged.
    """
    content = _read(run)
    try:
        parts = [content[name] for name in ("config", "network", "provenance")]
        parts.append(Provenance(**content["provenance"]).fingerprints)
        lists = [content[name] for name in ("candidates", "features") if content.get("kind") == CORPUS_RUN]
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_run(run, type(error).__name__) from error
    if not all(isinstance(part, dict) for part in parts) or not all(isinstance(part, list) for part in lists):
        raise _no_run(run, f"{RUN_FILE} is damaged")
    return content


def _no_run(run: Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"{run} is no run folder ({how})",
        expected="a folder written by `shotsmith train-policy`",
        remedy="Check the path, or train again with --no-resume.",
    )


def append_metrics(run: Path, line: Mapping[str, float]) -> None:
    """Adds an evaluation to the metrics of a run.

    Args:
        run: The run folder.
        line: "steps" and what was measured.
    """
    with (run / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(line)) + "\n")


def forget_metrics_after(run: Path, steps: int) -> None:
    """Drops evaluations that a continued run will repeat: those behind its checkpoint, and a line torn by a kill.

    Args:
        run: The run folder.
        steps: The environment steps of the checkpoint.
    """
    path = run / METRICS_FILE
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            if json.loads(line)["steps"] <= steps:
                kept.append(line + "\n")
        except ValueError:
            continue
    write_whole(path, "".join(kept))


def save_best(run: Path, network: nn.Module, parity: Observation, metrics: Mapping[str, float]) -> None:
    """Keeps the best weights so far, and what they answer to some observations.

    Args:
        run: The run folder.
        network: The network, in evaluation mode; it gives scores of actions first.
        parity: Observations with a batch axis.
        metrics: What was measured on dev.
    """
    scratch, place = run / ".best", run / "best"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    batch = {name: torch.from_numpy(array) for name, array in parity.items()}
    with torch.inference_mode():
        logits = network(batch)[0]
    save_tensors(scratch / "policy.safetensors", network.state_dict())
    save_tensors(scratch / "parity.safetensors", {**batch, "logits": logits.clone()})
    (scratch / "metrics.json").write_text(json.dumps(dict(metrics)), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    scratch.rename(place)


@dataclass(frozen=True)
class Best(Generic[NetworkT]):
    """The best weights of a run.

    Attributes:
        network: The network, in evaluation mode.
        parity: Observations with a batch axis, and under "logits" what the training process answered.
        metrics: What was measured on dev.
    """

    network: NetworkT
    parity: Mapping[str, torch.Tensor]
    metrics: Mapping[str, float]


def read_best(run: Path) -> Best[PointerNetwork]:
    """Reads the best weights of a run of a per-query policy.

    Args:
        run: The run folder.

    Returns:
        Network, parity observations and metrics.

    Raises:
        ArtifactError: When the run has not been evaluated yet, or is damaged.
    """
    return _read_best(run, lambda sizes: PointerNetwork(PointerNetworkConfig(**sizes)))


def read_corpus_best(run: Path) -> Best[CorpusQNetwork]:
    """Reads the best weights of a run of a policy for one prompt per task.

    Args:
        run: The run folder.

    Returns:
        Network, parity observations and metrics.

    Raises:
        ArtifactError: When the run has not been evaluated yet, or is damaged.
    """
    return _read_best(run, lambda sizes: CorpusQNetwork(CorpusNetworkConfig(**sizes)))


def _read_best(run: Path, build: Callable[[dict[str, Any]], NetworkT]) -> Best[NetworkT]:
    content, place = read_run(run), run / "best"
    if not place.is_dir():
        raise ArtifactError(f"{run} has no best/ folder", expected="an evaluated run", remedy="Let it train longer.")
    try:
        network = build(content["network"])
        network.load_state_dict(load_file(place / "policy.safetensors"))
        parity = load_file(place / "parity.safetensors")
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise _damaged_best(place, str(error).splitlines()[0]) from error
    numbers = isinstance(metrics, dict) and all(isinstance(value, int | float) for value in metrics.values())
    if "logits" not in parity or not numbers:
        raise _damaged_best(place, "its answers or metrics are missing")
    return Best(network.eval(), parity, metrics)


def _damaged_best(place: Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"{place} is damaged ({how})",
        expected="weights, answers and metrics written by `shotsmith train-policy`",
        remedy="Train again with --no-resume, or into another folder.",
    )


def provenance_of(content: Mapping[str, Any]) -> Provenance:
    """Reads the provenance out of a run's content.

    Args:
        content: From `read_run`.

    Returns:
        The provenance.
    """
    return Provenance(**content["provenance"])


def run_content(config: Any, provenance: Provenance, network: Any, data: str) -> dict[str, Any]:
    """Puts together what makes a run what it is.

    Args:
        config: A configuration dataclass.
        provenance: What it is trained on.
        network: The sizes of its network, a dataclass.
        data: A fingerprint of the queries and their shortlists.

    Returns:
        The content for `open_run`.
    """
    return {
        "kind": POLICY_RUN,
        "config": asdict(config),
        "provenance": asdict(provenance),
        "network": asdict(network),
        "data": data,
    }
