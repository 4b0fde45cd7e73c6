"""The sparse layer is the masked dense layer, in less memory."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nas.errors import RequestError
from nas.sparse import SparseLinear, backends
from nas.sparse.backends import BACKENDS, Backend, Shape
from nas.topologies import Edges

both = pytest.mark.parametrize("backend", BACKENDS)
quick = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def wirings(draw: st.DrawFn) -> Edges:
    """Any edges of any small layer: also none at all, units without edges, and complete ones."""
    out_features, in_features = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    positions = out_features * in_features
    flat = draw(st.sets(st.integers(0, positions - 1)) | st.just(set(range(positions))))
    keys = np.array(sorted(flat), dtype=np.int64)
    return Edges(out_features, in_features, keys // in_features, keys % in_features)


leading = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def sparse(edges: Edges, backend: Backend | None, dtype: torch.dtype = torch.float64) -> SparseLinear:
    layer = SparseLinear(edges.in_features, edges.out_features, edges).to(dtype)
    layer.backend = backend
    return layer


def masked(layer: SparseLinear) -> tuple[Tensor, Tensor]:
    """The dense weight and mask with which `functional.linear` is the same layer."""
    mask = torch.from_numpy(layer.edges.mask())
    weight = torch.zeros(mask.shape, dtype=layer.weight.dtype)
    weight[mask] = layer.weight.detach()  # the edges are in the order of a row-major mask
    return weight.requires_grad_(), mask


def ring(units: int, k: int = 4, **kwargs: Any) -> SparseLinear:
    return SparseLinear(units, units, {"ring": {"k": k}}, **kwargs)


@both
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_output_and_all_gradients_equal_the_masked_dense_layer(
    backend: Backend, dtype: torch.dtype, tolerance: float
) -> None:
    @quick
    @given(edges=wirings(), shape=leading, seed=st.integers(0, 2**31))
    def check(edges: Edges, shape: tuple[int, ...], seed: int) -> None:
        torch.manual_seed(seed)
        layer = sparse(edges, backend, dtype)
        weight, mask = masked(layer)
        x = torch.randn(*shape, edges.in_features, dtype=dtype, requires_grad=True)
        expected = functional.linear(x, weight * mask, layer.bias)
        y = layer(x)
        gradient = torch.randn_like(y)
        wanted = torch.autograd.grad(expected, (x, weight, layer.bias), gradient)
        found = torch.autograd.grad(y, (x, layer.weight, layer.bias), gradient)
        assert y.shape == expected.shape
        assert y.is_contiguous()
        pairs = [(y, expected), (found[0], wanted[0]), (found[1], wanted[1][mask]), (found[2], wanted[2])]
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)

    check()


@both
@pytest.mark.parametrize("units", [300, 1100])
def test_wide_layers_equal_the_masked_dense_layer(backend: Backend, units: int) -> None:
    torch.manual_seed(0)
    layer = SparseLinear(units, units - 7, {"erdos_renyi": {"density": 0.03}})
    layer.backend = backend
    weight, mask = masked(layer)
    x = torch.randn(33, units, requires_grad=True)
    torch.testing.assert_close(
        layer(x), functional.linear(x, weight * mask, layer.bias), rtol=1e-5, atol=1e-5
    )


@both
@pytest.mark.parametrize("bias", [True, False])
def test_first_and_second_derivatives_match_finite_differences(backend: Backend, bias: bool) -> None:
    torch.manual_seed(0)
    layer = SparseLinear(5, 4, {"erdos_renyi": {"density": 0.4}}, bias=bias, seed=1).double()
    layer.backend = backend
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in layer.parameters()]

    def function(x: Tensor, *values: Tensor) -> Tensor:
        layer._parameters.update(zip(names, values, strict=True))
        return layer(x)

    assert torch.autograd.gradcheck(function, (x, *values))
    assert torch.autograd.gradgradcheck(function, (x, *values))


@both
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_training_follows_the_masked_dense_layer_step_by_step(
    backend: Backend, optimizer: type[torch.optim.Optimizer]
) -> None:
    torch.manual_seed(0)
    layer = ring(12).double()
    layer.backend = backend
    weight, mask = masked(layer)
    bias = layer.bias.detach().clone().requires_grad_()
    ours = optimizer(layer.parameters(), lr=0.05)
    theirs = optimizer([weight, bias], lr=0.05)
    x, y = torch.randn(20, 12).double(), torch.randn(20, 12).double()
    for _ in range(5):
        for optim, net in ((ours, layer), (theirs, lambda x: functional.linear(x, weight * mask, bias))):
            optim.zero_grad()
            functional.mse_loss(net(x), y).backward()
            optim.step()
    torch.testing.assert_close(layer.weight.detach(), weight.detach()[mask], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.bias.detach(), bias.detach(), rtol=1e-10, atol=1e-10)


@both
def test_results_repeat_to_the_bit(backend: Backend) -> None:
    def run() -> list[Tensor]:
        torch.manual_seed(0)
        layer = SparseLinear(300, 200, {"erdos_renyi": {"density": 0.05}})
        layer.backend = backend
        x = torch.randn(40, 300, requires_grad=True)
        y = layer(x)
        return [y, *torch.autograd.grad(y.pow(2).sum(), (x, *layer.parameters()))]

    assert all(torch.equal(one, other) for one, other in zip(run(), run(), strict=True))


def test_optimiser_state_has_the_size_of_the_edges() -> None:
    layer = ring(50, bias=False)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.randn(3, 50)).sum().backward()
    optimizer.step()
    assert optimizer.state[layer.weight]["exp_avg"].shape == (200,)


def test_a_layer_with_all_edges_starts_as_nn_linear_does() -> None:
    every = Edges(7, 5, *np.divmod(np.arange(35), 5))
    torch.manual_seed(3)
    dense = nn.Linear(5, 7)
    torch.manual_seed(3)
    layer = SparseLinear(5, 7, every)
    torch.testing.assert_close(layer.weight.view(7, 5), dense.weight)
    torch.testing.assert_close(layer.bias, dense.bias)


def test_initial_weights_fill_the_bound_of_each_units_own_fan_in() -> None:
    torch.manual_seed(0)
    fans = np.array([4, 400])
    edges = Edges(2, 400, np.repeat([0, 1], fans), np.concatenate([np.arange(n) for n in fans]))
    wide = SparseLinear(400, 2, edges).weight.detach()[4:]
    assert 0.9 / 20 < wide.abs().max() <= 1 / 20
    few = torch.stack([SparseLinear(400, 2, edges).weight.detach()[:4] for _ in range(100)])
    assert 0.9 / 2 < few.abs().max() <= 1 / 2


@both
def test_a_state_dict_of_other_edges_rewires_the_layer(backend: Backend) -> None:
    x = torch.randn(4, 30)
    few, many = ring(30, k=2), SparseLinear(30, 30, {"watts_strogatz": {"k": 8, "beta": 0.5}}, seed=3)
    few.backend = many.backend = backend
    few(x)  # what is derived from the old edges exists by now
    parameter = few.weight
    few.load_state_dict(many.state_dict())
    assert few.edges == many.edges
    assert few.weight is parameter  # an optimiser still holds it
    assert torch.equal(few(x), many(x))
    few(x).sum().backward()
    assert few.weight.grad.shape == many.weight.shape


def test_a_state_dict_survives_the_disk_inside_a_network() -> None:
    net = nn.Sequential(ring(20), nn.ReLU(), SparseLinear(20, 6, "erdos_renyi"))
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = nn.Sequential(ring(20, k=6), nn.ReLU(), SparseLinear(20, 6, "erdos_renyi", seed=9))
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(3, 20)
    assert torch.equal(net(x), other(x))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": torch.zeros(3)}, "need weights of shape"),
        ({"source": torch.full((120,), 99)}, "is not within the 30 units"),
        ({"target": torch.zeros(120, dtype=torch.int64)}, "given twice"),
    ],
)
def test_a_broken_state_dict_is_refused_and_changes_nothing(change: dict[str, Tensor], said: str) -> None:
    layer = ring(30)
    before = copy.deepcopy(layer)
    with pytest.raises(RuntimeError, match=said):
        layer.load_state_dict(layer.state_dict() | change)
    assert layer.edges == before.edges
    assert torch.equal(layer.weight, before.weight)


@both
def test_copies_and_pickles_compute_the_same_and_live_their_own_lives(backend: Backend) -> None:
    layer, x = ring(30), torch.randn(4, 30)
    layer.backend = backend
    y = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), y)
        assert twin.edges == layer.edges
        twin.weight.data.zero_()
        assert torch.equal(layer(x), y)


@both
def test_a_layer_moves_between_types_after_it_has_been_used(backend: Backend) -> None:
    layer, x = ring(30), torch.randn(4, 30)
    layer.backend = backend
    y = layer(x)
    wide = layer.double()(x.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), y)
    assert layer.target.dtype == torch.int64


@both
def test_a_first_use_in_inference_mode_does_not_spoil_training(backend: Backend) -> None:
    layer, x = ring(30), torch.randn(4, 30, requires_grad=True)
    layer.backend = backend
    with torch.inference_mode():
        y = layer(x)
    layer(x).pow(2).sum().backward()
    assert torch.equal(layer(x), y)
    assert x.grad is not None


@both
def test_a_call_on_the_state_of_another_layer_uses_the_edges_of_that_state(backend: Backend) -> None:
    layer, other = (SparseLinear(12, 12, "watts_strogatz", seed=seed) for seed in (0, 1))
    layer.backend = other.backend = backend
    x = torch.randn(5, 12)
    y = layer(x)
    assert torch.equal(torch.func.functional_call(layer, other.state_dict(), (x,)), other(x))
    assert torch.equal(layer(x), y)


def test_many_networks_with_their_own_edges_train_together_under_vmap() -> None:
    torch.manual_seed(0)
    layers = [SparseLinear(12, 12, {"watts_strogatz": {"beta": 0.7}}, seed=seed) for seed in range(3)]
    layers[0].backend = "csr"  # a request that a transform cannot follow
    parameters, buffers = torch.func.stack_module_state(layers)
    x = torch.randn(5, 12)

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layers[0], (parameters, buffers), (x,)).pow(2).sum()

    together = torch.vmap(torch.func.grad(loss))(parameters, buffers)["weight"]
    for layer, gradient in zip(layers, together, strict=True):
        layer(x).pow(2).sum().backward()
        torch.testing.assert_close(layer.weight.grad, gradient)


def test_the_rule_is_a_function_of_its_arguments_and_follows_the_measured_figures() -> None:
    def asked(units: int, density: float, batch: int, device: str = "cpu") -> Backend:
        edges = round(units * units * density)
        return backends.choose(Shape(units, units, edges, batch, device, torch.float32))

    assert asked(256, 0.1, 128) == asked(64, 0.05, 16) == asked(4096, 0.5, 128) == "dense"
    assert asked(512, 0.1, 128) == asked(1024, 0.05, 16) == asked(4096, 0.01, 1) == "csr"
    assert backends.rule(Shape(4096, 4096, 1000, 8, "cpu", torch.bfloat16)) == "dense"


def test_calibration_decides_for_the_shape_class_until_it_is_forgotten() -> None:
    layer = SparseLinear(200, 200, {"ring": {"k": 2}})
    x = torch.randn(16, 200)
    before = layer(x)
    try:
        seconds = backends.calibrate(layer, 16)
        assert set(seconds) == {"dense", "csr"}
        assert backends.choose(layer.shape(16)) == min(seconds, key=seconds.__getitem__)
        torch.testing.assert_close(layer(x), before)
        assert layer.backend is None
    finally:
        backends.forget()
    assert backends.choose(layer.shape(16)) == backends.rule(layer.shape(16))


def test_half_precision_and_autocast_work() -> None:
    layer = ring(800)  # the rule says CSR, whose kernels know no half precision
    x = torch.randn(9, 800)
    y = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer.bfloat16()(x.bfloat16()).float(), y, rtol=0.05, atol=0.05)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_wide_layer_trains_without_a_dense_matrix() -> None:
    """In its own process: n = 32,768 would take 4 GiB as one dense matrix, the step takes far less."""
    code = """
