"""Whether pool, encoder, template and language model are those that an exported policy of any kind was made for."""

from __future__ import annotations

from selector.data.pool import Pool
from selector.errors import ArtifactMismatchError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import Artifact
from selector.learned.corpus_artifact import CorpusArtifact
from selector.learned.manifest import Manifest
from selector.retrieval.encoder import SentenceEncoder, TextEncoder


def fitting_encoder(
    artifact: Artifact | CorpusArtifact, pool: Pool, encoder: TextEncoder | None, *, force: bool
) -> TextEncoder:
    """Gives an artifact's encoder, and makes sure that it and the pool are those it was made for.

    Args:
        artifact: The artifact.
        pool: The pool to choose from.
        encoder: An encoder that is loaded already; by default the artifact's own is.
        force: Whether others are taken.

    Returns:
        The encoder.

    Raises:
        ArtifactMismatchError: When pool or encoder differ from the artifact's and `force` is off.
        ModelLoadError: When its encoder cannot be loaded.
    """
    if not force:
        remedy = "Pass force=True (--force) to choose from the changed pool."
        _require(artifact.manifest, "pool", pool.fingerprint, remedy)
    encoder = encoder or SentenceEncoder.load(artifact.encoder_source)
    if not force:
        remedy = "Use the encoder that the policy was trained with."
        _require(artifact.manifest, "encoder", encoder.fingerprint, remedy)
    return encoder


def require_engine(manifest: Manifest, engine: InferenceEngine, *, force: bool) -> None:
    """Makes sure that answers come from the template, language model and scoring that a policy was trained for.

    Args:
        manifest: Of the policy's artifact.
        engine: The engine that will answer.
        force: Whether others are taken.

    Raises:
        ArtifactMismatchError: When they differ and `force` is off.
    """
    if not force:
        remedy = "Use the task it was trained on, or pass --force."
        _require(manifest, "template", engine.template.fingerprint, remedy)
        same = "Use the language model it was trained with, in the same dtype ([lm] dtype), or pass --force."
        _require(manifest, "language model", engine.lm.fingerprint, same)
        for part, present in (("scoring", engine.scoring), ("calibration", engine.calibration)):
            if part in manifest.fingerprints:  # what the policy was rewarded by
                _require(manifest, part, present, remedy)


def _require(manifest: Manifest, part: str, present: str, remedy: str) -> None:
    wanted = manifest.fingerprints.get(part, "")
    if wanted != present:
        raise ArtifactMismatchError(part=part, artifact=wanted, present=present, remedy=remedy)
