"""The exported policy on disk: a folder with manifest.json and policy.safetensors, and the encoder when it was trained.

Nothing in it is pickled. It is checked when it is read: version, checksum, names and shapes. What it was made for is
said by fingerprints; whether they fit is the reader's question. This module knows nothing of learners.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from torch import nn

from selector.errors import ArtifactError
from selector.learned.constraints import Constraints
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.learned.lm_features import PRIOR_AGREEMENT, PROMPT_FEATURES, PROMPT_VIEW, QUERY_VIEW
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES, feature_names
from selector.learned.tensors import save_tensors

MANIFEST_FILE: Final = "manifest.json"
WEIGHTS_FILE: Final = "policy.safetensors"
ENCODER_FOLDER: Final = "encoder"
SCHEMA_VERSION: Final = 1
PER_QUERY, CORPUS = "per-query", "corpus"  # what a policy decides for: a query, or a task as a whole
CORPUS_FEATURES: Final = (*STATE_FEATURES, *CANDIDATE_FEATURES)
KNOWN_FEATURES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        PER_QUERY: (FEATURES, feature_names(True, PROMPT_VIEW), feature_names(True, QUERY_VIEW)),
        CORPUS: (CORPUS_FEATURES, (*CORPUS_FEATURES, *LM_FEATURES)),
    }
)
LATER_KEYS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "kind": PER_QUERY,
        "candidates": (),
        "max_per_label": None,
        "token_budget": None,
        "training_lm_tokens": None,
        "prompt": None,
        "label_names": (),
        "per_label": 0,
    }
)
"""What the first manifests of version 1 do not say."""
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Manifest:
    """What an artifact was made of and for.

    Attributes:
        shots: How many demonstrations the policy was trained to choose.
        shortlist_size: How many candidates it is offered, or was in training where it takes any number.
        may_stop: Whether it may choose fewer.
        labelled_demonstrations: Whether demonstrations are embedded with their label.
        network: The sizes of its network.
        features: The candidate features it sees, in order.
        encoder: The encoder's name, or "encoder" for the folder inside the artifact.
        fingerprints: Of "pool", "template", "encoder" and "language model"; newer ones hold "reward queries" and "dev
            queries", the names of "scoring" and "calibration", and "other tasks" where it was trained on several.
        weights_sha256: Of policy.safetensors.
        metrics: What was measured in training, by name; higher is better.
        shotsmith: The version that wrote it.
        schema_version: Of this manifest.
        kind: "per-query", or "corpus" where one prompt serves the whole task.
        candidates: Pool positions of the candidates that it was trained on, where they were the same all along.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        training_lm_tokens: Tokens that its training asked of the language model, mining for its retriever among them,
            without sharing or cache; None where nobody counted them.
        prompt: Pool positions of the best prompt that its training has seen valued, in prompt order, where one prompt
            serves the whole task; None where the network alone chooses.
        label_names: Labels that the network knows by name, each with a column more in state and features.
        per_label: How many of the candidates are the nearest of each label; 0 where labels do not matter.
    """

    shots: int
    shortlist_size: int
    may_stop: bool
    labelled_demonstrations: bool
    network: Mapping[str, Any]
    encoder: str
    fingerprints: Mapping[str, str]
    weights_sha256: str = ""
    features: tuple[str, ...] = FEATURES
    metrics: Mapping[str, float] = field(default_factory=dict)
    shotsmith: str = ""
    schema_version: int = SCHEMA_VERSION
    kind: str = PER_QUERY
    candidates: tuple[int, ...] = ()
    max_per_label: int | None = None
    token_budget: int | None = None
    training_lm_tokens: int | None = None
    prompt: tuple[int, ...] | None = None
    label_names: tuple[str, ...] = ()
    per_label: int = 0

    @property
    def constraints(self) -> Constraints:
        """What a prompt may hold."""
        return Constraints(self.max_per_label, self.token_budget)


@dataclass(frozen=True)
class Artifact:
    """An artifact of the kind "per-query" that has been read.

    Attributes:
        folder: Where it lies.
        manifest: Its manifest.
        network: Its network, in evaluation mode.
    """

    folder: Path
    manifest: Manifest
    network: PointerNetwork

    @property
    def encoder_source(self) -> str:
        """What `SentenceEncoder.load` takes."""
        return encoder_source(self.folder, self.manifest)

    @property
    def asks_language_model(self) -> bool:
        """Whether choosing needs the language model."""
        return len(self.manifest.features) > len(FEATURES)

    @property
    def view(self) -> str:
        """What the language model is shown where it is asked; see `selector.learned.lm_features`."""
        return QUERY_VIEW if PRIOR_AGREEMENT in self.manifest.features else PROMPT_VIEW


def encoder_source(folder: Path, manifest: Manifest) -> str:
    """Tells where an artifact's encoder is.

    Args:
        folder: The artifact.
        manifest: Its manifest.

    Returns:
        What `SentenceEncoder.load` takes.
    """
    return str(folder / manifest.encoder) if manifest.encoder == ENCODER_FOLDER else manifest.encoder


def write_artifact(
    folder: Path,
    manifest: Manifest,
    network: PointerNetwork,
    *,
    encoder: Path | None = None,
    check: Callable[[Artifact], None] | None = None,
) -> Path:
    """Writes an artifact of the kind "per-query"; see `write_folder`.

    Args:
        folder: Where.
        manifest: The manifest; its checksum is filled in.
        network: The network.
        encoder: A sentence-transformers folder that is copied into the artifact.
        check: Looks at the artifact as it is read back, before anything is replaced; raises to refuse it.

    Returns:
        The folder.

    Raises:
        ArtifactError: When something stands there that is not an artifact.
    """

    def look(made: Path) -> None:
        if check is not None:
            check(read_artifact(made))

    return write_folder(folder, manifest, network, encoder=encoder, check=look)


def write_folder(
    folder: Path, manifest: Manifest, network: nn.Module, *, encoder: Path | None, check: Callable[[Path], None]
) -> Path:
    """Writes an artifact of any kind; what stood in the folder before is replaced only when all is written.

    Args:
        folder: Where.
        manifest: The manifest; its checksum is filled in.
        network: The network.
        encoder: A sentence-transformers folder that is copied into the artifact.
        check: Reads the artifact back, before anything is replaced; raises to refuse it.

    Returns:
        The folder.

    Raises:
        ArtifactError: When something stands there that is not an artifact.
    """
    if folder.exists() and not (folder / MANIFEST_FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise ArtifactError(f"{folder} holds other files", expected="an artifact or nothing", remedy="Choose another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "artifact"
        made.mkdir()
        save_tensors(made / WEIGHTS_FILE, network.state_dict())
        if encoder is not None:
            shutil.copytree(encoder, made / ENCODER_FOLDER, ignore=shutil.ignore_patterns("tensorboard", "checkpoint*"))
        content = asdict(manifest) | {"weights_sha256": _sha256(made / WEIGHTS_FILE)}
        (made / MANIFEST_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        check(made)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return folder


def read_artifact(folder: Path | str) -> Artifact:
    """Reads and checks an artifact of the kind "per-query".

    Args:
        folder: The artifact.

    Returns:
        Its manifest and network.

    Raises:
        ArtifactError: When it is missing, damaged, of another version or of another kind.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, kind=PER_QUERY)
    network = read_weights(folder, lambda: PointerNetwork(PointerNetworkConfig(**manifest.network)))
    require_features(folder, manifest, network.config.features)
    asks, prompt = len(manifest.features) > len(FEATURES), network.config.prompt_features
    if prompt != (len(PROMPT_FEATURES) if asks else 0):
        raise _damaged(folder, f"made for {prompt} features of a prompt, and its manifest for others")
    return Artifact(folder, manifest, network)


