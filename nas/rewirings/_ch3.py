"""The CH3-L3 link predictor on the bipartite graph of a layer, for all positions or for some.

A path of length three from output u to input v runs over an input z′ of u and an output z of v that
are joined. All such z and z′ are the local community of (u, v), which scores
`Σ 1 / (1 + external links of z)`: those that lead neither to u or v nor into the community. For an
output z of v these are `degree(z) − |common inputs of z and u| − 1`, so one sparse or dense product
of the adjacency with its transpose gives them all.
"""

import torch
from torch import Tensor

# Terms of the scores that are summed at a time.
TERMS = 2**22


def all_scores(adjacency: Tensor) -> Tensor:
    """Scores of all positions, `(n_out, n_in)` like the adjacency; those of edges mean nothing."""
    return _half(adjacency) + _half(adjacency.t()).t()


def _half(adjacency: Tensor) -> Tensor:
    """The part of the community that is on the side of the rows."""
    common = adjacency @ adjacency.t()
    external = (adjacency.sum(1) - common).clamp_(min=1)  # one of them leads to v
    return (common > 0).to(adjacency).div_(external) @ adjacency


def scores(target: Tensor, source: Tensor, shape: tuple[int, int], wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Scores of some positions, from sparse products alone.

    Args:
        target: Output unit of every edge, shape `(E,)`.
        source: Input unit of every edge, shape `(E,)`.
        shape: Numbers of output and of input units.
        wanted: Output and input units of the positions, `(P,)` each.

    Returns:
        Scores, shape `(P,)`.
    """
    rows, columns = wanted
    return _half_at(target, source, shape, rows, columns) + _half_at(
        source, target, shape[::-1], columns, rows
    )


def _half_at(target: Tensor, source: Tensor, shape: tuple[int, int], rows: Tensor, columns: Tensor) -> Tensor:
    units, pairs, common = shape[0], *_common(target, source, shape)
    degree = torch.bincount(target, minlength=units)
    fan = torch.bincount(source, minlength=shape[1])
    neighbours, first = target[source.argsort(stable=True)], fan.cumsum(0) - fan
    total = torch.zeros(len(rows), device=rows.device)
    for part in torch.arange(len(rows), device=rows.device).split(max(1, TERMS // max(int(fan.max()), 1))):
        count = fan[columns[part]]
        position = part.repeat_interleave(count)
        within = torch.arange(len(position), device=rows.device) - (
            count.cumsum(0) - count
        ).repeat_interleave(count)
        other = neighbours[first[columns[position]] + within]
        key = rows[position] * units + other
        place = torch.searchsorted(pairs, key).clamp_(max=len(pairs) - 1)
        external = (degree[other] - common[place]).clamp_(min=1)
        total.index_add_(0, position, (pairs[place] == key) / external)
    return total


def _common(target: Tensor, source: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The pairs of outputs with a common input, `one · n_out + other` ascending, and how many they have."""
    ones = torch.ones(len(target), device=target.device)
    edges = torch.stack([target, source])
    adjacency = torch.sparse_coo_tensor(edges, ones, shape, check_invariants=False)
    common = torch.sparse.mm(adjacency, adjacency.t()).coalesce()
    one, other = common.indices()
    return one * shape[0] + other, common.values().long()
