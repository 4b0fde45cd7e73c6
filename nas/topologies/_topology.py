"""What every topology is, and the checks of layer sizes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from nas.checks import check_share, is_int
from nas.topologies._edges import Edges, check_segments


@runtime_checkable
class Topology(Protocol):
    """A generator of edges, constructed from its hyper-parameters.

    The class attribute `rectangular` is true where `in_features` and `out_features` may differ.
    """

    @property
    def rectangular(self) -> bool:
        """Whether a layer of unequal sides can be wired."""
        ...

    def edges(
        self, out_features: int, in_features: int, *, segments: Sequence[int] | None = None, seed: int
    ) -> Edges:
        """Edges of a layer from `in_features` to `out_features` units; a function of its arguments."""
        ...


def segment_sizes(
    name: str, out_features: int, in_features: int, segments: Sequence[int] | None
) -> tuple[int, ...]:
    """The segments of a square layer, one of all units where none are given.

    Raises:
        ValueError: The layer is not square, or the segments do not add up to its units.
    """
    check_size(name, out_features, in_features)
    if out_features != in_features:
        raise ValueError(
            f"topology {name!r} wires units among themselves and needs in_features == out_features,"
            f" not {in_features} → {out_features}; for a rectangular layer use erdos_renyi,"
            " bipartite_small_world or fan_in_small_world"
        )
    if segments is None:
        return (in_features,)
    check_segments(segments, out_features, in_features)
    return tuple(segments)


def check_size(name: str, out_features: int, in_features: int) -> None:
    """Raise ValueError unless both sides of the layer have units."""
    for side, units in (("out_features", out_features), ("in_features", in_features)):
        if not is_int(units) or units < 1:
            raise ValueError(f"topology {name!r} needs {side} of at least 1, not {units!r}")


def check_density(value: object) -> None:
    """Raise ValueError unless `value` is a number of the interval (0, 1]."""
    check_share("density", value)
    if value == 0:
        raise ValueError("density must be above 0: a layer without edges passes nothing on")


def check_degree(name: str, k: int, units: int, name_of_k: str = "k") -> None:
    """Raise ValueError unless each of `units` units can have `k` neighbours."""
    if k >= units:
        raise ValueError(
            f"topology {name!r} joins each unit to {name_of_k} = {k} others, but the layer has"
            f" {units} units; pass {name_of_k} below {units}, or widen the layer"
        )
