"""The driver with an executor that plays a script: what is tried again, what fails, what is left."""

import json
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import TrialError
from nas.experiment import Experiment, Retries, Stop
from nas.modality import ModalitySpec, Task
from nas.registry import create
from nas.results.records import COMPLETE, FAILED, REJECTED, TUNED, WAITING, History, Record
from nas.results.run_directory import RunDirectory
from nas.search.driver import EXHAUSTED, drive
from nas.search.executors import Completed, Failed, Measured, Progress
from nas.search.groups import Groups
from nas.search.proposals import Proposals
from nas.search.stopping import stands_still
from nas.search.study import Study
from nas.space import Architecture
from nas.space.assemble import assemble

OBJECTIVES = {"accuracy": "maximize", "parameters": "minimize"}
MODALITIES = {"image": ModalitySpec("image", (1, 8, 8))}
SPACE = assemble({"dim": {"int": [4, 64]}, "head": "linear", "connector": "none"}, MODALITIES)


def complete(accuracy=0.5, epochs=1):
    """An attempt that reports so many epochs and completes."""

    def play(job):
        values = {"accuracy": accuracy, "parameters": float(job.architecture["dim"])}
        yield Measured(job.number, {"parameters": values["parameters"]})
        for epoch in range(1, epochs + 1):
            yield Progress(job.number, {"epoch": epoch, "accuracy": accuracy})
        yield Completed(job.number, values, 1.0)

    return play


def reject(job):
    """An attempt that a constraint ends before its training."""
    yield Measured(job.number, {"parameters": float(job.architecture["dim"])})
    yield Failed(job.number, TrialError("constraint", "too large"), 0.1)


def fail(kind, epochs=1):
    """An attempt that fails after so many epochs."""

    def play(job):
        yield from list(complete(epochs=epochs)(job))[:-1]
        yield Failed(job.number, TrialError(kind, f"what {kind} says"), 1.0)

    return play


class Scripted:
    """Plays, for every trial, one attempt after another, and completes when there is none left.

    Args:
        attempts: By trial number.
        room: Jobs at a time.
    """

    def __init__(self, attempts, room=1):
        self.attempts = defaultdict(list, {number: list(played) for number, played in attempts.items()})
        self.size = room
        self.playing = {}
        self.jobs = []
        self.groups = []
        self.answers = []

    @property
    def room(self):
        return self.size - len(self.playing)

    def submit(self, jobs):
        assert self.room
        self.groups.append([job.number for job in jobs])
        for job in jobs:
            self.jobs.append(job)
            attempts = self.attempts[job.number]
            self.playing[job.number] = (attempts.pop(0) if attempts else complete())(job)

    def wait(self, seconds):
        reports = [next(reports) for reports in self.playing.values()]
        for report in reports:
            if isinstance(report, Completed | Failed):
                del self.playing[report.number]
        return reports

    def answer(self, number, stop):
        self.answers.append((number, stop))

    def close(self):
        self.playing.clear()


