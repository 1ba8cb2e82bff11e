"""What this machine can do and how much memory this process took: the yardsticks of all benchmarks."""

from __future__ import annotations

import ctypes
import gc
import platform
import statistics
import sys
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


def settled_memory() -> int:
    """Tells what this process holds when nothing is freed that it still keeps.

    Returns:
        Resident bytes, after what was freed went back to the system.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(
            ctypes.CDLL(None), "malloc_trim", None
        )  # glibc keeps freed memory for later; musl has no such call
        if trim is not None:
            trim(0)
    return int(psutil.Process().memory_info().rss)


@contextmanager
def watched_memory(baseline: int) -> Iterator[list[int]]:
    """Watches the resident memory of this process.

    Args:
        baseline: Resident bytes that do not count. Take it in a fresh process, right after loading the model: what was
            allocated and freed before would be used again without being seen.

    Yields:
        A list that holds, afterwards, by how many bytes the peak exceeded the baseline.
    """
    process = psutil.Process()
    seen, stop = [process.memory_info().rss], threading.Event()

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
        result.append(max(*seen, process.memory_info().rss) - baseline)


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
