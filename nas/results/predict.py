"""Predictions: what a trained network says of new samples, as a table."""

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nas.datasets.unlabelled import Unlabelled, read_unlabelled
from nas.errors import RequestError, first_rows
from nas.modality import Task
from nas.registry import get
from nas.results.exported import load_described, told
from nas.results.run_directory import write_atomically
from nas.training import predict as outputs_on

SUFFIX = ".csv"
SEPARATOR = "|"  # between the classes of a sample that has several


@dataclass(frozen=True)
class Predicted:
    """What was written.

    Args:
        rows: Number of rows, of which bad ones are empty.
        notes: What is to be said of them.
    """

    rows: int
    notes: tuple[str, ...]


def predict(
    model: Path, source: str, out: Path, plugins: Iterable[Path] = (), skip: bool = False
) -> Predicted:
    """Write what a network says of new samples: a row for each, in their order.

    Args:
        model: The safetensors file of the network, or the folder in which it was exported.
        source: Where the samples are, such as a table.
        out: The CSV file that is written.
        plugins: Those that the network, or its dataset, needs.
        skip: Leave the rows empty that cannot be read, instead of refusing the source.

    Raises:
        RequestError: The network or the source cannot be read, or the file cannot be written.
    """
    _check_out(out, source)
    network, description = load_described(model, plugins)
    if description.preprocessing is None:
        raise RequestError(
            f"{model} does not say how its data were prepared, because an earlier version has written it; "
            "make it again, with nas.retrain or nas.export"
        )
    with told(f"the data of {model} cannot be prepared", description.plugins):
        get("dataset", description.preprocessing.dataset)
    samples = read_unlabelled(description.preprocessing, source, list(network.encoders))
    notes = (*_judge(source, samples, skip), *samples.notes)
    outputs, _ = outputs_on(network, samples.split)
    try:
        write_atomically(out, _table(description.task, outputs, samples.bad))
    except OSError as error:
        raise RequestError(f"{out} cannot be written: {error.strerror}; choose another with -o") from None
    return Predicted(len(samples.split), notes)


def _check_out(out: Path, source: str) -> None:
    if out.suffix.lower() != SUFFIX:
        raise RequestError(f"-o {out}: predictions are a CSV file; give it a name that ends in {SUFFIX}")
    if out.resolve() == Path(source).resolve():
        raise RequestError(f"-o {out} would write over the samples themselves; choose another name")


def _judge(source: str, samples: Unlabelled, skip: bool) -> list[str]:
    """What is to be said of bad rows.

    Raises:
        RequestError: There are some, and they may not be skipped; or nothing else is there.
    """
    bad, count = samples.bad, len(samples.split)
    if not bad:
        return []
    if not skip:
        raise RequestError(
            f"{source}: {first_rows(bad)}. Mend them, or leave them empty with --on-bad-row skip"
        )
    if len(bad) == count:
        raise RequestError(f"{source} has no row that can be used: {first_rows(bad)}")
    return [f"{source}: {len(bad)} of {count} rows have no prediction: {first_rows(bad)}"]


def _table(task: Task, outputs: Tensor, bad: Collection[int]) -> str:
    """The predictions as CSV, a row for each sample; bad ones are empty."""
    columns = [f"probability of {name}" for name in task.classes]
    columns = [f"predicted {name}" for name in task.classes] if task.kind == "regression" else columns
    values = _values(task, outputs.view(len(outputs), -1)).tolist()
    writer = csv.writer(text := io.StringIO(), lineterminator="\n")
    labels = [] if task.kind == "regression" else ["prediction"]
    writer.writerow(["row", *labels, *columns])
    for row, own in enumerate(values):
        cells = [*_labels(task, own), *(f"{value:.7g}" for value in own)]
        writer.writerow([row + 1, *([""] * len(cells) if row in bad else cells)])
    return text.getvalue()


def _values(task: Task, outputs: Tensor) -> Tensor:
    """Probabilities, or the numbers of a regression."""
    if task.kind == "regression":
        return outputs
    return outputs.softmax(1) if task.kind == "classification" else outputs.sigmoid()


def _labels(task: Task, values: Sequence[float]) -> list[str]:
    """The class of a sample, or all that are more likely than not; none for a regression."""
    if task.kind == "regression":
        return []
    if task.kind == "classification":
        return [task.classes[max(range(len(values)), key=values.__getitem__)]]
    return [SEPARATOR.join(name for name, value in zip(task.classes, values, strict=True) if value > 0.5)]
