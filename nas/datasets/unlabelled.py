"""New samples: what a dataset keeps of its training split, so that others are read in the same way.

A dataset may offer this: `learnt`, JSON data, and a class method `unlabelled(source, learnt, modalities)`
that reads new samples with them, as `Unlabelled`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nas.datasets import Split
from nas.errors import RequestError
from nas.modality import Preprocessing
from nas.registry import get


@dataclass(frozen=True)
class Unlabelled:
    """Samples of which nobody says what they are.

    Args:
        split: All of them, in the order of their source; its labels mean nothing.
        bad: Why samples cannot be used, by their place; what the split has there means nothing.
        notes: What is to be said of the others.
    """

    split: Split
    bad: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_unlabelled(preprocessing: Preprocessing, source: str, modalities: Collection[str]) -> Unlabelled:
    """New samples, as inputs of a network that was trained on other samples.

    Args:
        preprocessing: That of the network.
        source: Where they are, as the dataset's own option `source` says it.
        modalities: Those that are needed; others need not be there.

    Raises:
        RequestError: The dataset cannot read new samples, or the source is not what it should be.
    """
    reader = getattr(get("dataset", preprocessing.dataset), "unlabelled", None)
    if reader is None or preprocessing.learnt is None:
        raise RequestError(
            f"the dataset {preprocessing.dataset} cannot read new samples: it offers no `learnt` and no "
            "`unlabelled`; prepare the inputs in Python, and call the network that nas.load(PATH) gives"
        )
    samples: Unlabelled = reader(source, preprocessing.learnt, modalities)
    return samples
