"""The contract suite: what the engine relies on, checked on one component.

A plugin author runs `nas.check_component("fusion", "mean")`. Each point of the contract is one
short function that yields what is wrong; all violated points are reported together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import RequestError, near_misses
from nas.modality import ModalitySpec
from nas.registry import KINDS, available, create, get, hyper_parameters
from nas.space import Component
from nas.topologies import Edges

Point: TypeAlias = Callable[[Any], Iterator[str]]
Points: TypeAlias = dict[str, Point]

SAMPLES = 4
SPECS = {
    "image": ModalitySpec("image", (3, 32, 32)),
    "audio": ModalitySpec("audio", (1, 32, 24)),
    "text": ModalitySpec("text", (12,), vocabulary=50),
    "vector": ModalitySpec("vector", (20,)),
}
DIM = 32
SEGMENTS = (DIM, DIM, DIM)


class ContractError(Exception):
    """A component breaks its contract; the message lists every violated point."""


def check_component(kind: str, name: str, **settings: Any) -> None:
    """Run the contract suite on component `name` of `kind`.

    The component is built with its defaults, with samples of its domains and with every component
    that fits into it; each build has to keep every point of the contract of its kind. Of a dataset
    only the class is looked at.

    Args:
        kind: One of the kinds of `nas.registry.KINDS`.
        name: Name of a registered component.
        **settings: Hyper-parameters to pin, or what the engine supplies (such as `dims`).

    Raises:
        ContractError: The contract is broken; every violated point is listed.
        RequestError: There is no such component, or it has no such hyper-parameter.
    """
    component = get(kind, name)
    known = [*hyper_parameters(kind, component), *KINDS[kind].given]
    for key in settings.keys() - set(known):
        raise RequestError(f"{kind} {name!r} has no hyper-parameter {key!r}; {near_misses(key, known)}")
    with torch.random.fork_rng(devices=[]):
        violations = list(_violations(kind, name, component, settings))
    if violations:
        lines = "".join(f"\n  - {violation}" for violation in dict.fromkeys(violations))
        raise ContractError(f"{kind} {name!r} breaks its contract:{lines}")


def _violations(kind: str, name: str, component: type, settings: dict[str, Any]) -> Iterator[str]:
    yield from _failures({"docstring": _has_docstring}, (kind, component))
    misdeclared = list(_failures(_DECLARATIONS | _DECLARATIONS_OF_KIND.get(kind, {}), (kind, component)))
    yield from misdeclared
    if misdeclared or kind == "dataset":
        return
    reported = set()
    for case in _cases(kind, name, component, settings):
        for failure in _failures(_POINTS[kind], case):
            if failure not in reported:
                yield f"{failure} [{case}]"
            reported.add(failure)


def _failures(points: Points, subject: Any) -> Iterator[str]:
    for claim, point in points.items():
        try:
            faults = list(point(subject))
        except Exception as error:
            faults = [f"{type(error).__name__}: {error}"]
        yield from (f"{claim}: {fault}" for fault in faults)
        if faults and claim == _BUILDS:
            return


_BUILDS = "its domains sample and build"
_DECLARATIONS: Points = {
    "its domains belong to its constructor": _domains_are_arguments,
    "its hyper-parameters can be left out or searched": _hyper_parameters_are_settable,
}
_DECLARATIONS_OF_KIND: dict[str, Points] = {
    "encoder": {"declares what it reads": _declares_kinds},
    "fusion": {"declares what it takes": _declares_modalities},
    "dataset": {"has the attributes of a dataset": _dataset_attributes},
}
_TORCH_POINTS: Points = {
    _BUILDS: _builds,
    "shapes": _shapes,
    "every parameter is registered and learns": _parameters_learn,
    "state_dict round trip": _state_restores,
    "deterministic in eval mode": _deterministic,
    "samples do not see each other in eval mode": _samples_are_apart,
}
_POINTS: dict[str, Points] = {
    "encoder": _TORCH_POINTS
    | {
        "padding takes no part": _padding_is_ignored,
        "a text without tokens is finite": _empty_texts_are_finite,
    },
    "connector": _TORCH_POINTS,
    "fusion": _TORCH_POINTS
    | {
        "absent modalities have no influence": _absent_do_not_matter,
        "gradients with absent modalities": _absent_leave_gradients,
        "nothing present": _nothing_present_is_finite,
        "all present is the same as present=None": _all_present_is_none,
        "return_gates": _gates_have_their_form,
        "no modality vanishes for a batch": _no_modality_vanishes,
    },
    "head": _TORCH_POINTS,
    "topology": {
        _BUILDS: _constructs,
        "its edges fit the layer": _edges_fit,
        "its edges follow the seed": _edges_follow_the_seed,
    },
    "rewiring": {_BUILDS: _constructs, "rewires": _has_method("step")},
    "objective": {_BUILDS: _constructs, "measures": _measures},
    "sampler": {_BUILDS: _constructs, "proposes": _has_method("propose")},
    "pruner": {_BUILDS: _constructs, "decides": _has_method("stops")},
}
