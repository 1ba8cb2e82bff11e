"""The exported policy on disk: a folder with manifest.json and policy.safetensors, and the encoder when it was trained.

Nothing in it is pickled. It is checked when it is read: version, checksum, names and shapes. What it was made for is
said by fingerprints; whether they fit is the reader's question. This module knows nothing of learners.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, TypeVar

from torch import nn

from selector.data.folder_kinds import missing_file, require_replaceable
from selector.errors import ArtifactError
from selector.learned.lm_features import PRIOR_AGREEMENT, PROMPT_FEATURES, PROMPT_VIEW, QUERY_VIEW
from selector.learned.manifest import KNOWN_FEATURES, LATER_KEYS, PER_QUERY, SCHEMA_VERSION, Manifest, misfits
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.learned.tensors import save_tensors

MANIFEST_FILE: Final = "manifest.json"
WEIGHTS_FILE: Final = "policy.safetensors"
ENCODER_FOLDER: Final = "encoder"
PARTS: Final = frozenset((MANIFEST_FILE, WEIGHTS_FILE, ENCODER_FOLDER))
# Of a trained retriever: its training, and its index of a pool.
NO_PART_OF_AN_ENCODER: Final = shutil.ignore_patterns("tensorboard", "checkpoint*", "index")
NetworkT = TypeVar("NetworkT", bound=nn.Module)


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
        ArtifactError: When something stands there that is not part of an artifact.
    """
    require_replaceable(folder, what="an artifact", marker=MANIFEST_FILE, is_part=PARTS.__contains__)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "artifact"
        made.mkdir()
        save_tensors(made / WEIGHTS_FILE, network.state_dict())
        if encoder is not None:
            shutil.copytree(encoder, made / ENCODER_FOLDER, ignore=NO_PART_OF_AN_ENCODER)
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
    if not path.is_file() and not (folder / WEIGHTS_FILE).is_file():
        raise missing_file(folder, MANIFEST_FILE, writer="shotsmith export")
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
        lists = (
            "features",
            "candidates",
            "label_names",
            "prompt_labels",
            *(["prompt"] if content["prompt"] is not None else []),
        )
        tuples = {name: tuple(content[name]) for name in lists}
        manifest = Manifest(**{entry.name: content[entry.name] for entry in fields(Manifest)} | tuples)
    except KeyError as error:
        raise _damaged(path, f"without the key {error}") from error
    except TypeError as error:
        raise _damaged(path, f"not a manifest ({error})") from error
    if wrong := misfits(manifest):
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
