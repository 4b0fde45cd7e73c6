"""Weight inheritance: what a child takes over, who inherits, and what that does to the objectives."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from searches import InThisProcess
from torch import nn

from nas.evaluation import Evaluator
from nas.modality import ModalitySpec, Task
from nas.network import build
from nas.registry import create
from nas.results.lineage import gains
from nas.results.records import COMPLETE, RUNNING, History, Origin, Record
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.driver import drive
from nas.search.proposals import Proposals
from nas.search.setup import prepare
from nas.search.study import Study
from nas.space import Architecture, Int, SearchSpace
from nas.space.search_space import Group
from nas.sparse import SparseLinear
from nas.training.inheritance import Ancestor, inherit

MODALITIES = {"image": ModalitySpec("image", (1, 8, 8)), "text": ModalitySpec("text", (5,), 7)}
TASK = Task("classification", ("a", "b", "c"))
SMALL_WORLD = {"layers": 2, "topology": {"watts_strogatz": {"k": 4, "beta": 0.2}}, "dropout": 0.0}
PARENT = {
    "dim": 12,
    "encoders": {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}},
    "connector": {"small_world": SMALL_WORLD},
    "fusion": {"concat": {}},
    "head": {"linear": {}},
}


def wired(topology, layers=2):
    return {"connector": {"small_world": SMALL_WORLD | {"layers": layers, "topology": topology}}}


def network(seed, **slots):
    return build(PARENT | slots, MODALITIES, TASK, seed=seed)


def child_of(parent, parent_slots=None, **slots):
    """A child, what it was drawn as, and the share that it has inherited from the parent."""
    drawn, child = network(2, **slots), network(2, **slots)
    ancestor = Ancestor(Architecture(PARENT | (parent_slots or {})), parent.state_dict())
    return child, drawn, inherit(child, ancestor, MODALITIES, TASK)


def outputs(whole):
    torch.manual_seed(0)
    inputs = {"image": torch.randn(3, 1, 8, 8), "text": torch.randint(7, (3, 5))}
    return whole.eval()(inputs)


def dense(layer):
    matrix = torch.full((layer.out_features, layer.in_features), torch.nan)
    matrix[layer.target, layer.source] = layer.weight.detach()
    return matrix


def sparse_layers(whole):
    return [module for module in whole.modules() if isinstance(module, SparseLinear)]


def test_a_child_of_the_same_architecture_is_its_parent():
    parent = network(1)
    child, drawn, share = child_of(parent)
    assert share == 1
    torch.testing.assert_close(outputs(child), outputs(parent))
    assert not torch.allclose(outputs(drawn), outputs(parent))


@pytest.mark.parametrize("topology", [{"watts_strogatz": {"k": 4, "beta": 0.8}}, {"ring": {"k": 6}}])
def test_a_rewired_layer_inherits_edge_by_edge(topology):
    parent = network(1)
    child, drawn, share = child_of(parent, **wired(topology))
    assert 0 < share < 1
    for own, fresh, other in zip(*map(sparse_layers, (child, drawn, parent)), strict=True):
        mine, before, theirs = dense(own), dense(fresh), dense(other)
        assert torch.equal(mine.isnan(), before.isnan())
        both = ~before.isnan() & ~theirs.isnan()
        assert both.any()
        assert (~before.isnan() & theirs.isnan()).any()
        assert torch.equal(mine[both], theirs[both])
        assert torch.equal(mine[~both].nan_to_num(), before[~both].nan_to_num())
        assert torch.equal(own.bias, other.bias)


def test_a_layer_more_starts_as_it_was_drawn_and_the_others_inherit():
    parent = network(1)
    child, drawn, _ = child_of(parent, **wired(SMALL_WORLD["topology"], layers=3))
    one, two, three = sparse_layers(child)
    assert torch.equal(one.weight, sparse_layers(parent)[0].weight)
    assert torch.equal(two.weight, sparse_layers(parent)[1].weight)
    assert torch.equal(three.weight, sparse_layers(drawn)[2].weight)


def test_another_component_inherits_nothing_though_its_shapes_fit():
    parent = network(1, head={"mlp": {"hidden": 24, "dropout": 0.0}})
    child, drawn, _ = child_of(parent, {"head": {"mlp": {"hidden": 24, "dropout": 0.0}}})
    assert torch.equal(next(child.head.parameters()), next(drawn.head.parameters()))
    assert torch.equal(next(child.encoders.image.parameters()), next(parent.encoders.image.parameters()))


def test_where_the_width_differs_only_what_fits_is_inherited():
    parent = network(1)
    child, drawn, share = child_of(parent, dim=16)
    assert 0 < share < 1
    parents, draws = dict(parent.named_parameters()), dict(drawn.named_parameters())
    for name, parameter in child.named_parameters():
        fits = parents[name].shape == parameter.shape and "connector" not in name
        torch.testing.assert_close(parameter, parents[name] if fits else draws[name])


def test_a_search_for_a_wiring_goes_on_from_the_beta_that_the_parent_has_learned():
    slots = wired({"learnable_watts_strogatz": {"k": 4}}, layers=1)
    parent = network(1, **slots)
    [layer] = sparse_layers(parent)
    with torch.no_grad():
        layer.share_logits.add_(1.3)
    layer.freeze()
    learned = layer.beta.item()
    child, drawn, _ = child_of(parent, slots, **slots)
    [own] = sparse_layers(child)
    assert own.searching
    assert isinstance(own.share_logits, nn.Parameter)
    assert own.beta.item() == pytest.approx(learned)
    assert sparse_layers(drawn)[0].beta.item() != pytest.approx(learned)


SPACE = SearchSpace(Group({"dim": Int(1, 400), "width": Int(1, 400)}))
OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}


def search(inheritance, trials=80):
    """Records of a search whose accuracies are known at once, and the front before each was asked for."""
    proposals = Proposals(SPACE, create("sampler", "evolution", children=1), 5, inheritance=inheritance)
    records, fronts = [], []
    for number in range(trials):
        history = History(tuple(records), OBJECTIVES)
        proposal = proposals.next(history)
        fronts.append({member.number for member in history.front()})
        point = proposal.architecture
        values = {"accuracy": float(point["width"]), "parameters": float(point["dim"] * point["width"])}
        record = Record(number, number, point, RUNNING, number, proposal.origin)
        records.append(replace(record, state=COMPLETE, told=number, values=values))
    return records, fronts


@pytest.mark.parametrize(("inheritance", "low", "high"), [(0.0, 0, 0), (0.5, 0.25, 0.75), (1.0, 1, 1)])
def test_the_asked_share_of_the_front_s_children_inherits_and_nobody_else(inheritance, low, high):
    records, fronts = search(inheritance)
    heirs, could = 0, 0
    for record, front in zip(records, fronts, strict=True):
        parent = next(iter(record.origin.parents), None)
        could += parent in front
        heirs += record.origin.inherits is not None
        assert record.origin.inherits is None or record.origin.inherits == parent in front
    assert could > 20
    assert low * could <= heirs <= high * could


def test_inheritance_changes_who_inherits_and_not_what_is_proposed():
    assert [r.architecture for r in search(0.0, 30)[0]] == [r.architecture for r in search(1.0, 30)[0]]


def test_the_bias_of_inheritance_is_the_difference_of_the_mean_gains():
    def record(number, accuracy, parents=(), inherits=None, asked_after=1):
        origin = Origin("mutation" if parents else "sampled", parents, inherits)
        values = {"accuracy": accuracy, "parameters": 10.0 - number}
        architecture = Architecture({"dim": number + 1})
        return Record(number, 0, architecture, COMPLETE, asked_after, origin, told=number, values=values)

    accuracies = [0.5, 0.7, 0.6, 0.53, 0.4]
    records = [
        record(0, accuracies[0], asked_after=0),
        *(record(n, accuracies[n], (0,), 0 if n < 3 else None) for n in range(1, 5)),
    ]
    found = gains(History(records, OBJECTIVES))
    assert found.inherited == pytest.approx([0.2, 0.1])
    assert found.control == pytest.approx([0.03, -0.1])
    assert found.bias == pytest.approx(np.mean([0.2, 0.1]) - np.mean([0.03, -0.1]))
    assert gains(History(records[:3], OBJECTIVES)).bias is None


def test_a_parent_that_had_left_the_front_says_nothing_about_inheritance():
    values = [{"accuracy": a, "parameters": 1.0} for a in (0.5, 0.6, 0.7)]
    records = [
        Record(n, 0, Architecture({"dim": n + 1}), COMPLETE, n, told=n, values=v)
        for n, v in enumerate(values)
    ]
    records[2] = replace(records[2], origin=Origin("mutation", (0,)))
    assert gains(History(records, OBJECTIVES)).control == []


def test_a_search_with_inheritance_starts_children_from_kept_weights_and_tells(write_experiment, tmp_path):
    space = {name: PARENT[name] for name in ("dim", "encoders", "head")} | {"dim": {"int": [6, 12]}}
    file = write_experiment(
        space=space | {"connector": "none", "fusion": {"choice": ["concat", "late"]}},
        search={"sampler": {"evolution": {"startup": 3}}, "trials": 9, "inheritance": 1.0},
        training={"epochs": 2},
    )
    setup, run = prepare(file, []), RunDirectory(tmp_path / "run")
    run.create(setup.experiment, setup.dataset.modalities, setup.dataset.task)
    study = Study(run, setup.experiment.name, setup.proposals, setup.experiment.objectives)
    executor = InThisProcess(Evaluator(setup.dataset, list(OBJECTIVES), setup.experiment.training))
    drive(study, executor, setup.pruner, run, 9, lambda report: None, lambda: False)
    study.close()
    heirs = [record for record in read_history(run).records if record.origin.inherits is not None]
    assert heirs
    for job in executor.jobs:
        first = json.loads((job.folder / "metrics.jsonl").read_text().splitlines()[0])
        assert ("inherited" in first) == (job.ancestor is not None)
    for record in heirs:
        job = executor.jobs[record.number]
        assert job.ancestor == run.trial(record.origin.inherits)
    asked = {line["trial"]: line for line in run.events() if line["event"] == "asked"}
    assert all(asked[record.number]["inherits"] == record.origin.inherits for record in heirs)