@pytest.fixture
def study(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(
        Experiment(name="mine", data={"toy": {}}, objectives=OBJECTIVES),
        MODALITIES,
        Task("classification", ("a", "b")),
    )
    study = Study(run, "mine", Proposals(SPACE, create("sampler", "random"), 3), OBJECTIVES)
    yield study
    study.close()


def search(study, executor, trials=2, observe=lambda report: None, **options):
    """Drive the study to its end."""
    options = {"interrupted": lambda: False, "pruner": create("pruner", "none")} | options
    return drive(study, executor, run=study.run, trials=trials, observe=observe, **options)


def events(study, *names):
    lines = [json.loads(line) for line in study.run.events_file.read_text().splitlines()]
    return [line for line in lines if line["event"] in names]


def test_a_trial_that_lost_its_worker_runs_again_with_its_number_and_seed(study):
    executor = Scripted({0: [fail("lost_worker")]})
    search(study, executor, retries={"lost_worker": 1})
    first, again, other = executor.jobs
    assert again == first
    assert (first.number, other.number) == (0, 1)
    assert [record.state for record in study.records] == [COMPLETE, COMPLETE]
    [retried] = events(study, "retried")
    assert (retried["trial"], retried["kind"], retried["attempt"]) == (0, "lost_worker", 2)
    assert retried["message"] == "what lost_worker says"


def test_the_progress_of_an_attempt_that_failed_is_dropped(study):
    search(
        study, Scripted({0: [fail("lost_worker", epochs=3), complete(0.7, 2)]}), retries={"lost_worker": 1}
    )
    assert [epoch["accuracy"] for epoch in study.records[0].metrics] == [0.7, 0.7]


def test_a_trial_fails_when_its_tries_are_used_up(study):
    search(study, Scripted({0: [fail("lost_worker")] * 3}), retries={"lost_worker": 2})
    assert study.records[0].state == FAILED
    assert study.records[0].failure == ("lost_worker", "what lost_worker says")
    assert [line["attempt"] for line in events(study, "retried")] == [2, 3]
    assert [line["kind"] for line in events(study, "failed")] == ["lost_worker"]


def test_every_kind_of_failure_has_its_own_tries(study):
    attempts = [fail("lost_worker"), fail("time_limit"), fail("lost_worker")]
    search(study, Scripted({0: attempts}), retries={"lost_worker": 1, "time_limit": 1})
    assert [(line["kind"], line["attempt"]) for line in events(study, "retried")] == [
        ("lost_worker", 2),
        ("time_limit", 3),
    ]
    assert study.records[0].failure[0] == "lost_worker"


@pytest.mark.parametrize("kind", ["error", "nan", "out_of_memory", "time_limit"])
def test_a_kind_without_retries_fails_at_once(study, kind):
    search(study, Scripted({0: [fail(kind)]}), retries={"lost_worker": 1})
    assert study.records[0].failure == (kind, f"what {kind} says")
    assert events(study, "retried") == []


def test_a_trial_that_was_out_of_memory_is_tried_once_more_alone_then_fails_by_that_name(study):
    executor = Scripted({0: [fail("out_of_memory")] * 2, 1: [fail("lost_worker")]})
    search(study, executor, retries=Retries().model_dump())
    assert [(job.number, job.alone) for job in executor.jobs] == [
        (0, False),
        (0, True),
        (1, False),
        (1, False),
    ]
    assert study.records[0].failure == ("out_of_memory", "what out_of_memory says")


def test_trials_that_fail_at_the_same_time_all_run_again(study):
    executor = Scripted({number: [fail("lost_worker")] for number in range(3)}, room=3)
    search(study, executor, trials=4, retries={"lost_worker": 1})
    assert [job.number for job in executor.jobs] == [0, 1, 2, 0, 1, 2, 3]
    assert {record.state for record in study.records} == {COMPLETE}


def test_an_error_in_the_driver_leaves_no_trial_running(study):
    def explode(report):
        if isinstance(report, Completed):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        search(study, Scripted({}, room=2), trials=4, observe=explode)
    assert [record.state for record in study.records] == [COMPLETE, WAITING]


@pytest.mark.parametrize("method", ["submit", "close"])
def test_an_error_of_the_executor_leaves_no_trial_running(study, monkeypatch, method):
    def broken(*_):
        raise RuntimeError("out of order")

    executor = Scripted({})
    monkeypatch.setattr(executor, method, broken)
    with pytest.raises(RuntimeError, match="out of order"):
        search(study, executor, interrupted=iter([False, True]).__next__)
    assert [record.state for record in study.records] == [WAITING]


def test_what_a_killed_session_left_running_is_put_back_by_one_that_does_not_get_to_it(study):
    study.ask()
    study.ask()
    search(study, Scripted({}), interrupted=lambda: True)
    assert [record.state for record in study.records] == [WAITING, WAITING]


def test_weights_that_a_running_trial_has_just_saved_are_not_those_of_a_loser(study):
    def slow(job):
        yield from list(complete(0.9, epochs=3)(job))

    def save(report):
        file = study.run.weights(1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    search(study, Scripted({1: [slow]}, room=2), observe=save)
    assert 1 in {candidate.number for candidate in study.history.front()}
    assert study.run.weights(1).exists()


def test_what_was_told_is_secured_again_and_again(study, monkeypatch):
    secured = []
    monkeypatch.setattr("nas.search.driver.TABLES_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("nas.results.pace.PATIENCE", 0)
    monkeypatch.setattr(study, "secure", lambda: secured.append(study.history.records[-1].state))
    search(study, Scripted({}), trials=1)
    assert secured[-1] == COMPLETE


# Groups


@pytest.fixture
def grouping(study):
    """The study, whose trials train together by fours."""
    space = assemble(
        {"head": {"mlp": {"hidden": 16}}, "connector": "none", "dim": {"int": [4, 64]}}, MODALITIES
    )
    study.proposals = Proposals(space, create("sampler", "random"), 3, groups=Groups(4, True))
    return study


def test_trials_of_one_shape_are_handed_over_as_groups(grouping):
    executor = Scripted({})
    search(grouping, executor, trials=10)
    assert executor.groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for group in executor.groups:
        assert len({grouping.records[number].architecture["dim"] for number in group}) == 1


def test_a_group_that_lost_its_worker_runs_again_together_then_each_alone(grouping):
    lost = {number: [fail("lost_worker"), fail("lost_worker")] for number in range(4)}
    executor = Scripted(lost | {1: [fail("lost_worker")] * 3})
    search(grouping, executor, trials=4)
    assert executor.groups == [[0, 1, 2, 3], [0, 1, 2, 3], [0], [1], [2], [3]]
    assert [record.state for record in grouping.records] == [COMPLETE, FAILED, COMPLETE, COMPLETE]


def test_only_what_had_not_ended_runs_again_together(grouping):
    executor = Scripted({number: [fail("lost_worker")] for number in (1, 3)})
    search(grouping, executor, trials=4)
    assert executor.groups == [[0, 1, 2, 3], [1, 3]]
    assert [record.state for record in grouping.records] == [COMPLETE] * 4


@pytest.mark.parametrize("kind", ["time_limit", "out_of_memory"])
def test_what_takes_a_whole_group_down_lets_each_run_again_alone_and_costs_no_retry(grouping, kind):
    executor = Scripted({number: [fail(kind)] for number in range(4)} | {1: [fail(kind), fail(kind)]})
    search(grouping, executor, trials=4)
    assert executor.groups == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert [record.state for record in grouping.records] == [COMPLETE, FAILED, COMPLETE, COMPLETE]


def test_a_member_that_fails_by_itself_is_not_run_again(grouping):
    executor = Scripted({2: [fail("nan")]})
    search(grouping, executor, trials=4)
    assert executor.groups == [[0, 1, 2, 3]]
    assert grouping.records[2].state == FAILED


def test_what_was_left_over_runs_again_in_its_groups_and_the_last_one_fills_up(grouping):
    for _ in range(6):
        grouping.release(grouping.ask().number)
    executor = Scripted({})
    search(grouping, executor, trials=8)
    assert executor.groups == [[0, 1, 2, 3], [4, 5, 6, 7]]


# The end of a search


def test_trials_that_a_constraint_rejects_do_not_count(study):
    search(study, Scripted({0: [reject], 2: [reject]}), trials=3)
    assert [record.state for record in study.records] == [REJECTED, COMPLETE, REJECTED, COMPLETE, COMPLETE]


def test_a_search_whose_constraints_reject_everything_ends_and_says_which(study, monkeypatch):
    monkeypatch.setattr("nas.search.stopping.REJECTIONS", 7)
    study.constraints = {"parameters": "<= 1"}
    reason = search(study, Scripted({key: [reject] for key in range(20)}), trials=5)
    assert reason == "constraints rejected 7 trials in a row: parameters was <= 1 in none of them"
    assert len(study.records) == 7
    assert events(study, "stopped")[0]["reason"] == reason


def test_constraints_that_exclude_each_other_are_counted_one_by_one(study, monkeypatch):
    monkeypatch.setattr("nas.search.stopping.REJECTIONS", 5)
    study.constraints = {"sparsity": ">= 0.5", "parameters": "<= 10"}

    def sized(parameters):
        def attempt(job):
            yield Measured(
                job.number, {"parameters": parameters, "sparsity": 0.1 if parameters < 10 else 0.9}
            )
            yield Failed(job.number, TrialError("constraint", "not both"), 0.1)

        return [attempt]

    reason = search(study, Scripted({key: sized(5 if key < 2 else 50) for key in range(5)}), trials=5)
    said = "parameters was <= 10 in 2 of them; sparsity was >= 0.5 in 3 of them"
    assert reason == f"constraints rejected 5 trials in a row: {said}"


def test_a_search_that_has_used_up_its_space_ends_and_says_so(study):
    encoders = {"image": {"cnn": {"width": 8}}, "text": {"attention": {"embedding": 16}}}
    tree = {"encoders": encoders, "connector": "none", "fusion": "concat", "head": "linear"}
    study.proposals.space = assemble(tree | {"dim": {"choice": [4, 8, 16]}}, MODALITIES)
    every = list(study.proposals.space.points())
    reason = search(study, Scripted({}), trials=len(every) + 5)
    assert {record.architecture for record in study.records} == set(every)
    assert len(study.records) == len(every)
    assert reason == EXHAUSTED
    [stopped] = events(study, "stopped")
    assert stopped["reason"] == EXHAUSTED


def test_a_search_ends_when_it_has_trained_its_epochs(study):
    executor = Scripted({key: [complete(epochs=4)] for key in range(9)})
    assert search(study, executor, trials=9, stop=Stop(epochs=10)) == "it has trained 12 epochs"
    assert [record.state for record in study.records] == [COMPLETE] * 3


def test_a_search_ends_when_its_time_is_up_and_what_runs_then_finishes(study, monkeypatch):
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr("nas.search.driver.time.monotonic", lambda: float(next(now)))
    reason = search(study, Scripted({}, room=2), trials=50, stop=Stop(seconds=100))
    assert reason == "it has searched for 100 seconds"
    assert 2 <= len(study.records) < 50
    assert {record.state for record in study.records} == {COMPLETE}


def test_a_search_ends_when_the_front_stands_still(study):
    accuracies = [0.5, 0.7, 0.1, 0.9, 0.2, 0.1, 0.0, 0.0]
    dims = [50, 50, 60, 50, 60, 60, 60, 60]

    def play(accuracy, dim):
        def attempt(job):
            yield Measured(job.number, {"parameters": dim})
            yield Completed(job.number, {"accuracy": accuracy, "parameters": dim}, 1.0)

        return [attempt]

    attempts = {number: play(*pair) for number, pair in enumerate(zip(accuracies, dims, strict=True))}
    reason = search(study, Scripted(attempts), trials=8, stop=Stop(stagnation=3))
    assert reason == "none of the last 3 trials has improved the front"
    assert len(study.records) == 7


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([COMPLETE, FAILED])), max_size=12
    )
)
def test_the_front_stands_still_where_every_late_trial_was_reached_before(rows):
    objectives = {"one": "minimize", "other": "minimize"}
    records = [
        Record(
            number,
            0,
            Architecture({"dim": number}),
            state,
            0,
            told=number,
            values={"one": one, "other": other} if state == COMPLETE else {},
        )
        for number, (one, other, state) in enumerate(rows)
    ]
    grown = [
        state == COMPLETE
        and not any(a <= one and b <= other for a, b, past in rows[:number] if past == COMPLETE)
        for number, (one, other, state) in enumerate(rows)
    ]
    for trials in range(1, len(rows) + 2):
        still = len(rows) >= trials and not any(grown[-trials:])
        assert stands_still(History(records, objectives), trials) is still


def test_what_a_trial_exceeds_stands_on_it_in_the_database(study):
    study.constraints = {"parameters": "<= 30"}
    search(study, Scripted({0: [reject]}), trials=2)
    stored = study.stored.get_trials()
    assert [trial.constraints["parameters"] for trial in stored] == [
        record.cheap["parameters"] - 30 for record in study.records
    ]


class Looking:
    """A pruner that stops nothing and remembers what it was shown."""

    def __init__(self):
        self.shown = []

    def stops(self, trial, history):
        self.shown += [record.origin.operator for record in history.records]
        return False


def test_a_search_that_goes_on_is_not_judged_by_what_had_trained_on(study):
    study.proposals = Proposals(SPACE, create("sampler", "random"), 3, frozen=True)
    search(study, Scripted({}), trials=1)
    assert [record.origin.operator for record in study.records][1:] == [TUNED]

    def waiting(job):
        yield Progress(job.number, {"epoch": 1, "accuracy": 0.1}, True)
        yield from complete()(job)

    pruner = Looking()
    search(study, Scripted({2: [waiting]}), trials=2, pruner=pruner)
    assert pruner.shown
    assert TUNED not in pruner.shown
