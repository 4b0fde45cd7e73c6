"""Every topology is a valid graph for every legal input, and has the statistics of its definition."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nas.registry import available, create, get
from nas.sparse import SparseLinear
from nas.topologies import Edges, Topology
from nas.topologies._candidates import candidates

quick = settings(max_examples=120, deadline=None, derandomize=True)
shares = st.floats(0, 1)
densities = st.floats(0.001, 1)
evens = st.integers(1, 8).map(lambda half: 2 * half)

# What each topology is constructed from: its smallest number of units follows from it.
SETTINGS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ring": st.fixed_dictionaries({"k": evens}),
    "watts_strogatz": st.fixed_dictionaries({"k": evens, "beta": shares}),
    "newman_watts": st.fixed_dictionaries({"k": evens, "beta": shares}),
    "kleinberg": st.fixed_dictionaries({"k": evens, "r": st.floats(0, 5)}),
    "segmented": st.fixed_dictionaries({"k": evens, "across": shares}),
    "barabasi_albert": st.fixed_dictionaries({"m": st.integers(1, 8)}),
    "erdos_renyi": st.fixed_dictionaries({"density": densities}),
    "bipartite_small_world": st.fixed_dictionaries({"density": densities, "beta": shares}),
    "fan_in_small_world": st.fixed_dictionaries({"k": st.integers(1, 12), "beta": shares}),
}
SQUARE = ["ring", "watts_strogatz", "newman_watts", "kleinberg", "segmented", "barabasi_albert"]
RECTANGULAR = ["erdos_renyi", "bipartite_small_world", "fan_in_small_world"]
UNDIRECTED = [*SQUARE, "erdos_renyi"]


@st.composite
def square_layers(draw: st.DrawFn, name: str) -> tuple[Topology, int, list[int] | None, int]:
    """A topology, a number of units that it can wire, segments of them or none, and a seed."""
    values = draw(SETTINGS[name])
    least = values.get("k", values.get("m", 0)) + 1
    units = draw(st.integers(max(least, 1), max(least, 1) + 30))
    cuts = draw(st.none() | st.sets(st.integers(1, max(units - 1, 1)), max_size=3))
    segments = None if cuts is None else np.diff([0, *sorted(cuts - {units}), units]).tolist()
    return create("topology", name, **values), units, segments, draw(st.integers(0, 2**32))


def lattice_pairs(k: int, segments: list[int]) -> int:
    return sum(size * min(k, size - 1) for size in segments) // 2


def graph(edges: Edges) -> nx.Graph:
    drawn = nx.Graph()
    drawn.add_nodes_from(range(edges.in_features))
    drawn.add_edges_from(zip(edges.target.tolist(), edges.source.tolist(), strict=True))
    return drawn


@pytest.mark.parametrize("name", UNDIRECTED)
def test_square_layers_are_undirected_graphs_without_loops_or_duplicates(name: str) -> None:
    @quick
    @given(square_layers(name))
    def check(layer: tuple[Topology, int, list[int] | None, int]) -> None:
        topology, units, segments, seed = layer
        edges = topology.edges(units, units, segments=segments, seed=seed)
        pairs = set(zip(edges.target.tolist(), edges.source.tolist(), strict=True))
        assert len(pairs) == len(edges)
        assert all((source, target) in pairs and source != target for target, source in pairs)

    check()


EXPECTED: dict[str, Callable[[Any, int, list[int]], tuple[int, int]]] = {
    "ring": lambda t, n, s: (lattice_pairs(t.k, s),) * 2,
    "watts_strogatz": lambda t, n, s: (lattice_pairs(t.k, s),) * 2,
    "segmented": lambda t, n, s: (lattice_pairs(t.k, s),) * 2,
    "newman_watts": lambda t, n, s: (lattice_pairs(t.k, s), 2 * lattice_pairs(t.k, s)),
    "kleinberg": lambda t, n, s: (lattice_pairs(t.k, s), lattice_pairs(t.k, s) + n),
    "barabasi_albert": lambda t, n, s: (t.m * (n - t.m),) * 2,
    "erdos_renyi": lambda t, n, s: (min(max(round(t.density * (n * n) / 2), 1), n * (n - 1) // 2),) * 2,
}


@pytest.mark.parametrize("name", UNDIRECTED)
def test_square_layers_have_the_promised_number_of_edges(name: str) -> None:
    @quick
    @given(square_layers(name))
    def check(layer: tuple[Topology, int, list[int] | None, int]) -> None:
        topology, units, segments, seed = layer
        edges = topology.edges(units, units, segments=segments, seed=seed)
        least, most = EXPECTED[name](topology, units, segments or [units])
        assert 2 * least <= len(edges) <= 2 * most

    check()


@pytest.mark.parametrize("name", RECTANGULAR)
def test_layers_of_any_two_sides_have_the_promised_number_of_edges(name: str) -> None:
    @quick
    @given(SETTINGS[name], st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32))
    def check(values: dict[str, Any], out_features: int, in_features: int, seed: int) -> None:
        in_features += values.get("k", 0)
        out_features += out_features == in_features  # square layers have tests of their own
        edges = create("topology", name, **values).edges(out_features, in_features, seed=seed)
        positions = out_features * in_features
        assert edges.mask().sum() == len(edges)  # no duplicates
        if name == "fan_in_small_world":
            assert (edges.mask().sum(axis=1) == values["k"]).all()
        else:
            assert len(edges) == max(round(values["density"] * positions), 1)

    check()


@pytest.mark.parametrize("name", ["bipartite_small_world", "fan_in_small_world"])
def test_bipartite_graphs_wire_concatenated_segments(name: str) -> None:
    @quick
    @given(square_layers(name))
    def check(layer: tuple[Any, int, list[int] | None, int]) -> None:
        topology, units, segments, seed = layer
        edges = topology.edges(units, units, segments=segments, seed=seed)
        assert not edges.mask().diagonal().any()
        if name == "bipartite_small_world":
            assert len(edges) == min(max(round(topology.density * (units * units)), 1), units * (units - 1))
        else:
            sizes = np.array(segments or [units])
            fan_in = np.repeat(np.minimum(topology.k, sizes - 1), sizes)
            assert (edges.mask().sum(axis=1) == fan_in).all()

    check()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_edges_are_a_function_of_the_seed(name: str) -> None:
    topology = create("topology", name)
    one, again, other = (topology.edges(40, 40, segments=[10, 30], seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert name == "ring" or one != other


@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("ring", {}),
        ("watts_strogatz", {"beta": 0.0}),
        ("newman_watts", {"beta": 0.0}),
        ("segmented", {"across": 0.0}),
        ("fan_in_small_world", {"beta": 0.0}),
        ("bipartite_small_world", {"beta": 0.0}),
    ],
)
def test_lattices_run_inside_the_segments(name: str, still: dict[str, float]) -> None:
    segments = [12, 30, 18]
    shares = create("topology", name, **still).edges(60, 60, segments=segments, seed=0).shares(segments)
    assert shares.trace() == pytest.approx(1)
    assert (shares.diagonal() > 0).all()


@pytest.mark.parametrize("name", ["watts_strogatz", "fan_in_small_world", "bipartite_small_world"])
def test_moved_edges_cross_the_segments_as_uniform_ones_would(name: str) -> None:
    segments = [100, 300, 200]
    topology = create("topology", name, beta=1.0)
    found = sum(topology.edges(600, 600, segments=segments, seed=seed).shares(segments) for seed in range(5))
    uniform = np.outer(segments, segments) / 600**2
    np.testing.assert_allclose(found / 5, uniform, atol=0.02)


@settings(quick, max_examples=40)
@given(shares, st.integers(0, 2**32))
def test_segmented_has_exactly_the_chosen_share_across(across: float, seed: int) -> None:
    segments = [20, 50, 30]
    edges = create("topology", "segmented", k=6, across=across).edges(100, 100, segments=segments, seed=seed)
    assert 1 - edges.shares(segments).trace() == pytest.approx(round(across * 300) / 300)


@pytest.mark.parametrize(("units", "k"), [(7, 2), (20, 4), (9, 8), (8, 6)])
def test_the_ring_is_the_lattice_of_networkx(units: int, k: int) -> None:
    ours = graph(create("topology", "ring", k=k).edges(units, units, seed=0))
    assert nx.utils.graphs_equal(ours, nx.watts_strogatz_graph(units, k, 0))


def test_watts_strogatz_has_the_degree_distribution_of_networkx() -> None:
    ours, theirs = np.zeros(30, dtype=int), np.zeros(30, dtype=int)
    for seed in range(8):
        edges = create("topology", "watts_strogatz", k=8, beta=0.4).edges(500, 500, seed=seed)
        ours += np.bincount(np.bincount(edges.target, minlength=500), minlength=30)
        theirs += np.bincount(
            [d for _, d in nx.watts_strogatz_graph(500, 8, 0.4, seed=seed).degree], minlength=30
        )
    assert same_distribution(ours, theirs) > 0.01


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.3, 1.0])
def test_watts_strogatz_has_the_clustering_and_path_curves_of_networkx(beta: float) -> None:
    start = nx.watts_strogatz_graph(200, 8, 0)
    scale = np.array([nx.average_clustering(start), nx.average_shortest_path_length(start)])

    def curve(graphs: list[nx.Graph]) -> np.ndarray:
        values = [(nx.average_clustering(g), nx.average_shortest_path_length(g)) for g in graphs]
        return np.mean(values, axis=0) / scale

    topology = create("topology", "watts_strogatz", k=8, beta=beta)
    ours = curve([graph(topology.edges(200, 200, seed=seed)) for seed in range(8)])
    theirs = curve([nx.watts_strogatz_graph(200, 8, beta, seed=seed) for seed in range(8)])
    # With few shortcuts the path length itself scatters from graph to graph.
    np.testing.assert_allclose(ours, theirs, rtol=0.05 if beta >= 0.1 else 0.12, atol=0.01)


def test_watts_strogatz_moves_the_share_beta_of_the_edges() -> None:
    start = create("topology", "ring", k=10).edges(3000, 3000, seed=0).mask()
    moved = create("topology", "watts_strogatz", k=10, beta=0.3).edges(3000, 3000, seed=0).mask()
    assert (moved & ~start).sum() / start.sum() == pytest.approx(0.3, abs=0.015)


@pytest.mark.parametrize(("units", "k"), [(3, 2), (5, 4), (6, 4), (17, 16), (40, 38)])
def test_watts_strogatz_ends_on_nearly_complete_graphs(units: int, k: int) -> None:
    for seed in range(20):
        edges = create("topology", "watts_strogatz", k=k, beta=1.0).edges(units, units, seed=seed)
        assert len(edges) == units * k


def test_newman_watts_adds_as_many_shortcuts_as_networkx() -> None:
    ours = [
        len(create("topology", "newman_watts", k=6, beta=0.2).edges(400, 400, seed=s)) / 2 for s in range(10)
    ]
    theirs = [nx.newman_watts_strogatz_graph(400, 6, 0.2, seed=s).number_of_edges() for s in range(10)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)
    lattice = create("topology", "ring", k=6).edges(400, 400, seed=0).mask()
    assert (create("topology", "newman_watts", k=6).edges(400, 400, seed=0).mask() >= lattice).all()


@pytest.mark.parametrize("r", [0.0, 1.0, 2.0])
def test_kleinberg_contacts_fall_off_with_the_distance_to_the_power_of_r(r: float) -> None:
    counts = np.zeros(151)
    for seed in range(20):
        edges = create("topology", "kleinberg", k=4, r=r).edges(301, 301, seed=seed)
        around = (edges.target - edges.source) % 301
        counts += np.bincount(np.minimum(around, 301 - around), minlength=151) / 2
    assert counts[1:3].tolist() == [20 * 301, 20 * 301]
    assert counts[3:].sum() == 20 * 301
    # Nearer than that, two units often choose each other and one of them is drawn again.
    expected = np.arange(10, 151) ** -r
    found = [part.sum() for part in np.array_split(counts[10:], 5)]
    wanted = np.array([part.sum() for part in np.array_split(expected, 5)])
    assert stats.chisquare(found, wanted / wanted.sum() * np.sum(found)).pvalue > 0.01


def test_the_one_unit_opposite_is_as_likely_a_kleinberg_contact_as_any_other() -> None:
    counts = np.zeros(151)
    for seed in range(60):
        edges = create("topology", "kleinberg", k=4, r=0).edges(300, 300, seed=seed)
        around = (edges.target - edges.source) % 300
        counts += np.bincount(np.minimum(around, 300 - around), minlength=151) / 2
    assert counts[150] == pytest.approx(counts[100:150].mean() / 2, rel=0.25)  # two units at each distance


def test_barabasi_albert_has_the_degree_distribution_of_networkx() -> None:
    ours, theirs = np.zeros(600, dtype=int), np.zeros(600, dtype=int)
    for seed in range(6):
        edges = create("topology", "barabasi_albert", m=3).edges(600, 600, seed=seed)
        ours += np.bincount(np.bincount(edges.target, minlength=600), minlength=600)
        theirs += np.bincount(
            [d for _, d in nx.barabasi_albert_graph(600, 3, seed=seed).degree], minlength=600
        )
    assert same_distribution(ours, theirs) > 0.01


def test_barabasi_albert_hubs_are_not_the_first_units() -> None:
    hubs = [
        np.bincount(create("topology", "barabasi_albert").edges(300, 300, seed=s).target).argmax()
        for s in range(9)
    ]
    assert np.median(hubs) > 30


def test_erdos_renyi_edges_are_uniform_over_all_pairs() -> None:
    counts = sum(
        create("topology", "erdos_renyi", density=0.3).edges(8, 8, seed=s).mask() for s in range(400)
    )
    pairs = counts[np.triu_indices(8, 1)]
    assert stats.chisquare(pairs).pvalue > 0.01
    counts = sum(
        create("topology", "erdos_renyi", density=0.2).edges(5, 9, seed=s).mask() for s in range(400)
    )
    assert stats.chisquare(counts.ravel()).pvalue > 0.01


def test_bipartite_small_world_lattice_is_the_band_around_the_diagonal() -> None:
    mask = create("topology", "bipartite_small_world", density=0.5, beta=0.0).edges(8, 4, seed=0).mask()
    assert mask.sum(axis=1).tolist() == [2] * 8
    nearest = [{(o // 2 - 1) % 4, o // 2} for o in range(8)]
    assert [set(np.flatnonzero(row)) for row in mask] == nearest
    transposed = create("topology", "bipartite_small_world", density=0.5, beta=0.0).edges(4, 8, seed=0).mask()
    assert (transposed == mask.T).all()


def test_bipartite_small_world_replaces_the_share_beta_uniformly() -> None:
    start = create("topology", "bipartite_small_world", density=0.05, beta=0.0).edges(400, 300, seed=0).mask()
    moved = create("topology", "bipartite_small_world", density=0.05, beta=0.4).edges(400, 300, seed=0).mask()
    # An edge is lost with probability 0.4; an empty place, as the vacated ones are, is filled again.
    filled = 0.4 * 0.05 / (1 - 0.05 * 0.6)
    assert (start & ~moved).sum() / start.sum() == pytest.approx(0.4 * (1 - filled), abs=0.02)


@settings(quick, max_examples=60)
@given(st.integers(1, 25), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32), st.data())
def test_fan_in_candidates_are_as_defined(
    out_features: int, in_features: int, k: int, seed: int, data: st.DataObject
) -> None:
    out_features += out_features == in_features  # a square layer leaves itself out: the next test
    k = min(k, in_features)
    found = candidates(out_features, in_features, k, None, seed)
    count = out_features * k
    output, slot = np.divmod(np.arange(count), k)
    assert np.array_equal(found.target, output)
    assert np.array_equal(found.lattice, (output * in_features // out_features + slot - k // 2) % in_features)
    assert np.array_equal(np.sort(found.uniform), (np.arange(count) + 0.5) / count)
    for row in range(out_features):
        lattice = set(found.lattice[output == row].tolist())
        moved = [
            r
            for r, own in zip(found.random[output == row], found.lattice[output == row], strict=True)
            if r != own
        ]
        assert len(moved) == len(set(moved)) == min(k, in_features - k)
        assert not lattice & set(moved)
    low, high = sorted([data.draw(shares), data.draw(shares)])
    at_low, at_high = found.sources(low), found.sources(high)
    stays_moved = at_low != found.lattice
    assert np.array_equal(at_high[stays_moved], at_low[stays_moved])  # nested in beta
    assert len(found.at(high)) == count


@settings(quick, max_examples=60)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**32))
def test_fan_in_candidates_of_a_square_layer_leave_out_the_unit_itself(units: int, k: int, seed: int) -> None:
    k = min(k, units - 1)
    found = candidates(units, units, k, None, seed)
    offsets = [offset for offset in range(-(k // 2), k + 2) if offset][:k]
    expected = (np.arange(units)[:, None] + offsets) % units
    assert np.array_equal(found.lattice.reshape(units, k), expected)
    moved = found.random != found.lattice
    assert (found.random != found.target).all()
    assert (np.bincount(found.target[moved], minlength=units) == min(k, units - 1 - k)).all()


def test_fan_in_small_world_moves_exactly_the_share_beta() -> None:
    found = candidates(64, 48, 8, None, 3)
    for beta in (0.0, 0.25, 0.5, 1.0):
        assert (found.sources(beta) != found.lattice).sum() == beta * 64 * 8


def test_random_sources_are_uniform_over_the_inputs_outside_the_lattice() -> None:
    for in_features in (20, 200):  # ranked at once; drawn again and again
        counts = np.zeros(in_features)
        for seed in range(300):
            found = candidates(1, in_features, 5, None, seed)
            counts += np.bincount(found.random, minlength=in_features)
        outside = np.delete(counts, candidates(1, in_features, 5, None, 0).lattice)
        assert outside.sum() == 300 * 5
        assert stats.chisquare(outside).pvalue > 0.01


@pytest.mark.parametrize("name", ["pairs.csv", "bare.csv", "pairs.npy", "mask.npz"])
def test_explicit_reads_the_edges_of_a_file(name: str, tmp_path: Path) -> None:
    wanted = Edges(3, 5, [0, 1, 1, 2], [4, 0, 3, 2])
    pairs, path = np.stack([wanted.target, wanted.source], axis=1), tmp_path / name
    if path.suffix == ".csv":
        lines = [f"{target}, {source}" for target, source in pairs]
        path.write_text("\n".join(["target,source"] * (name == "pairs.csv") + lines) + "\n")
    elif path.suffix == ".npy":
        np.save(path, pairs[::-1])
    else:
        np.savez(path, mask=wanted.mask())
    assert create("topology", "explicit", path=str(path)).edges(3, 5, seed=0) == wanted


@pytest.mark.parametrize(
    "first", ["\ufeff0, 4", "+0,4", "\n0,4", "# by hand\n0,4", '\ufeff"unit","from"\n0,4']
)
def test_no_edge_is_taken_for_a_header(first: str, tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text(f"{first}\n2,1\n", encoding="utf-8")
    assert create("topology", "explicit", path=path).edges(3, 5, seed=0) == Edges(3, 5, [0, 2], [4, 1])


@pytest.mark.parametrize(("written", "named"), [("a.npy", "a.npz"), ("a.npz", "a.npy")])
def test_an_array_file_under_the_other_name_is_refused(written: str, named: str, tmp_path: Path) -> None:
    (np.save if written == "a.npy" else np.savez)(tmp_path / written, np.eye(3, 5, dtype=int))
    (tmp_path / written).rename(tmp_path / named)
    with pytest.raises(ValueError, match=rf"edge file .*{named}: "):
        create("topology", "explicit", path=tmp_path / named).edges(3, 5, seed=0)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.npz"
    np.savez(path, np.eye(3, 5))
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mask\.npz: Bad CRC-32"):
        create("topology", "explicit", path=path).edges(3, 5, seed=0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.csv", None, "does not exist"),
        ("a.csv", "target,source\n1,x\n", "could not convert"),
        ("b.csv", "0,7\n", "source 7…7 is not within the 5 units"),
        ("c.csv", "0,1\n0,1\n", "an edge is given twice"),
        ("d.csv", "0,1,2\n", r"shape \(E, 2\)"),
        ("e.npy", np.zeros((2, 2)), "whole numbers"),
        ("f.npz", np.zeros((5, 3)), r"the mask is of shape \(5, 3\), the layer \(out, in\) of \(3, 5\)"),
        ("f2.npz", np.full((3, 5), "1"), "the mask must hold finite numbers"),
        ("f3.npz", np.full((3, 5), np.nan), "the mask must hold finite numbers"),
        ("g.npy", "no array", "edge file"),
        ("h.npz", "PK\3\4 cut off", "no archive of arrays"),
        ("i.csv", "-1,0\n1,2\n", "target -1…1 is not within the 3 units"),
        ("j.csv", "0.5,1\n1,2\n", "could not convert"),
        ("k.csv", "0;1\n", "could not convert"),
        ("l.csv", "hello\n", "could not convert"),
    ],
)
def test_a_file_that_does_not_fit_says_why(name: str, content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        (np.save if path.suffix == ".npy" else np.savez)(path, content)
    with pytest.raises(ValueError, match=said):
        create("topology", "explicit", path=path).edges(3, 5, seed=0)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_point_of_the_domains_is_legal(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = {key: domain.sample(rng) for key, domain in get("topology", name).domains.items()}
        assert create("topology", name, **values).edges(50, 50, seed=0).in_features == 50


@pytest.mark.parametrize("name", SQUARE)
def test_square_topologies_refuse_rectangular_layers(name: str) -> None:
    assert not get("topology", name).rectangular
    with pytest.raises(
        ValueError, match=r"needs in_features == out_features, not 30 → 20; .* use erdos_renyi"
    ):
        create("topology", name).edges(20, 30, seed=0)


@pytest.mark.parametrize("name", SQUARE)
def test_layers_too_small_for_the_degree_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"has 2 units; pass [km] below 2"):
        create("topology", name).edges(2, 2, seed=0)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_segments_that_do_not_add_up_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="positive whole numbers that add up to 40 units"):
        create("topology", name).edges(40, 40, segments=[10, 20], seed=0)


@pytest.mark.parametrize("segments", [[2.0, 2.0], [1.5, 2.5], ["2", "2"], 4, [], [5, -1], [0, 4]])
def test_segments_that_are_no_sizes_are_refused(segments: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"add up to 4 units, not {segments!r}")):
        create("topology", "ring", k=2).edges(4, 4, segments=segments, seed=0)


def test_undirected_edges_are_both_directions_of_each_pair() -> None:
    assert Edges.undirected(4, [2, 0], [1, 3]) == Edges(4, 4, [2, 1, 0, 3], [1, 2, 3, 0])


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ([0], [4], "other 4…4 is not within the 4 units"),
        ([-1], [1], "one -1…-1 is not within the 4 units"),
        ([0, 1], [2], r"one \(2,\) and other \(1,\) must be equally long"),
        ([0, 1], [1, 0], "an edge is given twice"),
        ([1], [1], "an edge is given twice"),
    ],
)
def test_pairs_that_are_no_graph_are_refused(one: list[int], other: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Edges.undirected(4, one, other)


@pytest.mark.parametrize(("target", "source"), [([0.5], [1]), ([0], ["1"]), ([True], [1])])
def test_ends_that_are_no_whole_numbers_are_refused(target: Any, source: Any) -> None:
    with pytest.raises(ValueError, match="must hold whole numbers, not "):
        Edges(3, 3, target, source)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("ring", {"k": 3}, "k must be an even whole number of at least 2, not 3"),
        ("ring", {"k": 0}, "at least 2, not 0"),
        ("ring", {"k": 4.0}, r"not 4\.0"),
        ("watts_strogatz", {"beta": 1.2}, r"beta must be a number between 0 and 1, not 1\.2"),
        ("newman_watts", {"beta": float("nan")}, "not nan"),
        ("segmented", {"across": -0.1}, r"across must be a number between 0 and 1, not -0\.1"),
        ("kleinberg", {"r": -1}, "r must be a number of at least 0, not -1"),
        ("barabasi_albert", {"m": 0}, "m must be a whole number of at least 1, not 0"),
        ("erdos_renyi", {"density": 0}, "density must be above 0"),
        ("fan_in_small_world", {"k": 0}, "at least 1, not 0"),
        ("explicit", {"path": "a.txt"}, r"path must name a \.csv, \.npy, \.npz file of edges, not 'a\.txt'"),
    ],
)
def test_illegal_hyper_parameters_say_what_to_pass(name: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        create("topology", name, **values)


def test_more_sources_than_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="a unit has 3 possible sources, not k = 4; pass k of at most 3"):
        create("topology", "fan_in_small_world", k=4).edges(10, 3, seed=0)


def test_all_topologies_are_tested_here() -> None:
    built_in = {
        name for name in available("topology") if "nas.topologies" in get("topology", name).__module__
    }
    assert {"explicit", *SETTINGS} <= built_in
    assert all(isinstance(create("topology", name), Topology) for name in SETTINGS)
    assert SparseLinear(8, 8, "watts_strogatz").edges.density == 0.5


def test_topologies_do_not_import_torch() -> None:
    code = "import sys, nas; nas.available('topology'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def same_distribution(one: np.ndarray, other: np.ndarray) -> float:
    """p-value of the chi-square test that two histograms have one source; rare values pooled."""
    frequent = one + other >= 20
    table = np.array([[*counts[frequent], counts[~frequent].sum()] for counts in (one, other)])
    return float(stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue)
