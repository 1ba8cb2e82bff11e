"""From the name of a language model to a model that is ready to score.

A GGUF file is converted once and kept as safetensors in the cache folder. Code that comes with a hub model does not
run unless it was asked for, and only safetensors weights are read. This module knows nothing of scoring.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError

from selector.data.assets import find_bundled, is_bundled
from selector.data.paths import cache_folder, full_disk_named, score_store_limit
from selector.errors import ModelLoadError, UnknownNameError
from selector.lm.base import LanguageModel
from selector.lm.cache import COMMIT, CachedLanguageModel, ScoreStore
from selector.lm.config import LanguageModelConfig
from selector.lm.memory import MIB
from selector.progress import SILENT, Progress, hidden_library_bars

if TYPE_CHECKING:
    import torch

# What transformers and safetensors raise on files that are missing, damaged or not theirs.
READ_ERRORS = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, ImportError, RuntimeError),
    *(struct.error, SafetensorError),
)
# What decides the scores of a model folder: weights, settings, and how texts become tokens.
DECIDING_FILES = (
    *("*.safetensors", "config.json", "tokenizer*.json", "*.model", "vocab.*", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json", "adapter_config.json", "*.py"),
)
DTYPES = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("local", "ray")


def load_language_model(
    config: LanguageModelConfig, *, store: Path | None = None, progress: Progress = SILENT
) -> LanguageModel:
    """Loads a language model, behind the score store when one is given.

    Args:
        config: Which model, and whether it runs here, behind a server or on a cluster.
        store: The file of the score store; None scores everything afresh.
        progress: Shows how far a call on a cluster is.

    Returns:
        The language model.

    Raises:
        ModelLoadError: When the model is missing, damaged or not to be had.
        BundledPackageMissingError: When a bundled model's package is not installed.
        UnknownNameError: When dtype, device or engine is not known.
        ServerError: When the server cannot be reached.
        ClusterError: When the cluster cannot be reached.
    """
    if config.engine not in ENGINES:
        raise UnknownNameError("engine", config.engine, known=ENGINES)
    commit = COMMIT
    if config.engine == "ray":
        from selector.lm.cluster import RayLanguageModel

        lm: LanguageModel = RayLanguageModel(config, progress=progress)
        commit *= 8  # so that all workers have something to do
    elif config.server:
        from selector.lm.server import ServerLanguageModel
        from selector.lm.server_api import ServerApi

        api = ServerApi(config.server, key_variable=config.api_key_variable)
        lm = ServerLanguageModel(
            api, model=config.model, concurrency=config.concurrency, context_length=config.context_length
        )
        commit = 8 * config.concurrency  # a failing server loses little
    else:
        lm = _local(config)
    if store is None:
        return lm
    return CachedLanguageModel(lm, ScoreStore(store, size_limit=score_store_limit()), commit=commit)


class LoadedModel(NamedTuple):
    """A model of transformers and what goes with it.

    Attributes:
        model: The model, on its device.
        tokenizer: Its tokenizer.
        fingerprint: Identifies weights, revision and dtype.
    """

    model: Any
    tokenizer: Any
    fingerprint: str


def load_model(config: LanguageModelConfig) -> LoadedModel:
    """Loads a model into this process, as transformers has it.

    Args:
        config: Which model, with dtype and device.

    Returns:
        Model, tokenizer and fingerprint.

    Raises:
        ModelLoadError: When the model is missing or damaged.
        BundledPackageMissingError: When a bundled model's package is not installed.
        UnknownNameError: When dtype or device is not known.
    """
    import transformers

    dtype, device = _dtype(config), _device(config)
    source, revision = _source(config)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    options = {"revision": revision, "trust_remote_code": config.trust_remote_code}
    try:
        with hidden_library_bars():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            model, told = transformers.AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
            )
    except READ_ERRORS as error:
        raise ModelLoadError(
            f"language model {config.model!r} cannot be loaded ({_first_line(error)})",
            expected="a bundled name, a folder with config.json and *.safetensors, a .gguf file or a hub id",
            remedy="Check the name, and the network for a hub id; bundled names work offline.",
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    _require_whole(told, config.model)
    weights = _weights_fingerprint(source, model)
    fingerprint = hashlib.sha256(f"{weights}:{dtype}".encode()).hexdigest()
    return LoadedModel(model.to(device), tokenizer, fingerprint)


def _local(config: LanguageModelConfig) -> LanguageModel:
    from selector.lm.huggingface import HuggingFaceLanguageModel

    model, tokenizer, fingerprint = load_model(config)
    budget = config.memory_mib * MIB or None
    return HuggingFaceLanguageModel(model, tokenizer, fingerprint=fingerprint, memory_budget=budget)


def converted_gguf(path: Path) -> Path:
    """Converts a GGUF file to a transformers folder once, and keeps it in the cache folder.

    Args:
        path: The GGUF file.

    Returns:
        The folder, with config.json, tokenizer.json and model.safetensors (float32).

    Raises:
        ModelLoadError: When the file is missing, damaged or of an architecture that transformers cannot read.
    """
    import torch
    import transformers

    if not path.is_file():
        raise ModelLoadError(f"there is no file {path}", expected="a GGUF file", remedy="Check the path.")
    target = cache_folder() / "models" / _sha256(path)[:16]
    if target.is_dir():
        return target
    try:
        with hidden_library_bars():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            loaded, told = transformers.AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
            )
    except READ_ERRORS as error:
        raise ModelLoadError(
            f"GGUF file {path} cannot be read ({_first_line(error)})",
            expected="an undamaged file of an architecture that transformers can read",
            remedy="Copy it again, or use a safetensors model.",
        ) from error
    _require_whole(told, str(path))
    # The loaded model calls itself quantised and refuses to be saved, so its weights go into a plain one.
    settings = {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    plain = transformers.AutoModelForCausalLM.from_config(type(loaded.config).from_dict(settings), dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_named(target),
        hidden_library_bars(),
        tempfile.TemporaryDirectory(dir=target.parent) as scratch,
    ):
        folder = Path(scratch) / "model"
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _put_in_place(folder, target)
    return target


def _require_whole(told: Mapping[str, Any], name: str) -> None:
    if missing := sorted(told["missing_keys"]):
        raise ModelLoadError(
            f"{name!r} lacks {len(missing)} of the weights of a causal language model, such as {missing[0]}",
            expected="a model that was trained to write text: weights that are missing would be random",
            remedy="Name another [lm] model; an encoder belongs to [encoder].",
        )


def _put_in_place(folder: Path, target: Path) -> None:
    """Renames a finished folder, unless another process was quicker: a whole target stays as it is."""
    try:
        folder.replace(target)
    except OSError:
        if not target.is_dir():
            raise


def native_bfloat16(device: str) -> bool:
    """Tells whether the hardware multiplies bfloat16 matrices natively.

    Args:
        device: "cpu" or "cuda".

    Returns:
        True where bfloat16 is the faster dtype; without native support it is several times slower than float32.
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name, False)) for name in ("avx512_bf16", "amx_bf16"))


