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
        scoring: "direct", "ppl", "channel", "per-token" or "pmi".
        calibration: "none", "contextual" or "batch".
        revision: The revision of a hub model.
        trust_remote_code: Whether code that comes with a hub model may run.
        memory_mib: Memory that scoring may use beside the weights, MiB; 0 is 1 GiB on a CPU, 40 % of what is free on a
            GPU.
        server: The address of an OpenAI-compatible server that runs `model`, such as "http://127.0.0.1:8000/v1"; empty
            loads the model here.
        api_key_variable: The environment variable that holds the server's API key; empty sends none.
        concurrency: Requests that are on their way to the server at once.
        context_length: The server's window where it does not tell, tokens; 0 is 2,048.
        engine: "local", or "ray" to share the work among the workers of a Ray cluster.
        ray_address: The cluster; empty starts one on this machine.
        ray_workers: How many workers; 0 is one for each GPU, or one for each four CPU cores of a node.
    """

    model: str = "smollm2-135m-instruct"
    dtype: str = "auto"
    device: str = "auto"
    scoring: str = "direct"
    calibration: str = "none"
    revision: str | None = None
    trust_remote_code: bool = False
    memory_mib: int = 0
    server: str = ""
    api_key_variable: str = ""
    concurrency: int = 8
    context_length: int = 0
    engine: str = "local"
    ray_address: str = ""
    ray_workers: int = 0
