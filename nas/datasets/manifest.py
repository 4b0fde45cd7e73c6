"""`manifest`: a table with one row per sample, and the files that it names."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nas.datasets._assemble import Roles, assemble
from nas.datasets._cache import Cache
from nas.datasets._columns import declared, inferred
from nas.datasets._new_rows import learnt, unlabelled
from nas.datasets._readers import read
from nas.datasets._table import read_table
from nas.datasets.unlabelled import Unlabelled
from nas.errors import RequestError, near_misses
from nas.registry import register


@register("dataset", "manifest")
class Manifest:
    """Samples listed in a CSV or Parquet file: pictures, sounds, texts, vectors and tables.

    Paths are relative to the file's folder. An empty cell is a missing modality. What has been decoded
    lies in a cache, by content, and is mapped into memory; a second start decodes nothing.

    Args:
        source: The file, `.csv` or `.parquet`, with a header.
        label: Column of the class, of the classes of a sample, or of a number to predict; or several.
        task: `classification`, `multilabel` or `regression`; None infers it from the labels.
        separator: What stands between the classes in a cell, where a sample has several.
        modalities: By name of the modality, its kind and its columns, such as `{photo: {image: file},
            caption: {text: words}, patient: {tabular: [age, city]}}`, with options of the kind beside
            them (`{image: file, size: 64}`); None infers one modality per column, and one of all
            numbers and categories.
        split: Column with `train`, `validation` or `test`; None draws the splits.
        group: Column of which no value may be in two splits that are drawn.
        validation: Share of the samples for validation, where it is drawn.
        test: Share of the samples for the test, where it is drawn.
        seed: Seed of the splits that are drawn; they are stratified by label.
        on_bad_row: `error` refuses a table with rows that cannot be used; `skip` leaves them out.
        cache: Folder of the cache, from the file's folder; `$XDG_CACHE_HOME/nas` or `~/.cache/nas` for None.

    Raises:
        RequestError: The file, a column, a row or a file in it is not what it should be.
        ValueError: An option is not allowed.
    """

    def __init__(
        self,
        source: str,
        *,
        label: str | Sequence[str],
        task: Literal["classification", "multilabel", "regression"] | None = None,
        separator: str = "|",
        modalities: Mapping[str, Mapping[str, Any]] | None = None,
        split: str | None = None,
        group: str | None = None,
        validation: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        on_bad_row: Literal["error", "skip"] = "error",
        cache: str | None = None,
    ) -> None:
        table = read_table(Path(source))
        roles = Roles(label, task, separator, split, group, (validation, test), seed)
        used = roles.used(table)
        if modalities is None:
            columns = inferred(table, used)
        else:
            columns = declared(modalities, list(table.columns), table.name, roles.labels)
        store = Cache.below(table.folder, cache)
        made = assemble(table, roles, partial(read, table, columns, store), on_bad_row)
        self.modalities, self.task = made.modalities, made.task
        self.splits, self.notes = made.splits, made.notes
        self.learnt = learnt(columns, made.splits["train"].encoded)
        self._table = table

    @classmethod
    def unlabelled(cls, source: str, learnt: Mapping[str, Any], modalities: Collection[str]) -> Unlabelled:
        """The rows of another file, read as those of the one that `learnt` is from.

        Raises:
            RequestError: The file, or a column in it, is not what it should be.
        """
        return unlabelled(read_table(Path(source)), learnt, modalities)

    def groups(self, column: str) -> dict[str, list[str]]:
        """The values of a column, by split: samples that share one belong together.

        Raises:
            RequestError: There is no such column.
        """
        cells = self._table.columns.get(column)
        if cells is None:
            known = near_misses(column, self._table.columns)
            raise RequestError(f"{self._table.name} has no column {column!r}; {known}")
        return {
            name: [f"row {row}" if cells[row] is None else str(cells[row]) for row in split.samples]
            for name, split in self.splits.items()
        }