def require_features(folder: Path, manifest: Manifest, seen: int) -> None:
    """Makes sure that a network sees the features that its manifest names.

    Args:
        folder: The artifact.
        manifest: Its manifest.
        seen: How many features the network sees.

    Raises:
        ArtifactError: When it sees more or fewer.
    """
    if seen != len(manifest.features):
        raise ArtifactError(
            f"{folder} has a network for {seen} features",
            expected=f"{len(manifest.features)}, as its manifest says",
            remedy="Copy or export it again.",
        )


def read_manifest(folder: Path, *, kind: str | None = None) -> Manifest:
    """Reads and checks the manifest of an artifact, and the checksum of its weights.

    Args:
        folder: The artifact.
        kind: The kind that is wanted; None takes any.

    Returns:
        The manifest.

    Raises:
        ArtifactError: When it is missing, damaged, of another version or of another kind.
    """
    path = folder / MANIFEST_FILE
    try:
        content = {**LATER_KEYS} | json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"missing or not a manifest ({type(error).__name__})") from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version}",
            expected=f"version {SCHEMA_VERSION}",
            remedy="Use the version of shotsmith that wrote it, or export the policy again.",
        )
    try:
        lists = ("features", "candidates", "label_names", *(["prompt"] if content["prompt"] is not None else []))
        tuples = {name: tuple(content[name]) for name in lists}
        manifest = Manifest(**{entry.name: content[entry.name] for entry in fields(Manifest)} | tuples)
    except KeyError as error:
        raise _damaged(path, f"without the key {error}") from error
    except TypeError as error:
        raise _damaged(path, f"not a manifest ({error})") from error
    if wrong := _misfits(manifest):
        raise _damaged(path, f"not a manifest ({wrong[0]} is {getattr(manifest, wrong[0])!r})")
    if manifest.kind not in KNOWN_FEATURES or kind not in (None, manifest.kind):
        raise ArtifactError(
            f"{path} is of the kind {manifest.kind!r}",
            expected=f"the kind {kind or ' or '.join(KNOWN_FEATURES)}",
            remedy="Load it with `selector.strategies.exported.load_policy`, or export the policy again.",
        )
    if tuple(manifest.features) not in KNOWN_FEATURES[manifest.kind]:
        raise _damaged(path, f"made for the features {manifest.features}")
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or _sha256(weights) != manifest.weights_sha256:
        raise _damaged(weights, "missing or changed since it was written")
    return manifest


