"""How the components of each slot do against each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.results.dominance import ranks
from nas.results.records import History
from nas.results.selections import selections


@dataclass(frozen=True)
class Standing:
    """One component of a slot in which the search had a choice.

    Args:
        slot: Where it stands in the architecture, as a path of keys.
        component: Its name.
        networks: How many trained networks have it.
        front: How many of them are on the front.
        wins: Share of the comparisons with networks that have another component there in which it has the
            better non-dominated rank; ties count half.
        best: Its best value of the first objective.
    """

    slot: str
    component: str
    networks: int
    front: int
    wins: float
    best: float


def standings(history: History) -> list[Standing]:
    """The components of every slot that had more than one, the best of each slot first."""
    candidates = history.candidates
    if not candidates:
        return []
    losses = [history.losses(candidate.values) for candidate in candidates]
    rank, members = ranks(losses), {member.number for member in history.front()}
    owners: dict[str, dict[str, list[int]]] = {}
    for place, candidate in enumerate(candidates):
        for slot, component in set(selections(candidate.architecture)):
            owners.setdefault(slot, {}).setdefault(component, []).append(place)
    first = next(iter(history.objectives))
    found = []
    for slot, components in owners.items():
        for component, own in components.items():
            others = [place for other, places in components.items() if other != component for place in places]
            if others:
                best = min(own, key=lambda place: losses[place][0])
                found.append(
                    Standing(
                        slot,
                        component,
                        len(own),
                        sum(candidates[place].number in members for place in own),
                        _wins(rank[own], np.sort(rank[others])),
                        candidates[best].values[first],
                    )
                )
    return sorted(found, key=lambda one: (one.slot, -one.wins, one.component))


def _wins(own: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Probability that one of `own` is smaller than one of the sorted `others`; ties count half."""
    below, up_to = (np.searchsorted(others, own, side=side) for side in ("left", "right"))
    return float(1 - (below + up_to).mean() / 2 / len(others))