def _device(config: LanguageModelConfig) -> str:
    import torch

    if config.device not in DEVICES:
        raise UnknownNameError("device", config.device, known=DEVICES)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ModelLoadError("no CUDA device is available", expected="one", remedy='Set [lm] device = "auto".')
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device


def _dtype(config: LanguageModelConfig) -> torch.dtype:
    import torch

    if config.dtype not in DTYPES:
        raise UnknownNameError("dtype", config.dtype, known=DTYPES)
    if config.dtype == "auto":
        return torch.bfloat16 if native_bfloat16(_device(config)) else torch.float32
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


def _source(config: LanguageModelConfig) -> tuple[str, str | None]:
    """What transformers can load, and its revision."""
    if is_bundled(config.model):
        return str(converted_gguf(find_bundled(config.model))), None
    path = Path(config.model).expanduser()
    if path.suffix == ".gguf":
        return str(converted_gguf(path)), None
    return (str(path), None) if path.exists() else (config.model, config.revision)


def _weights_fingerprint(source: str, model: Any) -> str:
    folder = Path(source)
    if folder.is_dir():
        files = sorted({file for pattern in DECIDING_FILES for file in folder.glob(pattern)})
        return ":".join(f"{file.name}={_content(file)}" for file in files)
    return f"{source}@{getattr(model.config, '_commit_hash', None)}"


def _content(path: Path) -> str:
    """The hash of a file; of config.json without the version of the library that wrote it, which decides nothing."""
    if path.name != "config.json":
        return _sha256(path)
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("transformers_version", None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
