"""What is measured and drawn of the wiring: recorded at both ends of a training, stored, reported."""

import json
import math
import re
from io import BytesIO
from itertools import combinations

import networkx as nx
import numpy as np
import optuna
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import same_color, to_hex, to_rgba
from matplotlib.image import imread
from safetensors.numpy import load_file
from searches import InThisProcess

import nas
from nas.evaluation import Evaluator
from nas.results.figures import figure
from nas.results.layers import MEASURES
from nas.results.plots import circle_picture, course_picture, degree_picture, mask_picture, png
from nas.results.plots._canvas import APART, INK, pair_numbers, style
from nas.results.plots.wiring import DROPPED, GROWN
from nas.results.report import write_report
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.results.wiring import Wiring, wirings
from nas.search.driver import drive
from nas.search.setup import prepare
from nas.search.study import Study
from nas.topologies import Edges, measure

EPOCHS = 4
NAMES, STARTS = ("image", "text"), (0.1, 0.5, 0.9)
WIRED = {"erdos_renyi": {"density": 0.15}}
PARTS = {
    "evolving": {
        "connector": {"small_world": {"layers": 1, "topology": WIRED, "rewiring": "set", "dropout": 0.0}},
        "head": {"sparse_mlp": {"hidden": 16, "topology": WIRED, "rewiring": "none", "dropout": 0.0}},
    },
    "learned": {
        "connector": {
            "small_world": {
                "layers": 1,
                "topology": {"learnable_budgets": {"k": 4}},
                "rewiring": "none",
                "dropout": 0.0,
            }
        },
        "fusion": {"small_world": {"k": 4, "beta": 0.3, "rewiring": "none"}},
    },
    "judged": {
        "connector": {
            "small_world": {
                "layers": 1,
                "topology": {"learnable_watts_strogatz": {"k": 4}},
                "rewiring": "none",
                "dropout": 0.0,
            }
        },
        "fusion": {"small_world": {"topology": {"learnable_budgets": {"k": 2}}, "rewiring": "none"}},
    },
    "dense": {},
}
SPACE = {
    "dim": 16,
    "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
    "connector": "none",
    "fusion": "concat",
    "head": "linear",
}
made: dict[str, RunDirectory] = {}


@pytest.fixture
def search(write_experiment):
    """Run a search of one trial in this process: `search("evolving") -> (its run directory, executor)`."""

    def make(kind, folder):
        file = write_experiment(
            name=kind,
            space=SPACE | PARTS[kind],
            search={"trials": 1},
            training={
                "epochs": EPOCHS,
                "search_phase": 0.5,
                "learning_rate": 0.02,
                "identifiability": kind in ("judged", "dense"),
            },
        )
        setup = prepare(file, [])
        experiment, dataset, run = setup.experiment, setup.dataset, RunDirectory(folder)
        run.create(experiment, dataset.modalities, dataset.task)
        study = Study(run, kind, setup.proposals, experiment.objectives)
        executor = InThisProcess(Evaluator(dataset, list(experiment.objectives), experiment.training))
        drive(study, executor, setup.pruner, run, 1, lambda report: None, lambda: False)
        study.close()
        return run, executor

    return make


@pytest.fixture
def run_of(search, tmp_path_factory):
    """The run directory of a finished search, report included, made once per kind: only read."""

    def find(kind):
        if kind not in made:
            run, _ = search(kind, tmp_path_factory.mktemp(kind) / "run")
            write_report(run)
            made[kind] = run
        return made[kind]

    return find


@pytest.fixture(params=["evolving", "learned"])
def run(request, run_of):
    return run_of(request.param)


