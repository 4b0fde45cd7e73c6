"""Measures of a wiring equal those of networkx."""

import json
import math
import time
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx.algorithms import bipartite

from nas.registry import create
from nas.topologies import Edges, measure

quick = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def wirings(draw: st.DrawFn, square: bool) -> Edges:
    out_features = draw(st.integers(1, 12))
    in_features = out_features if square else draw(st.integers(1, 12).filter(lambda n: n != out_features))
    flat = sorted(draw(st.sets(st.integers(0, out_features * in_features - 1))))
    keys = np.array(flat, dtype=np.int64)
    return Edges(out_features, in_features, keys // in_features, keys % in_features)


def unit_graph(edges: Edges) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(edges.in_features))
    pairs = zip(edges.target.tolist(), edges.source.tolist(), strict=True)
    graph.add_edges_from((target, source) for target, source in pairs if target != source)
    return graph


def bipartite_graph(edges: Edges) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(edges.in_features + edges.out_features))
    graph.add_edges_from(zip((edges.target + edges.in_features).tolist(), edges.source.tolist(), strict=True))
    return graph


def check_against(found: dict[str, Any], graph: nx.Graph) -> None:
    lengths = [
        steps
        for source, reached in nx.all_pairs_shortest_path_length(graph)
        for unit, steps in reached.items()
        if unit != source
    ]
    units = len(graph)
    assert found["units"] == found["path_sources"] == units
    assert found["path_length"] == (pytest.approx(np.mean(lengths)) if lengths else None)
    assert found["unreachable"] == pytest.approx(
        1 - len(lengths) / max(units * (units - 1), 1) if units > 1 else 0
    )
    assert found["connected"] == max(map(len, nx.connected_components(graph))) / units
    assert found["degree_histogram"] == nx.degree_histogram(graph)


@quick
@given(wirings(square=True))
def test_square_layers_measure_as_networkx_measures_their_unit_graph(edges: Edges) -> None:
    found, graph = measure(edges), unit_graph(edges)
    assert found["graph"] == "undirected"
    assert found["clustering"] == pytest.approx(nx.average_clustering(graph))
    check_against(found, graph)


@quick
@given(wirings(square=False))
def test_rectangular_layers_measure_as_networkx_measures_their_bipartite_graph(edges: Edges) -> None:
    found, graph = measure(edges), bipartite_graph(edges)
    assert found["graph"] == "bipartite"
    if found["clustering"] is None:  # there are no paths of three edges to close
        assert all(graph.degree[one] == 1 or graph.degree[other] == 1 for one, other in graph.edges)
    else:
        assert found["clustering"] == pytest.approx(bipartite.robins_alexander_clustering(graph))
    check_against(found, graph)


@pytest.mark.parametrize("name", ["watts_strogatz", "barabasi_albert", "erdos_renyi"])
def test_wide_layers_measure_as_networkx_does(name: str) -> None:
    edges = create("topology", name).edges(300, 300, seed=5)
    found, graph = measure(edges), unit_graph(edges)
    assert found["clustering"] == pytest.approx(nx.average_clustering(graph))
    check_against(found, graph)


def test_sampled_paths_are_within_one_percent_of_all_paths() -> None:
    edges = create("topology", "watts_strogatz", k=6, beta=0.2).edges(1500, 1500, seed=0)
    found = measure(edges)
    assert found["path_sources"] == 64
    assert found["path_length"] == pytest.approx(nx.average_shortest_path_length(unit_graph(edges)), rel=0.01)


def test_clustering_in_pieces_is_clustering_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    square = create("topology", "watts_strogatz", k=8, beta=0.3).edges(100, 100, seed=0)
    wide = create("topology", "fan_in_small_world", k=8, beta=0.3).edges(100, 60, seed=0)
    whole = [measure(edges)["clustering"] for edges in (square, wide)]
    monkeypatch.setattr("nas.topologies._measures.CHUNK", 50)
    assert [measure(edges)["clustering"] for edges in (square, wide)] == whole


def test_sigma_and_omega_references_are_those_of_random_and_lattice_graphs() -> None:
    units, k = 1000, 10
    ours = measure(create("topology", "watts_strogatz", k=k, beta=0.1).edges(units, units, seed=0))
    random = [nx.gnm_random_graph(units, units * k // 2, seed=seed) for seed in range(3)]
    random_clustering = np.mean([nx.average_clustering(g) for g in random])
    random_path = np.mean([nx.average_shortest_path_length(g) for g in random if nx.is_connected(g)])
    lattice = nx.average_clustering(nx.watts_strogatz_graph(units, k, 0))
    sigma = (ours["clustering"] / random_clustering) / (ours["path_length"] / random_path)
    omega = random_path / ours["path_length"] - ours["clustering"] / lattice
    assert ours["sigma"] == pytest.approx(sigma, rel=0.1)
    assert ours["omega"] == pytest.approx(omega, abs=0.05)


@pytest.mark.parametrize(("k", "defined"), [(2, False), (4, True), (12, True), (14, False), (18, False)])
def test_omega_is_given_where_the_clustering_of_the_lattice_is_known(k: int, defined: bool) -> None:
    lattice = measure(create("topology", "ring", k=k).edges(20, 20, seed=0))
    assert (lattice["omega"] is not None) == defined
    if defined:
        assert lattice["clustering"] == pytest.approx(3 * (k - 2) / (4 * (k - 1)))


def test_omega_runs_from_lattice_to_random_and_sigma_peaks_between() -> None:
    for name, sides in (("watts_strogatz", (600, 600)), ("bipartite_small_world", (600, 400))):
        fixed = {"k": 10} if name == "watts_strogatz" else {"density": 0.02}
        found = [
            measure(create("topology", name, **fixed, beta=beta).edges(*sides, seed=0))
            for beta in (0, 0.1, 1)
        ]
        omegas = [one["omega"] for one in found]
        assert omegas[0] < -0.5 < omegas[1] < 0.5 < omegas[2]
        assert found[1]["sigma"] > 2 * max(found[0]["sigma"], 1)
        assert found[2]["sigma"] == pytest.approx(1, abs=0.3)


def test_shares_are_counted_edge_by_edge() -> None:
    segments = [10, 20, 30]
    edges = create("topology", "watts_strogatz", beta=0.5).edges(60, 60, segments=segments, seed=0)
    owner = np.repeat([0, 1, 2], segments)
    counted = np.zeros((3, 3))
    for target, source in zip(edges.target, edges.source, strict=True):
        counted[owner[target], owner[source]] += 1 / len(edges)
    found = measure(edges, segments)
    np.testing.assert_allclose(found["shares"], counted)
    assert found["cross_modal_share"] == pytest.approx(np.sum(counted) - np.trace(counted))
    assert measure(edges)["cross_modal_share"] is None


@quick
@given(st.booleans().flatmap(lambda square: wirings(square=square)), st.integers(0, 2**32))
def test_measures_are_plain_finite_values_and_a_function_of_the_seed(edges: Edges, seed: int) -> None:
    found = measure(edges, seed=seed)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == measure(edges, seed=seed)
    assert all(value is None or math.isfinite(value) for value in found.values() if isinstance(value, float))


def test_ten_thousand_units_are_measured_within_a_second() -> None:
    for beta in (0.0, 0.1, 1.0):
        edges = create("topology", "watts_strogatz", k=10, beta=beta).edges(10_000, 10_000, seed=0)
        start = time.process_time()
        measure(edges, [4000, 6000])
        assert time.process_time() - start < 1
