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
from typing import Any, Final

from selector.errors import ArtifactError
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.learned.tensors import save_tensors

MANIFEST_FILE: Final = "manifest.json"
WEIGHTS_FILE: Final = "policy.safetensors"
ENCODER_FOLDER: Final = "encoder"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Manifest:
    """What an artifact was made of and for.

    Attributes:
        shots: How many demonstrations the policy was trained to choose.
        shortlist_size: How many candidates it is offered.
        may_stop: Whether it may choose fewer.
        labelled_demonstrations: Whether demonstrations are embedded with their label.
        network: The sizes of its network.
        features: The candidate features it sees, in order.
        encoder: The encoder's name, or "encoder" for the folder inside the artifact.
        fingerprints: Of "pool", "template", "encoder" and "language model".
        weights_sha256: Of policy.safetensors.
        metrics: What was measured in training, by name; higher is better.
        shotsmith: The version that wrote it.
        schema_version: Of this manifest.
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


@dataclass(frozen=True)
class Artifact:
    """An artifact that has been read.

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
        inside = self.folder / self.manifest.encoder
        return str(inside) if self.manifest.encoder == ENCODER_FOLDER else self.manifest.encoder


def write_artifact(
    folder: Path,
    manifest: Manifest,
    network: PointerNetwork,
    *,
    encoder: Path | None = None,
    check: Callable[[Artifact], None] | None = None,
) -> Path:
    """Writes an artifact; what stood in the folder before is replaced only when all is written.

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
        if check is not None:
            check(read_artifact(made))
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return folder


def read_artifact(folder: Path | str) -> Artifact:
    """Reads and checks an artifact.

    Args:
        folder: The artifact.

    Returns:
        Its manifest and network.

    Raises:
        ArtifactError: When it is missing, damaged or of another version.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file() or _sha256(path) != manifest.weights_sha256:
        raise _damaged(path, "missing or changed since it was written")
    return Artifact(folder, manifest, _network(path, manifest))


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
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
        manifest = Manifest(**{entry.name: content[entry.name] for entry in fields(Manifest)})
    except KeyError as error:
        raise _damaged(path, f"without the key {error}") from error
    if tuple(manifest.features) != FEATURES:
        raise _damaged(path, f"made for the features {manifest.features}")
    return manifest


def _network(path: Path, manifest: Manifest) -> PointerNetwork:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = PointerNetwork(PointerNetworkConfig(**manifest.network))
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
