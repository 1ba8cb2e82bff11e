"""From a run folder to an artifact: the best weights, what they are for, a check that they still decide alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from policies.finalists import read_prompt
from policies.runs import CORPUS_RUN, Best, Provenance, provenance_of, read_best, read_corpus_best, read_run
from policies.training_usage import read_usage
from selector.errors import ArtifactError, ArtifactMismatchError
from selector.learned.artifact import ENCODER_FOLDER, Artifact, write_artifact
from selector.learned.corpus_artifact import CorpusArtifact, write_corpus_artifact
from selector.learned.lm_features import PROMPT_VIEW
from selector.learned.manifest import CORPUS, Manifest
from selector.learned.observation import feature_names
from selector.retrieval.encoder import SentenceEncoder
from selector.strategies.retriever import CARD_FILE, read_retriever_card
from selector.version import __version__

PARITY_TOLERANCE = 1e-5  # nats; the same weights on the same machine agree exactly


def export_policy(run: Path, artifact: Path) -> Path:
    """Writes a run's best weights as an artifact.

    Args:
        run: A run folder of `policies.ppo.train_policy` or `policies.offline_dqn.train_corpus_policy`.
        artifact: Where the artifact goes; one that is there is replaced.

    Returns:
        The artifact.

    Raises:
        ArtifactError: When the run is not evaluated or damaged, its retriever is gone, or the artifact read back scores
            actions unlike the training process did; then nothing is written.
        ArtifactMismatchError: When its retriever has been trained anew since.
    """
    content = read_run(run)
    trained = _retriever(provenance_of(content))
    asked = _training_tokens(run, trained)
    if content.get("kind") == CORPUS_RUN:
        named = tuple(content.get("label_names", ()))  # older runs know none by name
        learned = read_corpus_best(run)
        kept = read_prompt(run, candidates=content["candidates"], label_names=named)
        manifest = _manifest(
            content,
            learned,
            trained,
            shortlist_size=len(content["candidates"]),
            kind=CORPUS,
            training_lm_tokens=asked,
            candidates=tuple(content["candidates"]),
            prompt=None if kept is None else kept.indices,
            prompt_labels=() if kept is None else kept.labels,
            features=tuple(content["features"]),
            label_names=named,
        )
        return write_corpus_artifact(
            artifact, manifest, learned.network, encoder=trained, check=lambda made: check_parity(made, learned)
        )
    best, config = read_best(run), content["config"]
    manifest = _manifest(
        content,
        best,
        trained,
        shortlist_size=config["shortlist_size"],
        training_lm_tokens=asked,
        features=feature_names(config["lm_features"], config.get("lm_view", PROMPT_VIEW)),  # older runs have one view
        per_label=config.get("per_label", 0),
    )
    return write_artifact(
        artifact, manifest, best.network, encoder=trained, check=lambda made: check_parity(made, best)
    )


def _retriever(provenance: Provenance) -> Path | None:
    """The folder of the retriever that the policy was trained with; None where the encoder has but a name."""
    folder = Path(provenance.encoder)
    if not folder.is_dir():
        if folder.is_absolute():
            raise ArtifactError(
                f"the run was trained with the retriever {folder}, and nothing is there",
                expected="the retriever, which becomes a part of the artifact",
                remedy="Put it back, or train the policy again.",
            )
        return None
    wanted, present = provenance.fingerprints.get("encoder", ""), SentenceEncoder.load(folder).fingerprint
    if wanted and wanted != present:
        raise ArtifactMismatchError(
            part="encoder",
            artifact=wanted,
            present=present,
            remedy=f"Put the retriever back that {folder} was when the policy was trained, or train the policy again.",
        )
    return folder


def _manifest(content: dict[str, Any], best: Best[Any], trained: Path | None, **particular: Any) -> Manifest:
    provenance, config = provenance_of(content), content["config"]
    return Manifest(
        shots=config["shots"],
        may_stop=config["may_stop"],
        max_per_label=config["max_per_label"],
        token_budget=config["token_budget"],
        labelled_demonstrations=provenance.labelled_demonstrations,
        network=content["network"],
        encoder=ENCODER_FOLDER if trained else provenance.encoder,
        fingerprints=provenance.fingerprints,
        metrics=best.metrics,
        shotsmith=__version__,
        **particular,
    )


def _training_tokens(run: Path, retriever: Path | None) -> int | None:
    """What training and the retriever behind it asked of the language model; None where one of them does not say."""
    own = read_usage(run)
    mined = 0
    if retriever is not None and (retriever / CARD_FILE).is_file():
        counted = read_retriever_card(retriever).training_lm_tokens
        if counted is None:
            return None
        mined = counted
    return None if own is None else own.tokens + mined


def check_parity(artifact: Artifact | CorpusArtifact, best: Best[Any]) -> None:
    """Makes sure that an artifact scores actions as the training process did.

    Args:
        artifact: The artifact as read back.
        best: What the training process kept.

    Raises:
        ArtifactError: When it does not.
    """
    observations = {name: tensor for name, tensor in best.parity.items() if name != "logits"}
    network: nn.Module = artifact.network
    with torch.inference_mode():
        logits = network(observations)[0]
    difference = float((logits - best.parity["logits"]).abs().max())
    if not difference <= PARITY_TOLERANCE:  # what is no number is no parity
        raise ArtifactError(
            f"the artifact scores actions {difference:.3g} nats away from the training process",
            expected=f"at most {PARITY_TOLERANCE}",
            remedy="Export with the versions of torch and shotsmith that trained it.",
        )
