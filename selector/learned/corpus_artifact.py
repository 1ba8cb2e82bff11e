"""The artifact of a policy that chooses one prompt for a task; the same folder and manifest as any other policy's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selector.learned.artifact import (
    Artifact,
    encoder_source,
    read_artifact,
    read_manifest,
    read_weights,
    require_features,
    write_folder,
)
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import LM_FEATURES
from selector.learned.manifest import CORPUS, PER_QUERY, Manifest


@dataclass(frozen=True)
class CorpusArtifact:
    """An artifact of the kind "corpus" that has been read.

    Attributes:
        folder: Where it lies.
        manifest: Its manifest.
        network: Its network, in evaluation mode.
    """

    folder: Path
    manifest: Manifest
    network: CorpusQNetwork

    @property
    def encoder_source(self) -> str:
        """What `SentenceEncoder.load` takes."""
        return encoder_source(self.folder, self.manifest)

    @property
    def asks_language_model(self) -> bool:
        """Whether the policy reads the language model."""
        return self.manifest.features[-len(LM_FEATURES) :] == LM_FEATURES

    @property
    def needs_engine(self) -> bool:
        """Whether choosing needs the language model, be it only to count tokens."""
        return self.asks_language_model or self.manifest.token_budget is not None


def write_corpus_artifact(
    folder: Path,
    manifest: Manifest,
    network: CorpusQNetwork,
    *,
    encoder: Path | None = None,
    check: Callable[[CorpusArtifact], None] | None = None,
) -> Path:
    """Writes an artifact of the kind "corpus"; see `selector.learned.artifact.write_folder`.

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
        artifact = read_corpus_artifact(made)
        if check is not None:
            check(artifact)

    return write_folder(folder, manifest, network, encoder=encoder, check=look)


def read_corpus_artifact(folder: Path | str) -> CorpusArtifact:
    """Reads and checks an artifact of the kind "corpus".

    Args:
        folder: The artifact.

    Returns:
        Its manifest and network.

    Raises:
        ArtifactError: When it is missing, damaged, of another version or of another kind.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, kind=CORPUS)
    network = read_weights(folder, lambda: CorpusQNetwork(CorpusNetworkConfig(**manifest.network)))
    named = 2 * len(manifest.label_names)  # a column in the state and one among the features for each
    require_features(folder, manifest, network.config.state + network.config.features - named)
    return CorpusArtifact(folder, manifest, network)


def read_policy(folder: Path | str) -> Artifact | CorpusArtifact:
    """Reads and checks an artifact of any kind.

    Args:
        folder: The artifact.

    Returns:
        Its manifest and network.

    Raises:
        ArtifactError: When it is missing, damaged or of another version.
    """
    if read_manifest(Path(folder)).kind == PER_QUERY:
        return read_artifact(folder)
    return read_corpus_artifact(folder)
