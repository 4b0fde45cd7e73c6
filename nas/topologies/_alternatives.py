"""Several candidate sources for every edge of a layer, from which shares that can be learned choose one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nas.checks import check_share
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
        target: Output unit of every edge, int64 of shape `(E,)`; the edges are put in order of the
            target and then of the lattice source.
        sources: Candidate sources of every edge, the lattice's last, int64 of shape `(C, E)`. The
            sources of one target are distinct whatever its edges choose.
        group: Group of every edge, int64 of shape `(E,)`.
        uniform: `(π(e) + ½) / n` with a permutation π of the n edges of each group, shape `(E,)`.
        shares: Initial share of every candidate, all above 0, shape `(G, C)`; each row adds up to 1.
    """

    out_features: int
    in_features: int
    target: Ends
    sources: Ends
    group: Ends
    uniform: NDArray[np.float64]
    shares: Shares

    def __post_init__(self) -> None:
        order = np.lexsort((self.sources[-1], self.target))  # that of the lattice's `Edges`
        for name in ("target", "group", "uniform"):
            object.__setattr__(self, name, getattr(self, name)[order])
        object.__setattr__(self, "sources", self.sources.take(order, axis=1))

    def starting_at(self, beta: float) -> Shares:
        """The initial shares with `beta` off the lattice, divided among the other candidates as they are.

        Raises:
            ValueError: `beta` is not strictly between 0 and 1.
        """
        check_start(beta)
        others = self.shares[:, :-1]
        moved = beta * others / others.sum(axis=1, keepdims=True)
        return np.column_stack([moved, np.full(len(moved), 1 - beta)])

    @property
    def lattice(self) -> Edges:
        """The graph in which every edge is on the lattice."""
        return Edges(self.out_features, self.in_features, self.target, self.sources[-1])

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


def check_start(beta: object) -> None:
    """Raise ValueError unless `beta` is a number strictly between 0 and 1."""
    check_share("beta", beta)
    if beta in (0, 1):
        raise ValueError(f"beta must lie strictly between 0 and 1 to be learned, not at {beta!r}")
