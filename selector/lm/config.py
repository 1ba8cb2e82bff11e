"""Which language model, and how it scores. Plain values: loading is `selector.lm.loading`'s work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LanguageModelConfig:
    """Names a language model and the way in which it scores labels.

    Attributes:
        model: A bundled name, a local folder, a .gguf file or a Hugging Face hub id.
        dtype: "auto" (bfloat16 where the hardware multiplies it natively, else float32), "float32" or "bfloat16".
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        scoring: "direct", "ppl" or "channel".
        calibration: "none", "contextual" or "batch".
        revision: The revision of a hub model.
        trust_remote_code: Whether code that comes with a hub model may run.
    """

    model: str = "smollm2-135m-instruct"
    dtype: str = "auto"
    device: str = "auto"
    scoring: str = "direct"
    calibration: str = "none"
    revision: str | None = None
    trust_remote_code: bool = False
