"""How long work tells how far it is: a bar with a time estimate, or silence.

Every long function takes a `Progress`; the library itself never prints. `RichProgress` is for terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress(Protocol):
    """Shows the progress of one named piece of work."""

    def track(self, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Opens a bar.

        Args:
            description: What is being done, a few words.
            total: How many steps it has.

        Returns:
            A context manager; inside, call what it gives with the number of steps just finished.
        """
        ...


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Opens no bar; see `Progress.track`."""
        yield lambda steps: None


class RichProgress:
    """Shows bars with elapsed and remaining time on a terminal.

    A bar that opens while another one is open stands below it and goes when it is done.

    Args:
        console: Where to draw; standard error by default, so that results on standard output stay clean.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._open: Bars | None = None

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Opens a bar; see `Progress.track`."""
        if self._open is not None:  # rich draws one screen at a time
            outer, inner = self._open, self._open.add_task(description, total=total)
            try:
                yield lambda steps: outer.advance(inner, steps)
            finally:
                outer.remove_task(inner)
            return
        columns = (
            TextColumn("{task.description:<34}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console) as bars:
            self._open, task = bars, bars.add_task(description, total=total)
            try:
                yield lambda steps: bars.advance(task, steps)
            finally:
                self._open = None


SILENT: Progress = SilentProgress()


@contextmanager
def hidden_library_bars() -> Iterator[None]:
    """Hides the bars that transformers draws while it loads or saves a model, which say nothing to a user.

    Yields:
        Nothing.
    """
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
