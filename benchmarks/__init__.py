"""Measurements: of the engine, of what was learned, and of every preset. The tests assert none of them."""

from pathlib import Path

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