def rows(run):
    """The rows of metrics.jsonl, which must be JSON to the letter."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = (run.trial(0) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def record(run):
    return read_history(run).records[0]


def recorded(run):
    """The measures by moment and layer."""
    found = rows(run)
    assert all(row.keys().isdisjoint({"wiring"}) for row in found[1:-1])
    assert found[0]["wiring"].keys() == {"start"}
    assert found[-1]["wiring"].keys() == {"end"}
    return found[0]["wiring"] | found[-1]["wiring"]


def edges_at(run, moment):
    """By layer `(out_features, in_features, target, source)`, without a word of `nas.results`."""
    network = nas.build(record(run).architecture, *run.data())
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nas.SparseLinear)}
    assert layers
    stored = load_file(run.weights(0))
    return {
        name: (
            layer.out_features,
            layer.in_features,
            *(
                (layer.edges.target, layer.edges.source)
                if moment == "start"
                else (stored[f"{name}.target"], stored[f"{name}.source"])
            ),
        )
        for name, layer in layers.items()
    }


def graph(out_features, in_features, target, source):
    graph = nx.Graph()
    square = out_features == in_features
    graph.add_nodes_from(range(in_features if square else in_features + out_features))
    for one, other in zip(source.tolist(), target.tolist(), strict=True):
        if not square or one != other:
            graph.add_edge(one, other if square else other + in_features)
    return graph


def mean_path_length(graph):
    steps = [
        length
        for _, reached in nx.all_pairs_shortest_path_length(graph)
        for length in reached.values()
        if length
    ]
    return sum(steps) / len(steps)


# recorded


@pytest.mark.parametrize("moment", ["start", "end"])
def test_the_measures_at_both_ends_are_networkx_s_on_the_edges_of_that_moment(run, moment):
    edges, measures = edges_at(run, moment), recorded(run)[moment]
    assert measures.keys() == edges.keys()
    for name, layer in edges.items():
        drawn, found = graph(*layer), measures[name]
        square = layer[0] == layer[1]
        cluster = nx.average_clustering if square else nx.bipartite.robins_alexander_clustering
        assert found["edges"] == len(layer[2])
        assert found["clustering"] == pytest.approx(cluster(drawn))
        assert found["path_length"] == pytest.approx(mean_path_length(drawn))
        assert found["degree_histogram"] == nx.degree_histogram(drawn)
        largest = max(map(len, nx.connected_components(drawn)))
        assert found["connected"] == pytest.approx(largest / len(drawn))


@pytest.mark.parametrize("moment", ["start", "end"])
def test_sigma_and_omega_follow_from_the_graph_of_that_moment(run, moment):
    edges, measures = edges_at(run, moment), recorded(run)[moment]
    for name, layer in edges.items():
        if layer[0] != layer[1]:
            continue
        drawn, found = graph(*layer), measures[name]
        units, degree = len(drawn), 2 * drawn.number_of_edges() / len(drawn)
        clustering, path = nx.average_clustering(drawn), mean_path_length(drawn)
        random_path = (math.log(units) - np.euler_gamma) / math.log(degree) + 0.5
        lattice = 3 * (degree - 2) / (4 * (degree - 1))
        assert found["sigma"] == pytest.approx(clustering / (degree / (units - 1)) / (path / random_path))
        assert found["omega"] == pytest.approx(random_path / path - clustering / lattice)


@pytest.mark.parametrize("moment", ["start", "end"])
def test_the_shares_between_modalities_are_counted_wherever_a_layer_spans_them(run, moment):
    edges, measures = edges_at(run, moment), recorded(run)[moment]
    for name, (out_features, in_features, target, source) in edges.items():
        if out_features != in_features:
            assert measures[name]["shares"] is None
            continue
        counts = np.zeros((2, 2))
        for t, s in zip(target // 16, source // 16, strict=True):
            counts[t, s] += 1
        np.testing.assert_allclose(measures[name]["shares"], counts / len(target))
        across = (counts[0, 1] + counts[1, 0]) / len(target)
        assert measures[name]["cross_modal_share"] == pytest.approx(across)


def test_wiring_that_evolves_was_changed_and_has_explored_what_was_logged(run_of):
    run = run_of("evolving")
    measures, last = recorded(run), rows(run)[-1]
    start, end = edges_at(run, "start"), edges_at(run, "end")
    for name, (out_features, in_features, target, source) in end.items():
        before = set(zip(*start[name][2:], strict=True))
        ever = before | set(zip(target, source, strict=True))
        explored = measures["end"][name]["exploration"]
        assert explored == last[f"exploration/{name}"]
        assert explored >= len(ever) / (out_features * in_features)
        assert (ever != before) == name.startswith("connector")
        assert "exploration" not in measures["start"][name]


def test_the_trial_has_every_measure_that_is_one_number(run):
    attributes = optuna.load_study(study_name=None, storage=run.storage_url).trials[0].user_attrs
    expected = {
        moment: {
            name: {key: value for key, value in found.items() if isinstance(value, int | float)}
            for name, found in layers.items()
        }
        for moment, layers in recorded(run).items()
    }
    assert attributes["wiring"] == expected
    assert record(run).wiring == expected
    assert {"clustering", "path_length", "connected"} <= next(iter(expected["end"].values())).keys()
    assert "wiring" not in record(run).values


def test_a_network_without_sparse_layers_has_no_measures(run_of):
    run = run_of("dense")
    assert len(rows(run)) == EPOCHS
    assert not any("wiring" in row for row in rows(run))
    assert "wiring" not in optuna.load_study(study_name=None, storage=run.storage_url).trials[0].user_attrs
    assert record(run).wiring == {}


def test_progress_is_numbers_and_what_is_not_finite_is_null_and_no_number(search, tmp_path, monkeypatch):
    unknown = {"clustering": math.nan, "sigma": None, "connected": 1.0, "degree_histogram": [0, 3]}
    monkeypatch.setattr("nas.training.measures.measure", lambda edges, segments: dict(unknown))
    run, executor = search("learned", tmp_path / "run")
    started, *progress, completed = executor.messages
    assert (started, completed[0]) == (("started", [0]), "completed")
    assert [name for name, *_ in progress] == ["measured", *["epoch"] * EPOCHS]
    for _, number, metrics, *_ in progress:
        assert number == 0
        assert all(isinstance(value, int | float) for value in metrics.values())
    found = recorded(run)
    for moment in ("start", "end"):
        assert found[moment]["connector.layers.0"]["clustering"] is None
        assert found[moment]["connector.layers.0"]["degree_histogram"] == [0, 3]
        assert record(run).wiring[moment]["connector.layers.0"].keys() - {"exploration"} == {"connected"}


def test_a_graph_too_dense_to_be_measured_in_seconds_is_only_counted(monkeypatch):
    from nas.training.measures import wiring_measures

    monkeypatch.setattr("nas.training.measures.MOST_WALKS", 2 * 9 * 3 * 3 - 1)
    for k, keys in ((2, {"sigma", "degree_histogram"}), (3, {"edges", "density"})):
        layer = nas.SparseLinear(9, 9, {"fan_in_small_world": {"k": k, "beta": 0.0}})
        [found] = wiring_measures(layer).values()
        assert keys <= found.keys()
        assert (found.keys() == {"edges", "density"}) == (k == 3)


def test_a_layer_remembers_its_segments_and_refuses_those_of_another():
    assert nas.SparseLinear(6, 6, {"ring": {"k": 2}}, segments=(2, 4)).segments == [2, 4]
    assert nas.SparseLinear(6, 6, {"ring": {"k": 2}}).segments is None
    with pytest.raises(ValueError, match="add up to 6"):
        nas.SparseLinear(6, 6, Edges(6, 6, [0], [1]), segments=[2, 3])


# read back


def test_the_wiring_at_the_start_is_that_before_training_and_that_at_the_end_is_stored(run):
    found = {wiring.layer: wiring for wiring in wirings(run, record(run))}
    for moment, name in (("start", "start"), ("end", "edges")):
        for layer, (out_features, in_features, target, source) in edges_at(run, moment).items():
            assert getattr(found[layer], name) == Edges(out_features, in_features, target, source)
    measures = recorded(run)
    for layer, wiring in found.items():
        segments = list(wiring.segments.values()) if wiring.segments else None
        for moment, edges in (("start", wiring.start), ("end", wiring.edges)):
            again = {key: value for key, value in measures[moment][layer].items() if key != "exploration"}
            assert measure(edges, segments) == again
        assert wiring.segments == (None if layer.startswith("head") else {"image": 16, "text": 16})


def test_half_a_line_of_the_metrics_is_left_out_and_no_file_is_no_epochs(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.metrics(3) == []
    run.trial(3).mkdir(parents=True)
    (run.trial(3) / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "wiri')
    assert run.metrics(3) == [{"epoch": 1}]


# pictures


def lines_of(axes):
    return [artist for artist in axes.collections if isinstance(artist, LineCollection)]


def unit_of(place, places):
    return int(np.argmin(np.abs(places - place).sum(1)))


@pytest.fixture
def three_modalities():
    edges = nas.create("topology", "watts_strogatz", k=4, beta=0.5).edges(30, 30, seed=1)
    return Wiring("layer", edges, edges, {"image": 8, "audio": 10, "text": 12})


def test_the_circle_has_a_line_per_undirected_edge(three_modalities):
    [axes] = circle_picture(three_modalities).axes
    segments = np.concatenate([lines.get_segments() for lines in lines_of(axes)])
    assert len(segments) == len(three_modalities.edges) / 2
    np.testing.assert_allclose((segments**2).sum(-1), 1)  # from unit to unit on the circle
    places = np.unique(segments.reshape(-1, 2).round(9), axis=0)
    assert len(places) == 30
    clockwise = places[np.argsort(np.arctan2(*places.T) % (2 * np.pi))]
    drawn = {frozenset(unit_of(end, clockwise) for end in segment) for segment in segments}
    edges = three_modalities.edges
    assert drawn == {
        frozenset(pair) for pair in zip(edges.source.tolist(), edges.target.tolist(), strict=True)
    }


def test_the_lines_of_a_circle_are_coloured_by_the_modalities_that_they_join(three_modalities):
    figure = circle_picture(three_modalities)
    [axes] = figure.axes
    names = list(three_modalities.segments)
    owner = np.repeat(names, list(three_modalities.segments.values()))
    edges = three_modalities.edges
    counts: dict[frozenset, int] = {}
    for one, other in zip(edges.source, edges.target, strict=True):
        pair = frozenset({owner[one], owner[other]})
        counts[pair] = counts.get(pair, 0) + 1
    legend = {text.get_text(): handle for text, handle in labels(figure)}
    for pair, count in counts.items():
        ordered = [name for name in names if name in pair]
        handle = legend[f"{'–'.join(ordered)} {count / len(edges):.0%}"]
        [lines] = [
            lines for lines in lines_of(axes) if same_color(lines.get_color()[0][:3], handle.get_color())
        ]
        assert len(lines.get_segments()) == count / 2
    assert len(lines_of(axes)) == len(counts) == 6
    inside = [legend[text] for name in names for text in legend if text.startswith(f"{name} ")]
    arcs = [line for line in axes.lines if len(line.get_xdata())]
    assert [arc.get_color() for arc in arcs] == [handle.get_color() for handle in inside]
    assert [text.get_text() for text in axes.texts] == names


def test_a_small_file_keeps_the_colours_of_the_modalities_exactly(three_modalities):
    drawn = circle_picture(three_modalities)
    full, small = png(drawn, 80), png(drawn, 80, small=True)
    assert len(small) < len(full) / 3
    pixels = {to_hex(pixel) for pixel in imread(BytesIO(small))[..., :3].reshape(-1, 3)}
    assert {colour.lower() for colour in APART[:3]} <= pixels


def labels(figure):
    [legend] = figure.legends
    return zip(legend.get_texts(), legend.legend_handles, strict=True)


def test_a_pair_joined_both_ways_is_one_line_and_a_loop_is_none():
    edges = Edges(4, 4, [0, 1, 2, 3, 3], [1, 0, 3, 1, 3])
    [axes] = circle_picture(Wiring("layer", edges, edges)).axes
    assert sum(len(lines.get_segments()) for lines in lines_of(axes)) == 3


def test_a_rectangular_layer_is_drawn_from_its_inputs_to_its_outputs():
    edges = nas.create("topology", "erdos_renyi", density=0.3).edges(6, 10, seed=0)
    figure = circle_picture(Wiring("layer", edges, edges))
    [lines] = lines_of(figure.axes[0])
    assert len(lines.get_segments()) == len(edges)
    assert [text.get_text() for text, _ in labels(figure)] == ["inputs–outputs 100%"]


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5])
def test_every_pair_of_up_to_five_modalities_has_lines_of_its_own(groups):
    numbers = pair_numbers(groups)
    assert set(numbers) == {(one, one) for one in range(groups)} | set(combinations(range(groups), 2))
    assert len({style(number) for number in numbers.values()}) == len(numbers)


def test_exploration_is_drawn_where_a_rule_explores_and_nowhere_else(run_of):
    logged = rows(run_of("evolving"))
    [axes] = course_picture("connector.layers.0", logged, NAMES).axes
    assert axes.get_ylabel() == "explored positions"
    [line] = axes.lines
    assert list(line.get_ydata()) == [row["exploration/connector.layers.0"] for row in logged]
    [still] = [key.removeprefix("exploration/") for key in logged[0] if key.startswith("exploration/head")]
    assert course_picture(still, logged, ()) is None


def test_the_courses_of_beta_and_budgets_are_what_was_logged(run_of):
    logged = rows(run_of("learned"))
    layer = "connector.layers.0"
    figure = course_picture(layer, logged, ["image", "text"])
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert panels.keys() == {"beta", "share of the edges"}
    budgets = {f"budgets/{layer}/{i}/{j}": (i, j) for i in range(2) for j in range(2)}
    names = ["image", "text"]
    expected = {
        "beta": {names[i]: f"beta/{layer}/{i}" for i in range(2)},
        "share of the edges": {f"{names[i]} ← {names[j]}": key for key, (i, j) in budgets.items()},
    }
    for panel, keys in expected.items():
        drawn = {line.get_label(): line for line in panels[panel].lines}
        assert drawn.keys() == {*keys, "frozen"}
        for label, key in keys.items():
            assert list(drawn[label].get_xdata()) == [1, 2, 3, 4]
            assert list(drawn[label].get_ydata()) == [row[key] for row in logged]
        frozen = next(row["epoch"] for row in logged if "soft_to_hard_gap" in row)
        assert list(drawn["frozen"].get_xdata()) == [frozen, frozen]


def test_one_beta_is_a_course_of_its_own_and_what_was_not_finite_is_left_out():
    logged = [{"epoch": 1, "beta/a": 0.1}, {"epoch": 2, "beta/a": None}, {"epoch": 3, "beta/a": 0.4}]
    logged = [row | {"beta/ab": 0.9} for row in logged]
    [axes] = course_picture("a", logged, []).axes
    [line] = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 3], [0.1, 0.4])


def test_a_layer_that_learns_nothing_and_has_no_rule_has_no_courses():
    assert course_picture("a", [{"epoch": 1, "beta/b": 0.1}], []) is None
    assert course_picture("a", [], []) is None


def test_the_masks_before_and_after_show_what_was_dropped_and_what_was_grown(run_of):
    run = run_of("evolving")
    wiring = wirings(run, record(run))[0]
    assert wiring.changed
    panels = mask_picture(wiring).axes
    for axes, own, other, colour in zip(
        panels, (wiring.start, wiring.edges), (wiring.edges, wiring.start), (DROPPED, GROWN), strict=True
    ):
        [dots] = [artist for artist in axes.collections if isinstance(artist, PathCollection)]
        assert dots.get_offsets().tolist() == np.stack([own.source, own.target], 1).tolist()
        coloured = [to_hex(face) == colour.lower() for face in dots.get_facecolors()]
        assert coloured == [not other.mask()[t, s] for t, s in zip(own.target, own.source, strict=True)]
        assert any(coloured)


def test_a_mask_that_stays_is_drawn_once(three_modalities):
    [axes] = mask_picture(three_modalities).axes
    [dots] = axes.collections
    assert {tuple(face) for face in dots.get_facecolors()} == {to_rgba(INK)}


def test_the_bars_of_the_degrees_are_the_histograms():
    [axes] = degree_picture([0, 2, 5], [1, 0, 3, 3]).axes
    bars = [[bar.get_height() for bar in container] for container in axes.containers]
    assert bars == [[0, 2, 5], [1, 0, 3, 3]]


# report


def sections(run):
    """By sparse layer: its part of the report."""
    page = (run.path / "report.html").read_text()
    section = page.partition('id="trial-0"')[2].partition("</section>")[0]
    parts = re.split(r"<h4>(.*?)</h4>", section)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_report_shows_pictures_of_every_sparse_layer_with_words_for_them(run):
    found = sections(run)
    assert found.keys() == edges_at(run, "end").keys()
    for layer, part in found.items():
        images = re.findall(r"<img [^>]*>", part)
        changes = layer == "connector.layers.0"  # by a rule, or because it learns
        for words in ("Mask of", "Graph of", "Degrees of", *(["Course of"] if changes else [])):
            assert sum(f'alt="{words} {layer}' in image for image in images) == 1
        assert len(images) == 3 + changes
        assert all('loading="lazy"' in image for image in images)


def table_of(part):
    """The rows of the table in a part of the report."""
    rows = re.findall(r'scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', part)
    return {name: (start, end) for name, start, end in rows}


def test_the_report_has_a_table_of_the_measures_from_start_to_end(run):
    wiring = record(run).wiring
    for layer, part in sections(run).items():
        table = {name: row for name, row in table_of(part).items() if "←" not in name}
        start, end = wiring["start"][layer], wiring["end"][layer]
        expected = {
            words: (figure(start.get(name)), figure(end.get(name)))
            for name, words in MEASURES.items()
            if name in end
        }
        assert table == expected
        assert {"clustering", "path length", "sigma", "omega", "explored positions"} <= table.keys()


def test_the_table_has_the_share_of_the_edges_of_every_pair_of_modalities(run):
    ends = [edges_at(run, moment) for moment in ("start", "end")]
    for layer, part in sections(run).items():
        found = {name: row for name, row in table_of(part).items() if "←" in name}
        expected = {}
        for to, one in enumerate(("image", "text")):
            for origin, other in enumerate(("image", "text")):
                joined = [(edges[layer][2] // 16 == to) & (edges[layer][3] // 16 == origin) for edges in ends]
                expected[f"edges {one} ← {other}"] = tuple(figure(pairs.mean()) for pairs in joined)
        assert found == ({} if layer.startswith("head") else expected)


def test_the_verdict_on_learned_wiring_is_recorded_with_what_was_found_and_reported(run_of):
    run = run_of("judged")
    pairs = {f"{one} ← {two}": f"/{i}/{j}" for i, one in enumerate(NAMES) for j, two in enumerate(NAMES)}
    for layer, kind, shares in (
        ("connector.layers.0", "beta_from", {"beta": ""}),
        ("fusion.layer", "budgets_from", pairs),
    ):
        measures, table = recorded(run)["end"][layer], table_of(sections(run)[layer])
        found = {
            name: [measures[f"{kind}/{start}{place}"] for start in STARTS] for name, place in shares.items()
        }
        assert measures["spread"] == pytest.approx(max(np.ptp(betas) for betas in found.values()))
        assert measures["identifiable"] is bool(measures["spread"] <= 0.2)
        verdict = "identifiable" if measures["identifiable"] else "not identifiable"
        assert table["learned wiring"] == ("–", f"{verdict} (spread {figure(measures['spread'])})")
        for name, betas in found.items():
            assert table[f"{name} learned"] == ("0.1, 0.5, 0.9", ", ".join(map(figure, betas)))
        stored = record(run).wiring["end"][layer]
        assert all(stored[name] == value for name, value in measures.items() if "_from" in name)
        assert stored["identifiable"] is measures["identifiable"]


def test_the_report_of_a_dense_network_says_that_nothing_is_sparse(run_of):
    page = (run_of("dense").path / "report.html").read_text()
    assert "No sparse layers." in page
    assert page.count("<img ") == 1  # the front


def test_a_report_stays_small(run):
    pictures = sum(len(part) for part in sections(run).values()) / len(sections(run))
    assert pictures < 100_000


def test_a_run_from_before_the_measures_has_its_masks_all_the_same(run_of):
    from dataclasses import replace

    from nas.results.layers import layers

    run = run_of("evolving")
    [first, *_] = layers(run, replace(record(run), wiring={}))
    assert first.rows == []
    assert first.pictures[0].alt.startswith("Mask of connector.layers.0")
