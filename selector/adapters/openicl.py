"""Any selector as a retriever of OpenICL, and so of OpenCompass.

OpenICL's own nearest neighbours stand most similar first, and return the query itself where index and test rows are the
same; a selector puts the most useful one last and leaves the query out.
"""

from __future__ import annotations

from typing import Any

from selector.adapters.columns import Columns
from selector.adapters.source import DemonstrationSource, SelectorBuilder
from selector.errors import PackageMissingError

try:
    from openicl import BaseRetriever
except ImportError as error:
    # Its requirements pin the transformers of 2023, so no extra can bring it.
    raise PackageMissingError(package="openicl", command="pip install --no-deps openicl==0.1.8") from error


class DemonstrationRetriever(BaseRetriever):
    """A retriever over the index rows of a dataset reader.

    Args:
        dataset_reader: OpenICL's reader; it says which columns are inputs and which one is the output.
        build: Makes the selector, such as `BM25Selector`, or `lambda pool: load_learned("policy", pool, force=True)`.
        ice_num: Demonstrations for each test row.
        **options: What OpenICL's base class takes: separators, splits, accelerator.
    """

    def __init__(self, dataset_reader: Any, build: SelectorBuilder, *, ice_num: int = 4, **options: Any) -> None:
        super().__init__(dataset_reader, ice_num=ice_num, **options)
        columns = Columns(tuple(dataset_reader.input_columns), dataset_reader.output_column)
        self.source = DemonstrationSource(build, columns.pool(self.index_ds), columns)

    def retrieve(self) -> list[list[int]]:
        """Chooses demonstrations for every test row.

        Returns:
            For each test row the positions of index rows in prompt order.

        Raises:
            TooFewExamplesError: When the index without a row and its duplicates holds fewer than `ice_num`.
        """
        _, selections = self.source.select(list(self.test_ds), self.ice_num)
        return [list(chosen.indices) for chosen in selections]
