"""Several candidate sources for every edge of a layer, from which shares that can be learned choose one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nas.topologies._edges import Edges
from nas.topologies._graphs import Ends

Shares = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alternatives:
    """For every edge the sources among which it chooses, and its fixed place in the order of choosing.

    The edges belong to groups, and a row of shares belongs to each group: it divides [0, 1] into one
    interval per candidate, the lattice last. An edge takes the candidate in whose interval its `uniform`
    lies; so a group's number of edges on each candidate follows the shares exactly.

    Args:
        out_features: Number of output units.
        in_features: Number of input units.
        target: Output unit of every edge, ascending, int64 of shape `(E,)`.
        sources: Candidate sources of every edge, the lattice's last and ascending within a target, int64
            of shape `(C, E)`. The chosen sources of one target are distinct whatever is chosen.
        group: Group of every edge, int64 of shape `(E,)`.
        rank: A random permutation of `0 … n − 1` over the n edges of each group, int64 of shape `(E,)`.
        shares: Initial share of every candidate, all above 0, shape `(G, C)`; each row adds up to 1.
    """

    out_features: int
    in_features: int
    target: Ends
    sources: Ends
    group: Ends
    rank: Ends
    shares: Shares

    @property
    def uniform(self) -> NDArray[np.float64]:
        """`(rank + ½) / edges of the group`, shape `(E,)`."""
        return (self.rank + 0.5) / np.bincount(self.group)[self.group]

    def at(self, shares: Shares) -> Edges:
        """The exact graph at the shares, shape `(G, C)`."""
        cuts = np.cumsum(shares[:, :-1], axis=1)[self.group]
        choice = (self.uniform[:, None] >= cuts).sum(axis=1)
        source = np.take_along_axis(self.sources, choice[None], axis=0)[0]
        return Edges(self.out_features, self.in_features, self.target, source)


@runtime_checkable
class Learnable(Protocol):
    """A topology whose graph is chosen while the network is trained.

    The class attribute `learnable` is true, and `edges` gives the exact graph at the initial shares.
    """

    learnable: bool

    def candidates(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int = 0
    ) -> Alternatives:
        """What a layer chooses from; a function of its arguments."""
        ...


def in_order_of_the_lattice(target: Ends, sources: Ends) -> Ends:
    """The candidates `(C, E)` of each target in ascending order of their lattice sources, the last row."""
    return sources[:, np.lexsort((sources[-1], target))]
