"""The table: what every training of the closed space gave."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.datasets import load_dataset
from nas.documents import read_document
from nas.errors import RequestError
from nas.results.dominance import hypervolume, non_dominated
from nas.space import Architecture, SearchSpace
from nas.space.assemble import assemble

FILE = Path(__file__).with_name("small_world_bench.npz")
SEEDS = 3
TRAINING = {"epochs": 8, "batch_size": 64, "label_smoothing": 0.1}
CHEAP = ("parameters", "sparsity", "flops")


def closed_space() -> SearchSpace:
    """The closed space: 624 networks for the three modalities of `avt_digits`."""
    document = read_document(Path(__file__).with_name("space.yaml"))
    return assemble(document.data, load_dataset("avt_digits").modalities)


@dataclass(frozen=True)
class SmallWorldBench:
    """Every network of a closed space with what its trainings gave.

    Args:
        space: The closed space.
        accuracy: Accuracy on validation by architecture, seed and epoch, `(A, S, E)`.
        seconds: Time of every training, `(A, S)`.
        cheap: What is known before a training, by name: `(A,)` each.
        validation: Whether each sample of the validation split is right at the end, `(A, S, N)`.
        test: The same of the test split.
    """

    space: SearchSpace
    accuracy: NDArray[np.float64]
    seconds: NDArray[np.float64]
    cheap: dict[str, NDArray[np.float64]]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]

    @classmethod
    def load(cls, file: Path = FILE) -> "SmallWorldBench":
        """The table that ships with the package, or another that `nas.bench.build` has written.

        Raises:
            RequestError: The file belongs to another space.
        """
        space = closed_space()
        with np.load(file, allow_pickle=False) as stored:
            if list(stored["ids"]) != [architecture.id for architecture in space.points()]:
                raise RequestError(
                    f"{file} is the table of another space than {Path(__file__).parent}/space.yaml"
                )
            bits = {
                name: np.unpackbits(stored[name], axis=2)[..., : int(stored[f"{name}_samples"])].astype(bool)
                for name in ("validation", "test")
            }
            return cls(
                space,
                stored["accuracy"].astype(float),
                stored["seconds"].astype(float),
                {name: stored[name] for name in CHEAP},
                **bits,
            )

    @cached_property
    def index(self) -> dict[Architecture, int]:
        """Row of every architecture."""
        return {architecture: row for row, architecture in enumerate(self.space.points())}

    @property
    def epochs(self) -> int:
        """Epochs of every training."""
        return self.accuracy.shape[2]

    @property
    def seeds(self) -> int:
        """Trainings of every architecture."""
        return self.accuracy.shape[1]

    def known(self, architecture: Architecture) -> dict[str, float]:
        """What is known of an architecture before it is trained."""
        row = self.index[architecture]
        return {name: float(values[row]) for name, values in self.cheap.items()}

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Error, as the mean over the seeds, and logarithm of the parameters: `(A, 2)`."""
        return np.stack([1 - self.accuracy[..., -1].mean(1), np.log(self.cheap["parameters"])], 1)

    def coverage(self, architectures: Any) -> float:
        """Share of the whole table's hypervolume that some architectures reach.

        By the means over the seeds, whatever training has led to the choice: luck does not count. The
        reference point is the worst error and the most parameters of the table.
        """
        rows = [self.index[architecture] for architecture in architectures]
        return hypervolume(self.losses[rows], self._reference) / self._whole if rows else 0.0

    @cached_property
    def _reference(self) -> NDArray[np.float64]:
        return self.losses.max(0)

    @cached_property
    def _whole(self) -> float:
        return hypervolume(self.losses[non_dominated(self.losses)], self._reference)