import torch
from nas.sparse import SparseLinear

def peak():  # MiB; not ru_maxrss, which a process inherits from the one that started it
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024

layer = SparseLinear(32768, 32768, {"watts_strogatz": {"k": 8, "beta": 0.2}})
before = peak()
optimizer = torch.optim.Adam(layer.parameters())
layer(torch.randn(16, 32768, requires_grad=True)).sum().backward()
optimizer.step()
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300


def test_an_exported_layer_computes_the_same() -> None:
    layer, x = ring(900), torch.randn(9, 900)  # the rule says CSR, which cannot be exported
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(layer, (x,), dynamic_shapes=(batch,))
    torch.testing.assert_close(program.module()(x[:4]), layer(x)[:4])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both
def test_gpu_results_equal_cpu_results(backend: Backend) -> None:
    layer, x = ring(300).double(), torch.randn(7, 300, dtype=torch.float64)
    layer.backend = backend
    layer(x).pow(2).sum().backward()
    twin = copy.deepcopy(layer).cuda()
    twin.weight.grad = None
    twin(x.cuda()).pow(2).sum().backward()
    torch.testing.assert_close(twin(x.cuda()).cpu(), layer(x))
    torch.testing.assert_close(twin.weight.grad.cpu(), layer.weight.grad)


def test_sparsity_is_the_share_of_weights_that_are_not_stored() -> None:
    layer = ring(64)
    assert layer.weight.numel() == 64 * 4
    assert layer.sparsity == pytest.approx(1 - 4 / 64)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 64 * 4 + 64


