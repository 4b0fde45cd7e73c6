"""Where wiring is used: connector, fusion, head, and any encoder's linear layers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nas
from nas.datasets import load_dataset
from nas.errors import KeyPathError
from nas.experiment import Training
from nas.modality import ModalitySpec, Task
from nas.objectives import Context
from nas.registry import load_plugins
from nas.space.assemble import assemble
from nas.sparse import SparseLinear, sparsify
from nas.training import train

MODALITIES = {
    "image": ModalitySpec("image", (1, 8, 8)),
    "text": ModalitySpec("text", (5,), vocabulary=7),
}
TASK = Task("classification", ("low", "middle", "high"))
SPARSIFY = {"topology": {"erdos_renyi": {"density": 0.1}}, "rewiring": "set"}
ARCHITECTURE: dict[str, Any] = {
    "dim": 16,
    "encoders": {
        "image": {"cnn": {"width": 8, "sparsify": SPARSIFY}},
        "text": {"attention": {"embedding": 16}},
    },
    "connector": "none",
    "fusion": "concat",
    "head": "linear",
}


def sparse_layers(module: nn.Module) -> dict[str, SparseLinear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, SparseLinear)}


def space(**slots: Any) -> Any:
    return assemble(ARCHITECTURE | {"present": "all"} | slots, MODALITIES)


@pytest.mark.parametrize(
    ("kind", "name", "given"),
    [
        ("connector", "small_world", {"dims": [8, 8], "layers": 3}),
        ("fusion", "small_world", {"dims": [8, 8]}),
        ("head", "sparse_mlp", {"in_dim": 16, "out_dim": 3}),
    ],
)
def test_every_sparse_layer_has_the_rule_that_was_asked_for_and_its_own(
    kind: str, name: str, given: dict[str, Any]
) -> None:
    static = sparse_layers(nas.create(kind, name, **given))
    assert {type(layer.rewiring).__name__ for layer in static.values()} == {"NoRewiring"}
    evolving = sparse_layers(nas.create(kind, name, **given, rewiring={"set": {"zeta": 0.2}}))
    assert len(evolving) == given.get("layers", 1)
    assert {layer.rewiring.zeta for layer in evolving.values()} == {0.2}
    assert len({id(layer.rewiring) for layer in evolving.values()}) == len(evolving)


@pytest.mark.parametrize(
    "slots",
    [
        {"connector": {"small_world": {}}},
        {"fusion": {"small_world": {}}},
        {"head": {"sparse_mlp": {}}},
    ],
)
def test_rewiring_is_searched_wherever_it_is_left_out(slots: dict[str, Any]) -> None:
    [(slot, component)] = slots.items()
    domains = dict(space(**slots).domains())
    assert set(domains[f"{slot}.{next(iter(component))}.rewiring"]) == set(nas.available("rewiring"))


def dense(layer: SparseLinear) -> np.ndarray:
    """The weights of a sparse layer as a matrix, one edge at a time."""
    matrix = np.zeros((layer.out_features, layer.in_features))
    for target, source, weight in zip(layer.target, layer.source, layer.weight.tolist(), strict=True):
        matrix[target, source] = weight
    return matrix


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def test_the_head_computes_its_formula() -> None:
    head = nas.create("head", "sparse_mlp", 16, 3, hidden=8, dropout=0.5).eval()
    nn.init.normal_(head.sparse.bias)
    x = torch.randn(5, 16)
    hidden = np.maximum(array(x) @ dense(head.sparse).T + array(head.sparse.bias), 0)
    expected = hidden @ array(head.linear.weight).T + array(head.linear.bias)
    np.testing.assert_allclose(array(head(x)), expected, atol=1e-5)


def test_the_connector_computes_its_formula() -> None:
    connector = nas.create("connector", "small_world", [6, 10], layers=2, dropout=0.5).eval()
    features = [torch.randn(5, 6), torch.randn(5, 10)]
    units = np.concatenate([array(part) for part in features], 1)
    for layer in connector.layers:
        nn.init.normal_(layer.bias)
        normed = (units - units.mean(1, keepdims=True)) / np.sqrt(units.var(1, keepdims=True) + 1e-5)
        units = units + np.maximum(normed @ dense(layer).T + array(layer.bias), 0)
    mixed = connector(features)
    np.testing.assert_allclose(array(torch.cat(mixed, 1)), units, atol=1e-5)
    assert [part.shape[1] for part in mixed] == [6, 10]


@pytest.mark.parametrize("layers", [0, -1, 1.5, None])
def test_a_connector_without_layers_is_refused(layers: Any) -> None:
    with pytest.raises(ValueError, match=f"layers must be a whole number of at least 1, not {layers}"):
        nas.create("connector", "small_world", dims=[4, 4], layers=layers)


@pytest.mark.parametrize("settings", [{}, {"topology": {"segmented": {"k": 4, "across": 0.5}}}])
def test_the_fusion_is_one_masked_product_without_a_bias(settings: dict[str, Any]) -> None:
    dims = [6, 10]
    fusion = nas.create("fusion", "small_world", dims=dims, **settings)
    features = [torch.randn(5, width) for width in dims]
    mask = torch.zeros(16, 16)
    mask[fusion.layer.target, fusion.layer.source] = fusion.layer.weight.detach()
    torch.testing.assert_close(fusion(features), torch.cat(features, 1) @ mask.t())
    assert sum(parameter.numel() for parameter in fusion.parameters()) == 16 * 4
    assert fusion.sparsity == 1 - 16 * 4 / 16**2


def test_the_fusion_has_one_ring_of_its_own_and_segments_in_another_topology() -> None:
    dims = [6, 10]
    ring = nas.create("fusion", "small_world", dims=dims, beta=0.0).layer.edges
    segments = nas.create("fusion", "small_world", dims=dims, topology={"ring": {"k": 4}}).layer.edges
    assert ring == nas.create("topology", "ring", k=4).edges(16, 16)
    assert segments == nas.create("topology", "ring", k=4).edges(16, 16, segments=dims)
    learned = nas.create("fusion", "small_world", dims=dims, topology="learnable_budgets").layer
    assert learned.budgets.shape == (2, 2)


def test_the_topology_of_the_fusion_takes_the_place_of_its_k_and_beta() -> None:
    def searched(**settings: Any) -> set[str]:
        base, fusion = "fusion.small_world.", {"small_world": settings | {"rewiring": "none"}}
        paths = [path for path, _ in space(fusion=fusion).domains()]
        return {path.removeprefix(base) for path in paths if path.startswith(base)}

    assert searched() == {"k", "beta"}
    assert searched(topology="watts_strogatz") == {
        "topology.watts_strogatz.k",
        "topology.watts_strogatz.beta",
    }
    assert searched(topology={"choice": [{"ring": {"k": 4}}, {"segmented": {"k": 4}}]}) == {
        "topology",
        "topology.segmented.across",
    }
    chosen = space(fusion={"small_world": {"topology": "ring", "rewiring": "none"}})
    assert assemble(chosen.to_data(), MODALITIES).to_data() == chosen.to_data()
    nas.build(chosen.sample(np.random.default_rng(0)), MODALITIES, TASK)
    with pytest.raises(KeyPathError, match=r"fusion\.small_world\.k: is given beside 'topology'"):
        space(fusion={"small_world": {"topology": "ring", "k": 4}})


def test_the_head_takes_only_topologies_of_rectangular_layers() -> None:
    offered = set(dict(space(head="sparse_mlp").domains())["head.sparse_mlp.topology"])
    assert offered >= {"erdos_renyi", "bipartite_small_world", "fan_in_small_world"}
    assert not offered & {"ring", "watts_strogatz"}
    with pytest.raises(KeyPathError, match="watts_strogatz"):
        space(head={"sparse_mlp": {"topology": "watts_strogatz"}})


@pytest.mark.parametrize("encoder", ["cnn", "attention"])
def test_sparsify_replaces_the_linear_layers_of_an_encoder(encoder: str) -> None:
    modality = "image" if encoder == "cnn" else "text"
    make = nas.create("encoder", encoder, spec=MODALITIES[modality], dim=16)
    shapes = {
        name: (part.in_features, part.out_features)
        for name, part in make.named_modules()
        if type(part) is nn.Linear
    }
    layers = sparse_layers(sparsify(make, SPARSIFY["topology"], SPARSIFY["rewiring"]))
    assert shapes
    assert {name: (layer.in_features, layer.out_features) for name, layer in layers.items()} == shapes
    assert not any(type(part) is nn.Linear for part in make.modules())
    assert all(layer.edges.density < 0.15 for layer in layers.values())


def test_sparsify_keeps_bias_type_mode_and_sharing() -> None:
    shared = nn.Linear(12, 12)
    module = nn.Sequential(shared, nn.ModuleDict({"again": shared}), nn.Linear(12, 3, bias=False))
    sparsify(module.double().eval(), "erdos_renyi")
    first, last = module[0], module[2]
    assert module[1]["again"] is first
    assert (first.bias is None, last.bias is None) == (False, True)
    assert first.weight.dtype == torch.float64
    assert not first.training
    assert module[2].edges != first.edges


def test_sparsify_leaves_what_is_read_as_a_dense_matrix() -> None:
    attention = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8))
    sparsify(attention, "erdos_renyi")
    x = torch.randn(2, 3, 8)
    assert attention[1](attention[0](x, x, x)[0]).shape == (2, 3, 8)


def test_sparsify_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Sequential holds no nn\.Linear"):
        sparsify(nn.Sequential(nn.ReLU()), "erdos_renyi")


def test_an_architecture_with_sparsify_is_a_point_of_its_space_and_builds() -> None:
    points = space()
    architecture = points.sample(np.random.default_rng(0))
    assert architecture in points
    chosen = architecture["encoders"]["image"]["cnn"]["sparsify"]
    network = nas.build(architecture, MODALITIES, TASK)
    [(name, layer)] = sparse_layers(network).items()
    assert name == "encoders.image.project"
    assert layer.rewiring.zeta == chosen["rewiring"]["set"]["zeta"]
    assert layer.edges.density == pytest.approx(0.1, abs=0.01)
    dense = nas.build(ARCHITECTURE | {"encoders": {"image": "cnn", "text": "attention"}}, MODALITIES, TASK)
    assert not sparse_layers(dense)


def test_what_sparsify_leaves_out_is_searched() -> None:
    domains = dict(space(encoders={"image": {"cnn": {"sparsify": {}}}, "text": "attention"}).domains())
    prefix = "encoders.image.cnn.sparsify"
    assert set(domains[f"{prefix}.rewiring"]) == set(nas.available("rewiring"))
    assert "erdos_renyi" in domains[f"{prefix}.topology"].options
    assert f"{prefix}.topology.erdos_renyi.density" in domains
    assert not any("sparsify" in path for path, _ in space(encoders={"text": "attention"}).domains())


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"topologie": "erdos_renyi"}, ("sparsify", "topologie")),
        ({"topology": "ring"}, ("sparsify", "topology")),
        ({"rewiring": "sett"}, ("sparsify", "rewiring")),
        (0.1, ("sparsify",)),
    ],
)
def test_a_wrong_sparsify_is_placed(data: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(KeyPathError) as error:
        space(encoders={"image": {"cnn": {"sparsify": data}}, "text": "attention"})
    assert error.value.path == ("encoders", "image", "cnn", *path)


def test_sparsify_belongs_to_encoders_alone() -> None:
    with pytest.raises(KeyPathError, match="sparsify"):
        space(head={"mlp": {"sparsify": SPARSIFY}})


def test_a_sparse_encoder_trains_evolves_and_counts_its_edges(toy: Any) -> None:
    load_plugins([toy])
    dataset = load_dataset("toy")
    network = nas.build(ARCHITECTURE, dataset.modalities, dataset.task)
    [layer] = sparse_layers(network).values()
    before, parameters = layer.edges, sum(weight.numel() for weight in network.parameters())
    sample = dataset.splits["train"].batch(torch.zeros(1, dtype=torch.long))
    sparsity = nas.create("objective", "sparsity")(Context(network, dataset.modalities, dataset.task, sample))
    saved = 16 * 16 - len(before)
    assert sparsity == pytest.approx(saved / (parameters + saved))
    train(network, dataset.splits["train"], dataset.splits["validation"], Training(epochs=2, batch_size=8), 0)
    assert layer.edges != before
    assert len(layer.edges) == len(before)
