"""What an exported policy was made of and for, and whether what a file says of it can be. Knows no networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from selector.learned.constraints import Constraints
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.learned.lm_features import PROMPT_VIEW, QUERY_VIEW
from selector.learned.observation import FEATURES, feature_names

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
        "prompt_labels": (),
        "label_names": (),
        "per_label": 0,
    }
)
"""What the first manifests of version 1 do not say."""


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
        prompt_labels: The labels of that prompt in its order, which other pools are shown too; none where not by name.
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
    prompt_labels: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    per_label: int = 0

    @property
    def constraints(self) -> Constraints:
        """What a prompt may hold."""
        return Constraints(self.max_per_label, self.token_budget)


def misfits(manifest: Manifest) -> list[str]:
    """Finds what in a manifest cannot be.

    Args:
        manifest: The manifest, as read from a file that anyone may have edited.

    Returns:
        The keys whose values are of a wrong kind.
    """
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
        "prompt_labels": _are_labels_of(manifest),
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


def _are_labels_of(manifest: Manifest) -> bool:
    """Whether the labels are those of a prompt, known by name."""
    labels = manifest.prompt_labels
    return not labels or (
        len(labels) == len(manifest.prompt or ()) and all(one in manifest.label_names for one in labels)
    )


def _is_count(value: object, *, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _maps_to(value: object, *kinds: type) -> bool:
    return isinstance(value, dict) and all(isinstance(one, kinds) for one in value.values())