@pytest.mark.parametrize(
    ("topology", "error", "said"),
    [
        ("rnig", RequestError, "did you mean 'ring'"),
        ({"ring": {"q": 4}}, RequestError, "no hyper-parameter 'q'"),
        ({"ring": {}, "watts_strogatz": {}}, RequestError, "is no topology; give its name"),
        (4, RequestError, "4 is no topology; give its name"),
        (None, RequestError, "None is no topology; give its name"),
        ("ring", ValueError, "needs in_features == out_features, not 6 → 5"),
        (Edges(2, 2, [0], [1]), ValueError, r"belong to a layer 2 → 2, not 6 → 5"),
    ],
)
def test_a_wiring_that_cannot_be_says_why(topology: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        SparseLinear(6, 5, topology)


@pytest.mark.parametrize("rewiring", [4, [], {"set": {}, "rigl": {}}])
def test_what_is_no_rewiring_is_refused(rewiring: Any) -> None:
    with pytest.raises(RequestError, match="is no rewiring; give its name"):
        SparseLinear(6, 5, "erdos_renyi", rewiring=rewiring)


@both
def test_input_of_another_width_is_refused(backend: Backend) -> None:
    layer = ring(8)
    layer.backend = backend
    with pytest.raises(ValueError, match=r"takes \(..., 8\), not \(8, 4\)"):
        layer(torch.randn(8, 4))
