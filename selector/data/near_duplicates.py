"""Texts that are nearly the same, found by MinHash and confirmed by their exact Jaccard similarity.

Broder (1997): texts are compared as sets of overlapping pieces, here of five characters; Indyk & Motwani (1998): texts
that share a band of minimum hashes are looked at more closely. What is found is exact; what is missed is one pair in a
million at the threshold, and fewer above it. A text may have several fields, parted as `normalised_text` parts them:
two texts are near when each of their fields is, so that another question about the same passage is no copy. This
module knows texts, not examples or splits.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from selector.errors import ExtraMissingError, UsageError

FIELD_SEPARATOR: Final = "\x1f"  # a control character that no word holds
SHINGLE: Final = 5  # characters; a changed word of a short question touches fewer pieces than with pieces of words
PERMUTATIONS: Final = 128
MISSED: Final = 1e-6  # share of the pairs at the threshold that no band brings together
LOWEST: Final = 0.5  # below, texts that only share a form ("what is the capital of ...") would count


Pieces: TypeAlias = tuple[frozenset[str], ...]
"""The distinct pieces of each field of a text."""


def shingles(text: str) -> Pieces:
    """Cuts every field of a text into overlapping pieces of five characters.

    Args:
        text: A text of one or more fields; see `normalised_text`.

    Returns:
        The distinct pieces of each field; a field of fewer characters is one piece.
    """
    return tuple(
        frozenset(field[at : at + SHINGLE] for at in range(max(1, len(field) - SHINGLE + 1)))
        for field in text.split(FIELD_SEPARATOR)
    )


def similarity(first: str, second: str) -> float:
    """Compares two texts by their pieces.

    Args:
        first: A text.
        second: Another one.

    Returns:
        The Jaccard similarity of the fields that are least alike, 0 to 1; 0 where the numbers of fields differ.
    """
    return _similarity(shingles(first), shingles(second))


def check_threshold(threshold: float) -> None:
    """Makes sure that a similarity can tell near duplicates from other texts.

    Args:
        threshold: The similarity from which two texts count as the same.

    Raises:
        UsageError: When it is not between 0.5 and 1.
    """
    if not LOWEST <= threshold <= 1:
        raise UsageError(
            f"near_duplicates is {threshold}",
            expected=f"a Jaccard similarity from {LOWEST} to 1",
            remedy="Take 0.9 for reworded copies, or leave it out to compare normalised texts alone.",
        )


class NearDuplicates:
    """A set of texts, and the search for those that a text nearly repeats.

    Args:
        threshold: The similarity from which two texts count as the same, 0.5 to 1.

    Raises:
        UsageError: When the threshold is another number.
        ExtraMissingError: When datasketch is not installed.
    """

    def __init__(self, threshold: float) -> None:
        check_threshold(threshold)
        try:
            from datasketch import MinHash, MinHashLSH
        except ModuleNotFoundError as error:
            raise ExtraMissingError(package="datasketch", extra="near-duplicates") from error
        self.threshold = threshold
        # Copies share its permutations, which take longer to draw than a text to hash.
        self._blank: Any = MinHash(PERMUTATIONS, hashfunc=zlib.crc32)
        self._bands: Any = MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold))

    def add(self, text: str) -> None:
        """Adds a text that is not there yet.

        Args:
            text: The text.
        """
        self._bands.insert(text, self._hashed(shingles(text)), check_duplication=False)

    def near(self, text: str) -> Iterator[str]:
        """Finds the texts that a text nearly repeats.

        Args:
            text: Any text, added or not.

        Yields:
            Those added whose similarity to it is the threshold or more, in order of the alphabet.
        """
        own = shingles(text)
        for other in sorted(self._bands.query(self._hashed(own))):
            if _similarity(own, shingles(other)) >= self.threshold:
                yield other

    def _hashed(self, pieces: Pieces) -> Any:
        """A MinHash of all fields: as alike as two texts are in each of them, they are in all of them together."""
        hashed = self._blank.copy()
        hashed.update_batch(
            [f"{place}{piece}".encode("utf-8", "surrogatepass") for place, own in enumerate(pieces) for piece in own]
        )
        return hashed


def bands(threshold: float) -> tuple[int, int]:
    """Chooses the widest bands that miss hardly a pair at the threshold.

    Two texts of similarity s share a band of r hashes with the probability s ** r, and none of b bands with
    (1 - s ** r) ** b. Wide bands bring fewer strangers together.

    Args:
        threshold: The similarity, 0.5 to 1.

    Returns:
        How many bands there are, and how many hashes each has.
    """
    for width in range(PERMUTATIONS // 2, 1, -1):
        count = PERMUTATIONS // width
        if (1 - threshold**width) ** count <= MISSED:
            return count, width
    return PERMUTATIONS, 1


def _similarity(first: Pieces, second: Pieces) -> float:
    if len(first) != len(second):
        return 0.0
    lowest = 1.0
    for own, other in zip(first, second, strict=True):
        common = len(own & other)
        lowest = min(lowest, common / (len(own) + len(other) - common))
    return lowest
