"""The transformer of a sentence encoder, run by ONNX Runtime in float32 or with 8-bit integers.

Texts are run one by one, side by side on the cores. So none is padded, and what a text is embedded as does not depend
on the texts it comes with: 8-bit activations are scaled by the largest of one run. What stands behind the transformer,
such as pooling, stays as it is. This module knows sentence-transformers models, and nothing of queries or pools.
"""

from __future__ import annotations

import copy
import inspect
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from transformers.modeling_outputs import BaseModelOutput

from selector.errors import ExtraMissingError, ModelLoadError

PACKAGES: Final = ("onnx", "onnxruntime", "onnxscript")
MASK: Final = "attention_mask"
SAMPLE: Final = "a text of a few words, as any other"
LONGEST_INPUT: Final = 2**16  # tokens: more than any encoder reads


def run_by_onnx(model: Any, *, int8: bool, source: str) -> Any:
    """Copies a sentence-transformers model, with its transformer run by ONNX Runtime on the CPU.

    Args:
        model: The model; it stays as it is.
        int8: Whether weights and activations are multiplied as 8-bit integers: weights scaled by channel, activations
            by the text (dynamic quantisation).
        source: Where the model comes from, for errors.

    Returns:
        The copy.

    Raises:
        ExtraMissingError: When the packages of the extra `onnx` are not installed.
        ModelLoadError: When the model does not begin with a transformer that reads text, or it cannot be converted.
    """
    _require_packages()
    made = copy.deepcopy(model).to("cpu", torch.float32)
    first = made[0]
    network = getattr(first, "model", None) if type(first).__name__ == "Transformer" else None
    inputs = {} if network is None else dict(made.tokenizer([SAMPLE], return_tensors="pt"))
    if network is None or MASK not in inputs:
        raise ModelLoadError(
            f"encoder {source!r} does not begin with a transformer that reads text",
            expected="one that does, and embeds queries as it does demonstrations",
            remedy="Let torch run it.",
        )
    first.model = _OnnxTransformer(_converted(network, inputs, int8=int8, source=source), network)
    return made


class _OnnxTransformer(torch.nn.Module):
    """Stands where the transformer stood. It has no weights that torch knows."""

    def __init__(self, session: Any, former: torch.nn.Module) -> None:
        super().__init__()
        self._session = session
        self._names = [one.name for one in session.get_inputs()]
        self._workers = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="shotsmith-onnx")
        self.config = getattr(former, "config", None)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def forward(self, **inputs: torch.Tensor) -> BaseModelOutput:
        """Runs B texts of T tokens at most; padding stays zero in what comes out, (B, T, D)."""
        mask = inputs[MASK].bool()
        texts = [
            {name: inputs[name][at][mask[at]][None].numpy() for name in self._names} for at in range(len(mask))
        ]  # (1, T_i) each
        rows = list(self._workers.map(self._run, texts))
        hidden = torch.zeros(*mask.shape, rows[0].shape[-1])
        for at, row in enumerate(rows):
            hidden[at, mask[at]] = torch.from_numpy(row)
        return BaseModelOutput(last_hidden_state=hidden)

    def _run(self, text: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """(T_i, D) of one text."""
        rows: npt.NDArray[np.float32] = self._session.run(None, dict(text))[0][0]
        return rows


class _LastLayer(torch.nn.Module):
    """A transformer as a function from tensors to one tensor, which is what can be exported."""

    def __init__(self, network: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """(1, T, D), the last layer."""
        given = dict(zip(self.names, tensors, strict=True))
        last: torch.Tensor = self.network(**given, return_dict=True).last_hidden_state
        return last


def _converted(network: torch.nn.Module, inputs: Mapping[str, torch.Tensor], *, int8: bool, source: str) -> Any:
    """A session of ONNX Runtime; the files that it was loaded from are gone."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    known = inspect.signature(network.forward).parameters
    names = tuple(name for name in inputs if name in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # texts run side by side instead
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path, small = Path(folder) / "encoder.onnx", Path(folder) / "int8.onnx"
        try:
            program = torch.onnx.export(
                _LastLayer(network, names).eval(),
                tuple(inputs[name] for name in names),
                input_names=list(names),
                dynamo=True,
                dynamic_shapes=(tuple({1: torch.export.Dim("tokens", max=LONGEST_INPUT)} for _ in names),),
                verbose=False,
            )
            program.save(str(path))  # type: ignore[union-attr]
            if int8:
                quantize_dynamic(path, small, weight_type=QuantType.QInt8, per_channel=True)
            chosen = str(small if int8 else path)
            return onnxruntime.InferenceSession(chosen, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of the exporter, whose errors have no common kind
            told = str(error).strip().partition("\n")[0]
            raise ModelLoadError(
                f"encoder {source!r} cannot be converted ({type(error).__name__}: {told})",
                expected="a transformer that ONNX can express",
                remedy="Let torch run it.",
            ) from error


def _require_packages() -> None:
    for package in PACKAGES:
        try:
            __import__(package)
        except ImportError as error:
            raise ExtraMissingError(package=package, extra="onnx") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporter and quantiser say of themselves; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
