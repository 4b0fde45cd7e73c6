"""`SparseLinear`: a linear layer over the edges of a topology."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.registry import create
from nas.sparse._kernels import csr_product, dense_product, transformed
from nas.sparse._layout import Layout
from nas.sparse.backends import CSR_TYPES, Backend, Shape, calibrated, choose
from nas.topologies import Edges, Topology

Wiring = Topology | Edges | str | Mapping[str, Mapping[str, Any]]


class SparseLinear(nn.Module):
    """A linear layer with one weight per edge: `y[b, t] = bias[t] + Σ_e weight[e] · x[b, source[e]]`.

    The sum runs over the edges with target `t`. Edges are part of the state: a state_dict carries
    them, and loading one with other edges, more or fewer of them, rewires the layer.

    How the sum is computed is chosen by a fixed rule for every batch (`nas.sparse.backends`); set
    `backend` to "dense" or "csr" to decide it. Inside `torch.func` transforms, in exports and in
    other types than float32 and float64, autocast included, it is always dense.

    Args:
        in_features: Number of input units.
        out_features: Number of output units.
        topology: A topology, its name, `{name: {hyper-parameter: value}}`, or the `Edges` themselves.
        segments: Sizes of the consecutive segments of the units, for a square layer; they add up to
            its units. `None`: one segment.
        bias: Whether the layer has a bias.
        seed: Seed of the topology. The initial weights come from torch's global generator.

    Raises:
        ValueError: The topology cannot wire a layer of these sizes and segments, or the given edges
            belong to a layer of other sizes.
        RequestError: There is no topology of that name, or it has no such hyper-parameter.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    target: Tensor
    source: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        topology: Wiring,
        *,
        segments: Sequence[int] | None = None,
        bias: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backend: Backend | None = None
        self.rewiring: Any = None
        self.in_features = in_features
        self.out_features = out_features
        edges = _edges(topology, out_features, in_features, segments, seed)
        self.register_buffer("target", torch.empty(0, dtype=torch.int64))
        self.register_buffer("source", torch.empty(0, dtype=torch.int64))
        self.weight = nn.Parameter(torch.empty(0))
        self.set_edges(edges, torch.empty(len(edges)))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_features)) if bias else None)
        self.reset_parameters()

    @property
    def edges(self) -> Edges:
        """The edges, in the order of `weight`."""
        return self._edges

    @property
    def sparsity(self) -> float:
        """1 − number of edges / number of weights of the dense layer."""
        return 1 - self._edges.density

    @property
    def searching(self) -> bool:
        """Whether the wiring is learnable and not frozen yet."""
        return False

    def wiring_parameters(self) -> list[nn.Parameter]:
        """Parameters that decide the wiring; none once it is an exact graph."""
        return []

    def reset_parameters(self) -> None:
        """Draw weights and bias as `nn.Linear` does, with each output unit's own fan-in.

        Both are uniform within ±1/√fan_in; a layer with all edges gets the draws of `nn.Linear`.
        """
        fan_in = torch.bincount(self.target, minlength=self.out_features).clamp_(min=1)
        bound = fan_in.to(self.weight.dtype).rsqrt_()
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(bound[self.target])
            if self.bias is not None:
                self.bias.uniform_(-1, 1).mul_(bound)

    def set_edges(self, edges: Edges, weight: Tensor) -> None:
        """Replace the edges and, in place, their weights: `self.weight` stays the same parameter.

        Args:
            edges: New edges of a layer of these sizes.
            weight: Their weights, shape `(E,)`, in the order of `edges`.

        Raises:
            ValueError: The sizes of the layer or the number of the weights differ.
        """
        if (edges.out_features, edges.in_features) != (self.out_features, self.in_features):
            raise ValueError(
                f"the edges belong to a layer {edges.in_features} → {edges.out_features},"
                f" not {self.in_features} → {self.out_features}"
            )
        if weight.shape != (len(edges),):
            raise ValueError(f"{len(edges)} edges need weights of shape ({len(edges)},), not {weight.shape}")
        device = self.weight.device
        self._edges = edges
        self._layout: Layout | None = None
        self.target = torch.tensor(edges.target, device=device)
        self.source = torch.tensor(edges.source, device=device)
        self.weight.data = weight.detach().to(self.weight, copy=True)
        self.weight.grad = None

    def shape(self, batch: int) -> Shape:
        """What the choice of a backend depends on, for `batch` rows of input."""
        weight = self.weight
        edges = weight.shape[-1]
        return Shape(self.out_features, self.in_features, edges, batch, weight.device.type, weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in_features)` to `(..., out_features)`.

        Raises:
            ValueError: The last dimension of `x` is not `in_features`.
        """
        if x.shape[-1] != self.in_features:
            raise ValueError(f"the layer takes (..., {self.in_features}), not {tuple(x.shape)}")
        if transformed():  # perhaps many networks at once, each with its own edges
            positions = self.target * self.in_features + self.source
            return dense_product(x, self.weight, self.bias, positions, self.out_features)
        layout = self._current_layout()
        if self._runs_on_csr(x, layout):
            return csr_product(x, self.weight, self.bias, layout.pattern)
        return dense_product(x, self.weight, self.bias, layout.positions, self.out_features)

    def _current_layout(self) -> Layout:
        # The buffers are others after a move, and where a state is passed in for one call.
        target, source = self._buffers["target"], self._buffers["source"]
        layout = self._layout
        if layout is None or layout.target is not target or layout.source is not source:
            layout = self._layout = Layout(self.target, self.source, self.out_features, self.in_features)
        return layout

    def _runs_on_csr(self, x: Tensor, layout: Layout) -> bool:
        rows = x.numel() // self.in_features
        if self.backend is None and rows < layout.least_batch and not calibrated():
            return False  # small layers come here, and should not be kept waiting
        weight = self.weight
        if x.dtype != weight.dtype or x.dtype not in CSR_TYPES or torch.is_autocast_enabled(x.device.type):
            return False
        return (self.backend or choose(self.shape(rows))) == "csr"

    def __getstate__(self) -> dict[str, Any]:
        """The layer without what is derived from its edges: copies and pickles stay small."""
        return self.__dict__ | {"_layout": None}

    def extra_repr(self) -> str:
        """The line shown by `print`."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features},"
            f" edges={len(self._edges)}, bias={self.bias is not None}"
        )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        try:
            self._make_room(*(state_dict.get(prefix + name) for name in ("target", "source", "weight")))
        except ValueError as error:
            error_msgs.append(f"{prefix.rstrip('.') or 'the layer'}: {error}")
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _make_room(self, target: Tensor | None, source: Tensor | None, weight: Tensor | None) -> None:
        """Take over the edges of a state_dict, so that what it holds fits."""
        if target is None or source is None or weight is None:
            return  # reported as missing keys
        edges = Edges(self.out_features, self.in_features, target.cpu().numpy(), source.cpu().numpy())
        if not torch.equal(torch.from_numpy(edges.target.copy()), target.cpu()):
            raise ValueError("its edges must be ordered by target and then by source")
        self.set_edges(edges, weight)


def _edges(
    topology: Wiring, out_features: int, in_features: int, segments: Sequence[int] | None, seed: int
) -> Edges:
    if isinstance(topology, Edges):
        return topology
    generator = _create(topology) if isinstance(topology, str | Mapping) else topology
    return generator.edges(out_features, in_features, segments=segments, seed=seed)


def _create(topology: str | Mapping[str, Mapping[str, Any]]) -> Topology:
    named = {topology: {}} if isinstance(topology, str) else dict(topology)
    if len(named) != 1:
        raise ValueError(f"topology must be one name with its settings, not {named!r}")
    [(name, settings)] = named.items()
    generator: Topology = create("topology", name, **(settings or {}))
    return generator
