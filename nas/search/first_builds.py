"""Encoders that read files are built once ahead of a search: what is wrong with a file is told at once."""

from collections.abc import Mapping

import numpy as np

from nas.errors import KeyPathError, RequestError
from nas.modality import ModalitySpec
from nas.network import build_encoder
from nas.registry import get
from nas.space import Choice, SearchSpace
from nas.space.assemble import extremes
from nas.space.domains import Domain, Value
from nas.space.search_space import Group, Select

MOST = 8  # builds of one encoder; further values of its choices are left to the trials


def check_encoders(space: SearchSpace, modalities: Mapping[str, ModalitySpec]) -> None:
    """Build every encoder of a space that reads files, so that each value of its choices is met.

    Args:
        space: The space, with absolute paths.
        modalities: The dataset's modalities, by name.

    Raises:
        KeyPathError: One cannot be built; names the key path and the reason.
    """
    encoders, dim = space.root.children["encoders"], extremes(space.root.children["dim"])[0]
    assert isinstance(encoders, Group)
    for modality, slot in encoders.children.items():
        assert isinstance(slot, Select)
        for name, settings in slot.options.items():
            if getattr(get(slot.kind, name), "paths", ()):
                try:
                    _build(name, SearchSpace(settings), modalities[modality], dim)
                except Exception as error:  # whatever a library raises over its own files
                    known = isinstance(error, RequestError | ValueError)
                    reason = str(error) if known else f"{type(error).__name__}: {error}"
                    raise KeyPathError(("encoders", modality, name), reason) from error


def _build(name: str, settings: SearchSpace, spec: ModalitySpec, dim: int) -> None:
    rng = np.random.default_rng(0)
    counts = [len(domain.options) for _, domain in settings.domains() if isinstance(domain, Choice)]
    for turn in range(min(max(counts, default=1), MOST)):

        def choose(path: str, domain: Domain, turn: int = turn) -> Value:
            if isinstance(domain, Choice):
                return domain.options[turn % len(domain.options)]
            return domain.sample(rng)

        build_encoder({name: settings.draw(choose).to_data()}, spec, dim, 0)
