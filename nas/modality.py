"""What a network is told about its data: the modalities it reads and the task it solves."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ModalitySpec:
    """One modality of a dataset.

    Args:
        kind: `image`, `audio`, `text` or `vector`; an encoder declares the kinds it reads.
        shape: Shape of one sample, without the batch axis: `(channels, height, width)` for
            images, `(1, mel bands, frames)` for audio, `(T,)` token ids for text.
        vocabulary: Number of token ids of a text modality, padding (id 0) included.
    """

    kind: str
    shape: tuple[int, ...]
    vocabulary: int | None = None

    def to_data(self) -> dict[str, Any]:
        """The value as JSON data."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "ModalitySpec":
        """The value from what `to_data` gave."""
        return cls(data["kind"], tuple(data["shape"]), data["vocabulary"])


@dataclass(frozen=True)
class Task:
    """What the network has to predict.

    Args:
        kind: `classification`.
        classes: Names of the classes, in the order of their indices.
    """

    kind: str
    classes: tuple[str, ...]

    @property
    def out_dim(self) -> int:
        """Number of outputs of the head."""
        return len(self.classes)

    def to_data(self) -> dict[str, Any]:
        """The value as JSON data."""
        return {"kind": self.kind, "classes": list(self.classes)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Task":
        """The value from what `to_data` gave."""
        return cls(data["kind"], tuple(data["classes"]))