def _misfits(manifest: Manifest) -> list[str]:
    """The keys whose values are of a wrong kind."""
    fits = {
        "shots": _is_count(manifest.shots),
        "shortlist_size": _is_count(manifest.shortlist_size),
        "per_label": _is_count(manifest.per_label, least=0),
        "may_stop": isinstance(manifest.may_stop, bool),
        "labelled_demonstrations": isinstance(manifest.labelled_demonstrations, bool),
        "network": isinstance(manifest.network, dict),
        "fingerprints": _maps_to(manifest.fingerprints, str),
        "metrics": _maps_to(manifest.metrics, int, float),
        "features": all(isinstance(name, str) for name in manifest.features),
        "label_names": all(isinstance(name, str) for name in manifest.label_names),
        "candidates": all(_is_count(place, least=0) for place in manifest.candidates),
        "prompt": _is_prompt_of(manifest),
        "max_per_label": manifest.max_per_label is None or _is_count(manifest.max_per_label),
        "token_budget": manifest.token_budget is None or _is_count(manifest.token_budget),
        "training_lm_tokens": manifest.training_lm_tokens is None or _is_count(manifest.training_lm_tokens, least=0),
    }
    texts = ("encoder", "weights_sha256", "shotsmith", "kind")
    fits |= {name: isinstance(getattr(manifest, name), str) for name in texts}
    return [name for name, fit in fits.items() if not fit]


def _is_prompt_of(manifest: Manifest) -> bool:
    """Whether the kept prompt, if any, can have been chosen in the training."""
    prompt, candidates = manifest.prompt, manifest.candidates
    if prompt is None:
        return True
    if not all(_is_count(place, least=0) for place in (*prompt, *candidates)) or not _is_count(manifest.shots):
        return False
    limited = manifest.max_per_label is not None or manifest.token_budget is not None
    may_be_short = manifest.may_stop is True or limited or len(candidates) < manifest.shots
    fits = len(prompt) == manifest.shots or (len(prompt) < manifest.shots and may_be_short)
    return fits and len({*prompt} & {*candidates}) == len(prompt)


def _is_count(value: object, *, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _maps_to(value: object, *kinds: type) -> bool:
    return isinstance(value, dict) and all(isinstance(one, kinds) for one in value.values())


def read_weights(folder: Path, build: Callable[[], NetworkT]) -> NetworkT:
    """Reads the network of an artifact.

    Args:
        folder: The artifact.
        build: Makes a network of the sizes that the manifest says.

    Returns:
        The network, in evaluation mode.

    Raises:
        ArtifactError: When weights and sizes do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    try:
        network = build()
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise _damaged(path, f"unlike its manifest ({str(error).splitlines()[0]})") from error
    return network.eval()


def _damaged(path: Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is {how}", expected="a folder written by `shotsmith export`", remedy="Copy or export it again."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
