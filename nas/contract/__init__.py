"""The contract suite: what the engine relies on, checked on one component.

A plugin author runs `nas.check_component("fusion", "mean")`. Each point of the contract is one
short function that yields what is wrong; all violated points are reported together.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nas.contract import _datasets, _devices, _encoders, _fusions, _modules, _rewirings, _torchless
from nas.contract._cases import Case, ModuleCase, cases
from nas.contract._declarations import DOCSTRING, declarations
from nas.errors import RequestError, near_misses
from nas.registry import KINDS, create, get, hyper_parameters, unset

__all__ = ["ContractError", "check_component"]

_MODULE = _modules.POINTS | _devices.POINTS
_POINTS: dict[str, Mapping[str, Callable[[Any], Iterator[str]]]] = {
    "encoder": _MODULE | _encoders.POINTS,
    "connector": _MODULE,
    "fusion": _MODULE | _fusions.POINTS,
    "head": _MODULE,
    "topology": _torchless.TOPOLOGY_POINTS,
    "rewiring": _torchless.REWIRING_POINTS | _rewirings.POINTS,
    "objective": _torchless.OBJECTIVE_POINTS,
    "sampler": _torchless.SAMPLER_POINTS,
    "pruner": _torchless.PRUNER_POINTS,
    "logger": _torchless.LOGGER_POINTS,
}


class ContractError(Exception):
    """A component breaks its contract; the message lists every violated point."""


def check_component(kind: str, name: str, /, **settings: Any) -> None:
    """Run the contract suite on component `name` of `kind`.

    The component is built with its defaults, with samples of its domains and with every component
    that fits into it; each build has to keep every point of the contract of its kind. A dataset is
    loaded once, with the settings; where they say too little for that, only its class is looked at.

    Args:
        kind: One of the kinds of `nas.registry.KINDS`.
        name: Name of a registered component.
        **settings: Hyper-parameters to pin, or what the engine supplies (such as `dims`).

    Raises:
        ContractError: The contract is broken; every violated point is listed.
        RequestError: There is no such component, it has no such hyper-parameter, or it needs one.
    """
    component = get(kind, name)
    known = [*hyper_parameters(kind, component), *KINDS[kind].given]
    for key in settings.keys() - set(known):
        raise RequestError(f"{kind} {name!r} has no hyper-parameter {key!r}; {near_misses(key, known)}")
    if kind != "dataset" and (missing := unset(kind, component, settings)):
        raise RequestError(f"{kind} {name!r} needs values to be checked: {', '.join(missing)}")
    with torch.random.fork_rng(devices=[]):
        violations = list(_violations(kind, name, component, settings))
    if violations:
        lines = "".join(f"\n  - {violation}" for violation in dict.fromkeys(violations))
        raise ContractError(f"{kind} {name!r} breaks its contract:{lines}")


def _violations(kind: str, name: str, component: type, settings: dict[str, Any]) -> Iterator[str]:
    yield from _failures(DOCSTRING, (kind, component))
    misdeclared = _failures(declarations(kind), (kind, component))
    yield from misdeclared
    if misdeclared:
        return
    if kind == "dataset":
        if not unset(kind, component, settings):
            yield from _failures(_datasets.POINTS, create(kind, name, **settings))
        return
    reported = set()
    for case in cases(kind, name, component, settings):
        for failure in _case_failures(case):
            if failure not in reported:
                yield f"{failure} [{case}]"
            reported.add(failure)


def _case_failures(case: Case) -> list[str]:
    return _failures({"its domains sample and build": _builds}, case) or _failures(_POINTS[case.kind], case)


def _failures(points: Mapping[str, Callable[[Any], Iterator[str]]], subject: Any) -> list[str]:
    return [f"{claim}: {fault}" for claim, point in points.items() for fault in _faults(point, subject)]


def _faults(point: Callable[[Any], Iterator[str]], subject: Any) -> list[str]:
    try:
        return list(point(subject))
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


def _builds(case: Case) -> Iterator[str]:
    built = case.build()
    if isinstance(case, ModuleCase) and not isinstance(built, nn.Module):
        yield f"a {case.kind} is a torch.nn.Module, not a {type(built).__name__}"
