"""The scale-free graph of Barabási and Albert."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.checks import check_positive
from nas.registry import register
from nas.space.domains import Int
from nas.topologies._edges import Edges
from nas.topologies._graphs import Ends
from nas.topologies._topology import check_degree, segment_sizes


@register("topology", "barabasi_albert")
@dataclass(frozen=True)
class BarabasiAlbert:
    """Units arrive one by one and link to `m` others in proportion to their degree (Barabási & Albert 1999).

    It grows from a star of `m + 1` units. The order of arrival is a random one, so that the hubs,
    which are the first to come, fall into no segment in particular; segments change nothing else.
    The links are drawn as positions in the list of all ends so far (Batagelj & Brandes 2005), those of
    many units at once; links that a unit has twice are drawn again, also where it copies one that is
    drawn again itself. So with m above 1 the oldest few units are linked a little less by the rule.

    Args:
        m: Links of each new unit, at least 1.

    Raises:
        ValueError: `m` is below 1; on `edges`, the layer is not square or has at most `m` units.
    """

    domains: ClassVar = {"m": Int(1, 8)}
    rectangular: ClassVar[bool] = False

    m: int = 2

    def __post_init__(self) -> None:
        check_positive("m", self.m)

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Edges:
        """Edges of the square layer: both directions of `m · (N − m)` pairs."""
        segment_sizes("barabasi_albert", out_features, in_features, segments)
        check_degree("barabasi_albert", self.m, in_features, name_of_k="m")
        rng = np.random.default_rng(seed)
        newer, older = _grow(in_features, self.m, rng)
        unit = rng.permutation(in_features)
        return Edges.undirected(in_features, unit[newer], unit[older])


def _grow(units: int, m: int, rng: np.random.Generator) -> tuple[Ends, Ends]:
    """The newer and the older end of every pair, units numbered by their arrival."""
    newer = np.concatenate([np.arange(1, m + 1), np.repeat(np.arange(m + 1, units), m)])
    older = np.zeros(len(newer), dtype=np.int64)
    # Each block doubles the graph: few blocks, and redraws in the crowded early ones cost little.
    first = m + 1
    while first < units:
        last = min(max(first + 1, 2 * first), units)
        _grow_block(newer, older, first, last, m, rng)
        first = last
    return newer, older


def _grow_block(newer: Ends, older: Ends, first: int, last: int, m: int, rng: np.random.Generator) -> None:
    """Fill in the older ends of the units `first … last − 1`; those before are final.

    Position 2e of the list of ends is `newer[e]`, position 2e + 1 is `older[e]`: a draw of the
    latter within the block is followed to the draw it copies.
    """
    start, stop = m * (first - m), m * (last - m)
    ends_before = 2 * m * (newer[start:stop] - m)
    position = rng.integers(ends_before)
    while True:
        found = _follow(position, start)
        edge = found >> 1
        older[start:stop] = np.where(found & 1, older[edge], newer[edge])
        again = _later_duplicates(newer[start:stop] * last + older[start:stop])
        if not again.size:
            return
        position[again] = rng.integers(ends_before[again])


def _follow(position: Ends, start: int) -> Ends:
    found = position.copy()
    while True:
        copies = np.flatnonzero((found & 1).astype(bool) & (found >> 1 >= start))
        if not copies.size:
            return found
        found[copies] = position[(found[copies] >> 1) - start]


def _later_duplicates(keys: Ends) -> Ends:
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]
    return order[1:][ascending[1:] == ascending[:-1]]
