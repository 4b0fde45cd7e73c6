"""A run replays: what was asked follows from the order in which trials ended, whatever it was."""

import random
import shutil
import sqlite3
from collections import Counter
from itertools import islice

import numpy as np
import pytest

import nas
from nas.errors import TrialError
from nas.experiment import Experiment
from nas.modality import ModalitySpec, Task
from nas.registry import create
from nas.results.records import ENDS
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.groups import Groups
from nas.search.proposals import Proposals
from nas.search.replay import replay
from nas.search.study import Study
from nas.space.assemble import assemble

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}
MODALITIES = {"image": ModalitySpec("image", (1, 8, 8)), "text": ModalitySpec("text", (5,), 7)}
SPACE = assemble({"dim": {"int": [4, 64]}, "head": "linear", "connector": "none"}, MODALITIES)
SAMPLERS = {"random": {}, "tpe": {"startup": 6}, "nsga2": {"population": 6}, "evolution": {"startup": 5}}


def proposals(sampler, groups=None):
    made = create("sampler", sampler, **SAMPLERS[sampler])
    return Proposals(SPACE, made, 3, racing=0.2, inheritance=0.5, groups=groups, exact=exact)


def exact(architecture):
    return {"parameters": architecture["dim"] ** 2.0}


def begun(folder, sampler):
    """A run that has no trial yet, and the dice that decide what becomes of its trials."""
    run = RunDirectory(folder)
    experiment = Experiment(
        name="toy", data={"toy": {}}, objectives=OBJECTIVES, constraints={"parameters": "<= 3000"}
    )
    run.create(experiment, MODALITIES, Task("classification", ("a", "b")))
    return run, random.Random(sampler)


def opened(run, sampler, groups=None):
    return Study(run, "toy", proposals(sampler, groups), OBJECTIVES, run.experiment().constraints)


def steps(study, dice, trials=24, workers=3):
    """Go on until there are so many trials, which end in an order of their own; stops after every step."""
    running = [study.restart(record).number for record in study.left_over()]
    while len(study.records) < trials or running:
        while len(running) < workers and len(study.records) < trials:
            running.append(study.ask().number)
        number = dice.choice(running)
        dim = study.records[number].architecture["dim"]
        values = {"accuracy": dice.random() + dim / 100, **exact(study.records[number].architecture)}
        step = dice.choice(["measure", "progress", "progress", "tell", "tell", "fail", "prune"])
        if step == "measure":
            study.measure(number, {"parameters": values["parameters"]})
        elif step == "progress":
            study.progress(number, {"epoch": 1, "accuracy": values["accuracy"]})
        else:
            running.remove(number)
            study.measure(number, {"parameters": values["parameters"]})
            study.progress(number, {"epoch": 1, "accuracy": values["accuracy"]})
            if step == "tell":
                study.tell(number, values, 1.0)
            else:
                study.fail(number, TrialError("nan" if step == "fail" else "pruned", ""), 1.0)
        yield
    study.close()


def searched(folder, sampler, groups=None):
    """A run that has come to its end."""
    run, dice = begun(folder, sampler)
    list(steps(opened(run, sampler, groups), dice))
    return run


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_follows_from_the_order_in_which_trials_ended(sampler, tmp_path):
    run = searched(tmp_path / "run", sampler)
    asked = list(replay(run, proposals(sampler)))
    assert [trial.number for trial in asked] == list(range(24))
    assert all(trial.proposed == trial.recorded for trial in asked)


@pytest.mark.parametrize("lost", ["study.db", "events.jsonl"])
def test_a_run_replays_of_which_a_power_cut_took_the_end(lost, tmp_path):
    run, dice = begun(tmp_path / "run", "evolution")
    file, kept = run.path / lost, tmp_path / "kept"
    study = opened(run, "evolution")
    course = steps(study, dice)
    for _ in islice(course, 12):
        pass
    study.secure()
    shutil.copy(file, kept)
    for _ in islice(course, 14):
        pass
    study.close()
    shutil.copy(kept, file)
    list(steps(opened(run, "evolution"), dice))
    ends = Counter(event["trial"] for event in run.events() if event["event"] in ENDS.values())
    assert ends == Counter(range(24))
    asked = list(replay(run, proposals("evolution")))
    assert [trial.number for trial in asked] == list(range(24))
    assert all(trial.proposed == trial.recorded for trial in asked)


def test_siblings_replay_too(tmp_path, monkeypatch):
    data = {"dim": {"int": [4, 64]}, "head": {"mlp": {"hidden": 16}}, "connector": "none", "fusion": "late"}
    monkeypatch.setitem(globals(), "SPACE", assemble(data, MODALITIES))
    run = searched(tmp_path / "run", "evolution", groups=Groups(3, True))
    asked = list(replay(run, proposals("evolution", Groups(3, True))))
    assert all(trial.proposed == trial.recorded for trial in asked)
    operators = [event["operator"] for event in run.events() if event["event"] == "asked"]
    assert operators.count("sibling") >= 8


def test_a_run_of_which_a_result_was_changed_does_not_replay(tmp_path):
    run = searched(tmp_path / "run", "evolution")
    with sqlite3.connect(run.database) as database:
        database.execute("UPDATE trial_values SET value = 1 - value WHERE objective = 0")
    asked = list(replay(run, proposals("evolution")))
    assert any(trial.proposed != trial.recorded for trial in asked)


def test_the_search_that_a_command_has_made_replays(finished_search):
    from nas.search.setup import prepare

    setup = prepare(finished_search / "toy.yaml", [])
    asked = list(replay(RunDirectory(finished_search / "run"), setup.proposals))
    assert len(asked) >= 12
    assert all(trial.proposed == trial.recorded for trial in asked)


def test_what_is_scouted_is_what_a_trial_measures(finished_search):
    from nas.search.setup import prepare

    proposals = prepare(finished_search / "toy.yaml", []).proposals
    candidates = read_history(RunDirectory(finished_search / "run")).candidates
    assert len(candidates) >= 5
    for candidate in candidates:
        assert proposals.exact(candidate.architecture) == {"parameters": candidate.values["parameters"]}


def test_what_needs_a_device_samples_or_is_a_plugins_is_not_scouted(write_experiment):
    from nas.search.setup import prepare

    @nas.register("objective", "depth")
    class Depth:
        direction, cheap = "minimize", True

        def __call__(self, context):
            return len(list(context.network.children()))

    objectives = {"accuracy": "maximize", "depth": "minimize", "latency_ms": "minimize", "snip": "maximize"}
    file = write_experiment(objectives=objectives, constraints={"sparsity": ">= 0"})
    proposals = prepare(file, []).proposals
    assert proposals.exact(proposals.space.sample(np.random.default_rng(0))) == {"sparsity": 0}
