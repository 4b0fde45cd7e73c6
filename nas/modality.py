"""What a network is told about its data: the modalities it reads, the task it solves, what precedes it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas.errors import near_misses


@dataclass(frozen=True)
class ModalitySpec:
    """One modality of a dataset.

    Args:
        kind: `image`, `audio`, `text` or `vector`; an encoder declares the kinds it reads.
        shape: Shape of one sample, without the batch axis: `(channels, height, width)` for images,
            `(1, mel bands, frames)` or a waveform `(channels, samples)` or `(samples,)` for audio,
            `(T,)` token ids for text, `(features,)` for vectors.
        vocabulary: Number of token ids of a text modality, padding (id 0) included.
        columns: Of a vector that was a table: how many of its numbers belong to each column, a category
            being several; None where each number is one.

    Raises:
        ValueError: The columns do not add up to the vector.
    """

    kind: str
    shape: tuple[int, ...]
    vocabulary: int | None = None
    columns: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        columns = self.columns
        if columns is not None and (min(columns, default=1) < 1 or (sum(columns),) != self.shape):
            raise ValueError(f"columns of {columns} numbers do not add up to the shape {self.shape}")

    def to_data(self) -> dict[str, Any]:
        """The value as JSON data."""
        data = asdict(self) | {"shape": list(self.shape)}
        columns = data.pop("columns")
        return data if columns is None else data | {"columns": list(columns)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "ModalitySpec":
        """The value from what `to_data` gave."""
        columns = data.get("columns")
        return cls(
            data["kind"],
            tuple(data["shape"]),
            data["vocabulary"],
            None if columns is None else tuple(columns),
        )


def encoder_misfit(encoder: type, spec: ModalitySpec) -> str | None:
    """Why an encoder cannot read a modality; None where it can.

    An encoder declares the `kinds` that it reads, and in `layouts` by kind the shapes: the least size of
    every axis, one tuple for each number of axes. Without layouts it reads every shape.

    Args:
        encoder: The class of the encoder.
        spec: The modality.
    """
    kinds = getattr(encoder, "kinds", ())
    if spec.kind not in kinds:
        return f"reads {' or '.join(kinds)}, not {spec.kind}"
    layouts = getattr(encoder, "layouts", {}).get(spec.kind)
    if layouts is None or any(_reaches(spec.shape, layout) for layout in layouts):
        return None
    wanted = " or ".join(map(str, layouts))
    return f"reads {spec.kind} samples of a shape of at least {wanted}, not {spec.shape}"


def check_spec(encoder: type, spec: ModalitySpec) -> None:
    """Raise ValueError unless the encoder can read the modality."""
    if reason := encoder_misfit(encoder, spec):
        raise ValueError(f"{encoder.__name__} {reason}")


def _reaches(shape: tuple[int, ...], least: tuple[int, ...]) -> bool:
    return len(shape) == len(least) and all(size >= low for size, low in zip(shape, least, strict=True))


TASKS = ("classification", "multilabel", "regression")


@dataclass(frozen=True)
class Task:
    """What the network has to predict.

    Args:
        kind: `classification` (labels are int64 class indices `(B,)`), `multilabel` (zeros and ones
            `(B, L)`) or `regression` (numbers `(B,)` or `(B, T)`).
        classes: Names of the classes, of the labels, or of the targets, in the order of the outputs.
        center: Mean of every target of a regression on the training split; `nas.load_dataset` measures
            it where it is not given.
        scale: Standard deviation of every target on the training split, likewise. The network learns
            standardised targets, and its outputs are in the targets' own units.

    Raises:
        ValueError: There is no such task, or a center or scale that does not fit its targets.
    """

    kind: str
    classes: tuple[str, ...]
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in TASKS:
            raise ValueError(f"{self.kind!r} is not a task; {near_misses(self.kind, TASKS)}")
        for name in ("center", "scale"):
            values = getattr(self, name)
            if values and (self.kind != "regression" or len(values) != len(self.classes)):
                raise ValueError(f"{name} has {len(values)} values for {len(self.classes)} {self.noun}")

    @property
    def out_dim(self) -> int:
        """Number of outputs of the head."""
        return len(self.classes)

    @property
    def noun(self) -> str:
        """What the outputs are called: classes, labels or targets."""
        return {"classification": "classes", "multilabel": "labels", "regression": "targets"}[self.kind]

    def to_data(self) -> dict[str, Any]:
        """The value as JSON data."""
        measured = {"center": list(self.center), "scale": list(self.scale)} if self.center else {}
        return {"kind": self.kind, "classes": list(self.classes)} | measured

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Task":
        """The value from what `to_data` gave."""
        measured = (tuple(data.get(name, ())) for name in ("center", "scale"))
        return cls(data["kind"], tuple(data["classes"]), *measured)


@dataclass(frozen=True)
class Preprocessing:
    """How samples become the inputs of a network that was trained on a dataset.

    Args:
        dataset: Name of the dataset component.
        learnt: What it has learnt from its training split, as JSON data; None where it offers nothing.
    """

    dataset: str
    learnt: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, name: str, dataset: Any) -> "Preprocessing":
        """That of a dataset which the component of a name has made."""
        return cls(name, getattr(dataset, "learnt", None))

    def to_data(self) -> dict[str, Any]:
        """The value as JSON data."""
        return {"dataset": self.dataset, "learnt": self.learnt}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Preprocessing":
        """The value from what `to_data` gave."""
        return cls(data["dataset"], data["learnt"])
