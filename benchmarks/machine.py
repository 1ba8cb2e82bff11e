"""What this machine can do and how much memory this process took: the yardsticks of all benchmarks."""

from __future__ import annotations

import platform
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

SHAPES = ((1024, 1024, 1024), (512, 576, 1536), (512, 1536, 576))  # the first is square, the others those of the model


def gemm_peak(dtype: torch.dtype, *, seconds: float = 0.7) -> tuple[float, float]:
    """Measures how fast matrix products are.

    Args:
        dtype: Of the matrices.
        seconds: How long each shape is tried.

    Returns:
        Floating-point operations a second: of the best shape as long as it runs (the median product), and of the
        fastest single product, which a shared machine does not keep up.
    """
    sustained = fastest = 0.0
    for rows, inner, columns in SHAPES:
        left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
        torch.nn.functional.linear(left, right)
        taken = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            taken.append(time.perf_counter() - start)
        operations = 2 * rows * inner * columns
        sustained = max(sustained, operations / statistics.median(taken))
        fastest = max(fastest, operations / min(taken))
    return sustained, fastest


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """Watches the resident memory of this process.

    Yields:
        A list that holds, afterwards, by how many bytes the peak exceeded the start.
    """
    process = psutil.Process()
    start = process.memory_info().rss
    seen, stop = [start], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    result: list[int] = []
    try:
        yield result
    finally:
        stop.set()
        watcher.join()
        result.append(max(*seen, process.memory_info().rss) - start)


def described() -> dict[str, object]:
    """Describes machine and versions for a result file.

    Returns:
        Names and numbers.
    """
    capabilities = torch.cpu.get_capabilities()
    return {
        "processor": capabilities.get("cpu_name") or platform.processor(),
        "cores": psutil.cpu_count(logical=False),
        "threads": torch.get_num_threads(),
        "avx512": bool(capabilities.get("avx512_f")),
        "avx512_bf16": bool(capabilities.get("avx512_bf16")),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
