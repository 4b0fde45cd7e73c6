"""`SparseLinear`: a linear layer over the edges of a topology."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.registry import create_selected
from nas.sparse import _editing
from nas.sparse._kernels import csr_product, dense_product, transformed
from nas.sparse._layout import Layout
from nas.sparse._relaxation import Relaxation, beta_of, budgets_of, share_logits
from nas.sparse.backends import CSR_TYPES, Backend, Shape, calibrated, choose
from nas.topologies import Edges, Topology
from nas.topologies._alternatives import Alternatives, Learnable, Shares
from nas.topologies._edges import check_segments

Wiring = Topology | Edges | str | Mapping[str, Mapping[str, Any]]


class SparseLinear(nn.Module):
    """A linear layer with one weight per edge: `y[b, t] = bias[t] + Σ_e weight[e] · x[b, source[e]]`.

    The sum runs over the edges with target `t`. Edges are part of the state: a state_dict carries
    them, and loading one with other edges, more or fewer of them, rewires the layer.

    With a learnable topology the layer first searches: every edge reads from all its candidate sources,
    with its one weight, to shares that are learned with the weights. That costs a parameter per free
    share, E + 1 with one beta, counted as such in the layer's parameters. `freeze` ends the search, and
    the layer is like any other. A state_dict says whether its layer searches.

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
        rewiring: The rule that changes the edges in training: a rewiring, its name, or `{name:
            {hyper-parameter: value}}`; the layer gets one of its own. `None`: the edges stay.
        seed: Seed of the topology. The initial weights come from torch's global generator.

    Raises:
        ValueError: The topology cannot wire a layer of these sizes and segments, or the given edges
            belong to a layer of other sizes.
        RequestError: There is no topology or rewiring of that name, it has no such hyper-parameter, or
            what is given is none.
    """

    segments: list[int] | None  # of the units, for measures and pictures
    weight: nn.Parameter
    bias: nn.Parameter | None
    target: Tensor
    source: Tensor
    share_logits: Any  # a parameter in a search, a buffer after it, None where nothing is learned
    relaxation: Relaxation | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        topology: Wiring,
        *,
        segments: Sequence[int] | None = None,
        bias: bool = True,
        rewiring: Any | str | Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backend: Backend | None = None
        self.rewiring = _rule(rewiring)
        self.optimizer: torch.optim.Optimizer | None = None
        self.in_features = in_features
        self.out_features = out_features
        self.segments = None if segments is None else list(segments)
        generator = _generator(topology)
        self.topology = None if isinstance(generator, Edges) else generator
        edges, alternatives = _edges(generator, out_features, in_features, segments, seed)
        self.relaxation = None
        self.register_buffer("target", torch.empty(0, dtype=torch.int64))
        self.register_buffer("source", torch.empty(0, dtype=torch.int64))
        self.weight = nn.Parameter(torch.empty(0))
        self.set_edges(edges, torch.empty(len(edges)))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_features)) if bias else None)
        self.register_buffer("share_logits", None)
        if alternatives is not None:
            self._search(alternatives, alternatives.shares)
        self.reset_parameters()

    @property
    def edges(self) -> Edges:
        """The edges, in the order of `weight`.

        In a search: those of the exact graph at the current shares, while the weights are in the order
        of the lattice, where each edge starts.
        """
        if self.relaxation is not None:
            return self.relaxation.exact(self.share_logits)
        return self._edges

    @property
    def sparsity(self) -> float:
        """1 − number of edges / number of weights of the dense layer."""
        return 1 - self._edges.density

    @property
    def final_edges(self) -> int:
        """How many edges there will be after the training: as many as now, unless the rule prunes."""
        rule = self.rewiring
        return rule.final_edges(self) if hasattr(rule, "final_edges") else self.weight.shape[-1]

    @property
    def searching(self) -> bool:
        """Whether the wiring is learnable and not frozen yet."""
        return self.relaxation is not None

    @property
    def beta(self) -> Tensor | None:
        """Share of the edges that are not on the lattice; None where it was never learned.

        A scalar, or of shape `(S,)` where every segment has its own. It carries a gradient during the
        search; then it stays what it was when the wiring was frozen, whatever rewires the edges later.
        """
        return None if self.share_logits is None else beta_of(self.share_logits)

    @property
    def budgets(self) -> Tensor | None:
        """Share of each segment's edges (rows) that come from each segment, `(S, S)`; rows add up to 1.

        On the diagonal is the lattice. None where the topology does not learn them, else as `beta`.
        """
        return None if self.share_logits is None else budgets_of(self.share_logits)

    def wiring_parameters(self) -> list[nn.Parameter]:
        """Parameters that decide the wiring; none once it is an exact graph."""
        return [self.share_logits] if self.searching else []

    def anneal(self, progress: float) -> None:
        """Make the choices of a search more decided as it goes on; nothing happens without one.

        The temperature falls linearly from 0.7 to 0.1 over the first 80 % of the search, and then to 0.03.

        Args:
            progress: How much of the search is over, 0 to 1.

        Raises:
            ValueError: `progress` is not within [0, 1].
        """
        if self.relaxation is not None:
            self.relaxation.anneal(progress)

    def freeze(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """End a search: the wiring becomes the exact graph at the learned shares, and they are no parameters.

        Weights stay with their edges. Nothing happens without a search.

        Args:
            optimizer: Optimiser of the layer, which forgets the shares. What it keeps for each weight is
                set to 0 for edges that leave the lattice, and goes with the others.

        Raises:
            RuntimeError: The exact graph has another number of edges, which would be a defect.
        """
        if self.relaxation is None:
            return
        count, logits = len(self.weight), self.share_logits
        source = self.relaxation.chosen(logits)
        moved = source != self.source
        self.relaxation = None
        self._set_share_logits(logits.detach())
        self.optimizer = optimizer or self.optimizer
        self.rewire(~moved, self.target[moved], source[moved], self.weight[moved])
        if len(self.weight) != count:
            raise RuntimeError(f"freezing {count} edges has left {len(self.weight)}")
        if optimizer is not None:
            _forget(optimizer, logits)

    def restart(self, beta: float, seed: int) -> None:
        """Begin a search anew: from another beta, among other random sources, with new weights.

        Nothing happens without a search.

        Args:
            beta: Share of the edges that leave the lattice where the search starts.
            seed: Seed of the topology.

        Raises:
            ValueError: `beta` is not strictly between 0 and 1.
        """
        if self.relaxation is None:
            return
        assert self.topology is not None
        edges, found = _edges(self.topology, self.out_features, self.in_features, self.segments, seed)
        assert found is not None
        shares = found.starting_at(beta)
        self.relaxation = None
        self.set_edges(edges, self.weight.new_empty(len(edges)))
        self._search(found, shares)
        self.reset_parameters()

    def _search(self, found: Alternatives, shares: Shares) -> None:
        """Choose among the candidates from now on, starting at the shares."""
        self.relaxation = Relaxation.of(found).to(self.weight.device)
        self._set_share_logits(nn.Parameter(share_logits(torch.tensor(shares)).to(self.weight)))

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
            ValueError: The sizes of the layer or the number of the weights differ, or the wiring is
                still searched.
        """
        if (edges.out_features, edges.in_features) != (self.out_features, self.in_features):
            raise ValueError(
                f"the edges belong to a layer {edges.in_features} → {edges.out_features},"
                f" not {self.in_features} → {self.out_features}"
            )
        if weight.shape != (len(edges),):
            raise ValueError(f"{len(edges)} edges need weights of shape ({len(edges)},), not {weight.shape}")
        if self.searching:
            raise ValueError("the wiring of the layer is still searched; call freeze() before changing it")
        device, dtype = self.weight.device, self.weight.dtype
        self._edges = edges
        self._layout: Layout | None = None
        self.target = torch.tensor(edges.target, device=device)
        self.source = torch.tensor(edges.source, device=device)
        self.weight.grad = None
        if weight.shape != self.weight.shape:
            # While a graph of the old edges lives, torch expects gradients of the old shape, unless
            # the type of the parameter has changed in between.
            other = torch.float16 if dtype == torch.bfloat16 else torch.bfloat16
            self.weight.data = self.weight.new_empty(0, dtype=other)
        self.weight.data = weight.detach().to(device, dtype, copy=True)

    def rewire(
        self,
        keep: Tensor | None = None,
        target: Tensor | Sequence[int] = (),
        source: Tensor | Sequence[int] = (),
        weight: Tensor | None = None,
    ) -> None:
        """Drop edges and grow others; the weights and what the optimiser knows follow the edges.

        `self.weight` stays the same parameter and loses its gradient. In the state of
        `self.optimizer`, which the training sets, every tensor with one number per edge goes with
        the edges that stay and is 0 for the new ones; all else in it stays as it is. An edge that is
        dropped and grown at once is a new one.

        Args:
            keep: The edges that stay: a mask of shape `(E,)`, or indices. `None`: all.
            target: Output units of the new edges, shape `(G,)`, in any order.
            source: Input units of the new edges, shape `(G,)`.
            weight: Weights of the new edges, shape `(G,)`; `None`: 0.

        Raises:
            ValueError: A new edge is there already, is given twice or joins a unit that does not
                exist, the shapes differ, or the wiring is still searched.
        """
        one, other = torch.as_tensor(target, dtype=torch.int64), torch.as_tensor(source, dtype=torch.int64)
        _editing.rewire(self, keep, one, other, weight)

    def shape(self, batch: int) -> Shape:
        """What the choice of a backend depends on, for `batch` rows of input."""
        weight = self.weight
        edges = weight.shape[-1] if self.relaxation is None else len(self.relaxation.layout.target)
        return Shape(self.out_features, self.in_features, edges, batch, weight.device.type, weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in_features)` to `(..., out_features)`.

        Raises:
            ValueError: The last dimension of `x` is not `in_features`.
        """
        if x.shape[-1] != self.in_features:
            raise ValueError(f"the layer takes (..., {self.in_features}), not {tuple(x.shape)}")
        if self.relaxation is not None:
            return self._relaxed(x, self.relaxation)
        if transformed():  # perhaps many networks at once, each with its own edges
            positions = self.target * self.in_features + self.source
            return dense_product(x, self.weight, self.bias, positions, self.out_features)
        return self._product(x, self.weight, self._current_layout())

    def _relaxed(self, x: Tensor, relaxation: Relaxation) -> Tensor:
        """The output of a layer that searches: every edge reads from all its candidates."""
        if transformed():
            return relaxation.product(x, self.weight, self.bias, self.share_logits)
        return self._product(x, relaxation(self.weight, self.share_logits), relaxation.layout)

    def _product(self, x: Tensor, weight: Tensor, layout: Layout) -> Tensor:
        if self._runs_on_csr(x, layout):
            return csr_product(x, weight, self.bias, layout.pattern)
        return dense_product(x, weight, self.bias, layout.positions, self.out_features)

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
        """The layer without what is derived from its edges, and without its optimiser."""
        return self.__dict__ | {"_layout": None, "optimizer": None}

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
        self.relaxation = None  # the state decides whether the wiring is searched
        try:
            self._make_room(*(state_dict.get(prefix + name) for name in ("target", "source", "weight")))
        except ValueError as error:
            error_msgs.append(f"{prefix.rstrip('.') or 'the layer'}: {error}")
            return
        self._take_over_search(state_dict, prefix, missing_keys)
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

    def _take_over_search(
        self, state_dict: Mapping[str, Tensor], prefix: str, missing_keys: list[str]
    ) -> None:
        """Search, or not, as the layer of a state_dict does."""
        names = {name: f"{prefix}relaxation.{name}" for name in Relaxation.buffer_names}
        if not state_dict.keys().isdisjoint(names.values()):
            whole = [prefix + "share_logits", *names.values()]
            missing_keys += [key for key in whole if key not in state_dict]
        logits = state_dict.get(prefix + "share_logits")
        if logits is not None:
            logits = torch.empty_like(logits, device=self.weight.device, dtype=self.weight.dtype)
        if logits is not None and all(name in state_dict for name in names.values()):
            buffers = {
                name: torch.empty_like(state_dict[key], device=self.weight.device)
                for name, key in names.items()
            }
            self.relaxation = Relaxation(buffers, self.out_features, self.in_features)
            logits = nn.Parameter(logits)
        if not _alike(logits, self.share_logits):
            self._set_share_logits(logits)

    def _set_share_logits(self, logits: Tensor | None) -> None:
        """Keep the logits of the shares: parameters in a search, a buffer afterwards."""
        del self.share_logits
        if isinstance(logits, nn.Parameter):
            self.register_parameter("share_logits", logits)
        else:
            self.register_buffer("share_logits", logits)


def _generator(topology: Any) -> Topology | Edges:
    """The topology that is given by its name, or the one that is given."""
    given = isinstance(topology, Edges) or hasattr(topology, "edges")
    chosen: Topology | Edges = topology if given else create_selected("topology", topology)
    return chosen


def _edges(
    topology: Topology | Edges, out_features: int, in_features: int, segments: Sequence[int] | None, seed: int
) -> tuple[Edges, Alternatives | None]:
    """The edges of the layer; with a learnable topology the lattice, and what else they may be."""
    if segments is not None:
        check_segments(segments, out_features, in_features)
    if isinstance(topology, Edges):
        return topology, None
    if getattr(topology, "learnable", False) and isinstance(topology, Learnable):
        found = topology.candidates(out_features, in_features, segments=segments, seed=seed)
        if len(found.sources) > 1:
            return found.lattice, found
    return topology.edges(out_features, in_features, segments=segments, seed=seed), None


def _alike(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether both are a parameter, or a buffer, of the same shape, or nothing."""
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and one.shape == other.shape


def _forget(optimizer: torch.optim.Optimizer, parameter: Tensor) -> None:
    """Take a parameter out of an optimiser; its group stays, as schedules count groups."""
    for group in optimizer.param_groups:
        group["params"] = [other for other in group["params"] if other is not parameter]
    optimizer.state.pop(parameter, None)


def _rule(rewiring: Any) -> Any:
    """A rule of the layer's own: rules remember what they did."""
    given = rewiring is None or hasattr(rewiring, "step")
    return copy.deepcopy(rewiring) if given else create_selected("rewiring", rewiring)
