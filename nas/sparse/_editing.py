"""Edits of a sparse layer's edges: weights and optimiser state go with the edges that stay."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nas.topologies import Edges

if TYPE_CHECKING:
    from nas.sparse.linear import SparseLinear


@torch.no_grad()
def rewire(
    layer: "SparseLinear", keep: Tensor | None, target: Tensor, source: Tensor, weight: Tensor | None
) -> None:
    """What `SparseLinear.rewire` does."""
    kept = _kept(layer, keep)
    weight = layer.weight.new_zeros(len(target)) if weight is None else weight.to(layer.weight)
    _check_ends(layer, target, source, weight)
    if not len(target) and len(kept) == len(layer.weight):
        return
    target = torch.cat([layer.target[kept], target.to(layer.target)])
    source = torch.cat([layer.source[kept], source.to(layer.source)])
    order = _order(layer, target, source)
    edges = Edges(
        layer.out_features, layer.in_features, target[order].cpu().numpy(), source[order].cpu().numpy()
    )
    states = _edge_states(layer)
    layer.set_edges(edges, torch.cat([layer.weight[kept], weight])[order])
    for state, name in states:
        state[name] = torch.cat([state[name][kept], state[name].new_zeros(len(weight))])[order]


def _kept(layer: "SparseLinear", keep: Tensor | None) -> Tensor:
    """Ascending indices of the edges that stay, from a mask or from indices."""
    count, device = len(layer.weight), layer.weight.device
    if keep is None:
        return torch.arange(count, device=device)
    keep = keep.to(device)
    if keep.dtype == torch.bool:
        if keep.shape != (count,):
            raise ValueError(f"a mask of {count} edges has shape ({count},), not {tuple(keep.shape)}")
        return keep.nonzero()[:, 0]
    kept = keep.long().unique()
    if len(kept) < keep.numel() or (len(kept) and not 0 <= kept[0] <= kept[-1] < count):
        raise ValueError(f"indices of the edges to keep must be distinct and within 0…{count - 1}")
    return kept


def _check_ends(layer: "SparseLinear", target: Tensor, source: Tensor, weight: Tensor) -> None:
    if not target.shape == source.shape == weight.shape or target.dim() != 1:
        shapes = ", ".join(str(tuple(ends.shape)) for ends in (target, source, weight))
        raise ValueError(
            f"target, source and weight of the new edges must be equally long lists, not {shapes}"
        )
    for name, ends, units in (("target", target, layer.out_features), ("source", source, layer.in_features)):
        if len(ends) and not 0 <= ends.min() <= ends.max() < units:
            raise ValueError(
                f"{name} {int(ends.min())}…{int(ends.max())} of the new edges is not within the {units} units"
            )


def _order(layer: "SparseLinear", target: Tensor, source: Tensor) -> Tensor:
    """The order by target and then by source."""
    positions, order = (target * layer.in_features + source).sort()
    twice = positions[1:][positions[1:] == positions[:-1]]
    if len(twice):
        one, other = divmod(int(twice[0]), layer.in_features)
        raise ValueError(
            f"the edge {other} → {one} is there already or grown twice; drop it, or grow another"
        )
    return order


def _edge_states(layer: "SparseLinear") -> list[tuple[dict[str, Tensor], str]]:
    """Where the optimiser keeps one number per edge, whatever it calls them."""
    if layer.optimizer is None:
        return []
    state = layer.optimizer.state.get(layer.weight, {})
    shape = layer.weight.shape
    return [
        (state, name) for name, value in state.items() if isinstance(value, Tensor) and value.shape == shape
    ]
