"""The local executor: whatever a component does to its worker, every job is reported and the next runs."""

import os
import signal
import time
import weakref

import pytest
import torch
from searches import DEADLINE_SECONDS, SEARCH, alive, wait_until, write_search
from torch import nn

import nas
from nas.datasets import load_dataset
from nas.errors import KeyPathError
from nas.evaluation import Evaluator
from nas.experiment import Training, load_experiment
from nas.registry import load_plugins
from nas.search.executors import Completed, Failed, Job, Measured, Progress, local
from nas.search.executors._worker import Share, _allowed, _free_memory, run
from nas.search.executors.local import LocalExecutor, shares
from nas.space import Architecture

MOODS = ["talkative", "angry", "blank", "greedy", "leaving", "deadly", "good"]


def architecture(mood):
    return Architecture(
        {
            "dim": 4,
            "encoders": SEARCH["space"]["encoders"],
            "connector": {"none": {}},
            "fusion": {"moody": {"mood": mood}},
            "head": {"linear": {}},
        }
    )


def run_all(executor, jobs):
    """All reports, in the order in which they came."""
    waiting, reports = list(jobs), []
    end = time.monotonic() + DEADLINE_SECONDS
    while sum(isinstance(report, Completed | Failed) for report in reports) < len(jobs):
        assert time.monotonic() < end, f"only {reports} of {len(jobs)} jobs"
        while waiting and executor.room:
            executor.submit([waiting.pop(0)])
        reports += answered(executor, executor.wait(0.2))
    return reports


def answered(executor, reports):
    """The reports, of which those of an epoch have been answered: go on; the last one asks for nothing."""
    for report in reports:
        if isinstance(report, Progress) and report.waits:
            executor.answer(report.number, stop=False)
    return reports


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """One job per mood, one after another on one worker: the folder, the reports by mood, all workers.

    While the first worker starts, it is sent what Ctrl-C on a terminal sends to all processes.
    """
    folder = tmp_path_factory.mktemp("executed")
    data = load_experiment(write_search(folder))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1)], folder / "workers.log")
    jobs = [Job(n, 100 + n, architecture(mood), folder / str(n)) for n, mood in enumerate(MOODS)]
    pids = [executor._workers[0].process.pid]
    try:
        for _ in range(20):
            os.kill(pids[0], signal.SIGINT)
            time.sleep(0.02)
        reports = run_all(executor, jobs[:1])
        pids.append(executor._workers[0].process.pid)
        reports += run_all(executor, jobs[1:])
        pids.append(executor._workers[0].process.pid)
    finally:
        executor.close()
    by_mood = {mood: [r for r in reports if r.number == n] for n, mood in enumerate(MOODS)}
    return folder, by_mood, pids


def failure(executed, mood):
    report = executed[1][mood][-1]
    assert isinstance(report, Failed)
    assert report.seconds >= 0
    return report.error.kind, report.error.message


def test_a_job_reports_every_epoch_and_then_its_values(executed):
    measured, first, second, last = executed[1]["good"]
    assert isinstance(measured, Measured)
    assert measured.values.items() <= last.values.items()
    assert isinstance(first, Progress)
    assert isinstance(second, Progress)
    assert [first.metrics["epoch"], second.metrics["epoch"]] == [1, 2]
    assert isinstance(last, Completed)
    assert last.values["accuracy"] == second.metrics["accuracy"]
    assert last.seconds > 0


def test_a_job_leaves_its_metrics_and_its_weights_in_its_folder(executed):
    left = {path.name for path in (executed[0] / str(MOODS.index("good"))).iterdir()}
    assert left == {"metrics.jsonl", "weights.safetensors"}


def test_what_a_component_prints_goes_to_the_log(executed):
    assert isinstance(executed[1]["talkative"][-1], Completed)
    log = (executed[0] / "workers.log").read_text()
    assert "I am in the mood for a chat" in log
    assert "and so is my shell" in log


def test_a_component_that_raises_fails_its_job_with_the_reason_and_a_traceback_file(executed):
    kind, message = failure(executed, "angry")
    file = executed[0] / str(MOODS.index("angry")) / "error.txt"
    assert kind == "error"
    assert message == f"ValueError: <b>out of my way</b> & away (traceback in {file})"
    assert 'raise ValueError("<b>out of my way</b> & away")' in file.read_text()


def test_a_component_that_returns_nan_fails_its_job_as_nan(executed):
    assert failure(executed, "blank") == ("nan", "the training loss is nan in epoch 1 of 2")


def test_a_component_that_wants_too_much_memory_fails_its_job_as_out_of_memory(executed):
    assert failure(executed, "greedy")[0] == "out_of_memory"


def test_a_worker_that_exits_or_is_killed_fails_its_job_with_the_cause(executed):
    assert failure(executed, "leaving") == ("lost_worker", "the worker process died: it exited with code 7")
    kind, message = failure(executed, "deadly")
    assert kind == "lost_worker"
    assert message.startswith("the worker process died: it was killed by SIGKILL")


def test_a_failed_job_leaves_no_weights(executed):
    for mood in ("angry", "blank", "greedy", "leaving", "deadly"):
        assert not (executed[0] / str(MOODS.index(mood)) / "weights.safetensors").exists()


def test_ctrl_c_is_not_for_the_workers_even_while_they_start(executed):
    first, after_first_job, last = executed[2]
    assert after_first_job == first
    assert last != first  # replaced after two deaths later on


def test_a_closed_executor_leaves_no_process(executed):
    assert not any(alive(pid) for pid in executed[2])


def test_a_worker_that_dies_before_it_has_begun_is_replaced_and_its_job_is_not_lost(tmp_path):
    data = load_experiment(write_search(tmp_path))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1)], tmp_path / "workers.log")
    try:
        executor.submit([Job(0, 1, architecture("good"), tmp_path / "0")])
        pid = executor._workers[0].process.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "the worker is dead")
        assert isinstance(run_all_submitted(executor)[-1], Completed)
    finally:
        executor.close()


def test_a_trial_that_takes_too_long_fails_and_its_worker_is_replaced(tmp_path):
    data = load_experiment(write_search(tmp_path))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1)], tmp_path / "workers.log", time_limit=0.5)
    pids = [executor._workers[0].process.pid]
    try:
        executor.submit([Job(0, 1, architecture("slow"), tmp_path / "0")])
        [failed] = run_all_submitted(executor)
        assert (failed.number, failed.error.kind) == (0, "time_limit")
        assert failed.error.message == "it took longer than 0.5 seconds"
        assert failed.seconds > 0.5
        executor._workers[0].time_limit = DEADLINE_SECONDS
        executor.submit([Job(1, 1, architecture("good"), tmp_path / "1")])
        assert isinstance(run_all_submitted(executor)[-1], Completed)
        pids.append(executor._workers[0].process.pid)
    finally:
        executor.close()
    assert pids[0] != pids[1]
    assert not any(alive(pid) for pid in pids)


def test_a_worker_that_hangs_before_it_has_begun_is_replaced_and_its_job_is_not_lost(tmp_path):
    data = load_experiment(write_search(tmp_path))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1)], tmp_path / "workers.log", time_limit=1)
    try:
        worker = executor._workers[0]
        wait_until(lambda: executor.wait(0.1) or worker.ready, "the worker is ready")
        os.kill(worker.process.pid, signal.SIGSTOP)
        executor._time_limit = DEADLINE_SECONDS  # of the one that comes
        reports = run_all(executor, [Job(0, 100, architecture("good"), tmp_path / "0")])
        assert isinstance(reports[-1], Completed)
        assert executor._workers[0] is not worker
        assert not alive(worker.process.pid)
    finally:
        executor.close()


def test_the_jobs_of_a_group_report_on_their_own(tmp_path):
    closing = run_group(tmp_path, ["good", "angry", "good"])
    assert {number: type(report) for number, report in closing.items()} == {
        0: Completed,
        1: Failed,
        2: Completed,
    }
    assert closing[1].error.kind == "error"


def test_a_death_fails_all_of_its_group_that_had_not_ended(tmp_path):
    closing = run_group(tmp_path, ["good", "deadly", "good"])
    assert [closing[number].error.kind for number in range(3)] == ["lost_worker"] * 3


def run_group(folder, moods):
    """The closing reports of one group of jobs, by number."""
    data = load_experiment(write_search(folder))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1)], folder / "workers.log")
    try:
        jobs = [Job(n, 1, architecture(mood), folder / str(n)) for n, mood in enumerate(moods)]
        executor.submit(jobs)
        assert executor.room == 0
        reports = run_all_submitted(executor, len(jobs))
        assert executor.room == 1
    finally:
        executor.close()
    return {report.number: report for report in reports if isinstance(report, Completed | Failed)}


def test_a_worker_that_takes_too_much_memory_is_replaced_and_its_trial_is_out_of_memory(tmp_path):
    data = load_experiment(write_search(tmp_path))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1)], tmp_path / "workers.log", memory_limit=1.2)
    try:
        moods = ["leaking", "good"]
        jobs = [Job(n, 1, architecture(mood), tmp_path / str(n)) for n, mood in enumerate(moods)]
        failed, *_, completed = run_all(executor, jobs)
        assert (failed.error.kind, failed.error.message) == (
            "out_of_memory",
            "its worker took more than 1.2 GB",
        )
        assert isinstance(completed, Completed)
    finally:
        executor.close()


@pytest.mark.parametrize("count", [1, 2])
def test_what_trials_had_that_were_out_of_memory_is_gone_when_the_gpu_gets_it_back(
    toy, tmp_path, monkeypatch, count
):
    load_plugins([toy])
    hoards, taken, still_taken, freed = [], [], [], []

    @nas.register("fusion", "hoarding")
    class Hoarding(nn.Module):
        """Takes more memory than there is."""

        def __init__(self, dims):
            super().__init__()
            self.out_dim = dims[0]
            self.weight = nn.Parameter(torch.ones(1000))
            hoards.append(weakref.ref(self.weight))

        def forward(self, features, present=None, return_gates=False):
            if not self.training:
                return sum(features) * self.weight[0]
            still_taken.append(sum(one() is not None for one in taken))
            large = torch.ones(1000)
            taken.append(weakref.ref(large))
            raise torch.OutOfMemoryError("CUDA out of memory")

    class Line:
        """Keeps what it is sent, as that of Ray's workers does."""

        sent = []

        def send(self, message):
            self.sent.append(message)

    def free():
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        _free_memory()

    monkeypatch.setattr("nas.search.executors._worker._free_memory", free)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append([hoard() for hoard in hoards]))
    tree = Architecture(architecture("good").to_data() | {"fusion": {"hoarding": {}}})
    evaluator = Evaluator(load_dataset("toy"), ["accuracy"], Training(epochs=1))
    run(evaluator, [Job(n, n, tree, tmp_path / str(n)) for n in range(count)], line := Line())
    kinds = [message[2].kind for message in line.sent if message[0] == "failed"]
    assert kinds == ["out_of_memory"] * count
    assert set(still_taken) == {0}
    assert hoards
    assert freed == [[None] * len(hoards)]


def test_a_job_that_runs_alone_waits_for_the_others_on_its_device_and_none_joins_it(tmp_path):
    data = load_experiment(write_search(tmp_path))[0].to_data() | {"constraints": {}}
    executor = LocalExecutor(data, [Share(1), Share(1)], tmp_path / "workers.log")
    try:
        executor.submit([Job(0, 1, architecture("good"), tmp_path / "0")])
        assert executor.room == 1
        executor.submit([Job(1, 1, architecture("good"), tmp_path / "1", alone=True)])
        assert executor.room == 0
        reports = run_all_submitted(executor)
        assert {report.number for report in reports} == {0}
        assert executor.room == 0
        reports = run_all_submitted(executor)
        assert {report.number for report in reports} == {1}
        assert executor.room == 2
    finally:
        executor.close()


def run_all_submitted(executor, jobs=1):
    reports = []
    wait_until(
        lambda: (
            reports.extend(answered(executor, executor.wait(0.1)))
            or sum(isinstance(r, Completed | Failed) for r in reports) >= jobs
        ),
        "the jobs have ended",
    )
    return reports


def test_workers_that_cannot_start_end_the_search_with_the_cause(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "START_ATTEMPTS", 1)
    executor = LocalExecutor({"name": "not an experiment"}, [Share(1)], tmp_path / "workers.log")
    try:
        with pytest.raises(RuntimeError, match=r"workers die before they are ready .*workers\.log"):
            run_all_submitted(executor)
        assert "ValidationError" in (tmp_path / "workers.log").read_text()
    finally:
        executor.close()


def test_a_memory_limit_that_no_worker_can_keep_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "START_ATTEMPTS", 1)
    executor = LocalExecutor({}, [Share(1)], tmp_path / "workers.log", memory_limit=0.001)
    try:
        with pytest.raises(KeyPathError, match=r"execution.memory_limit: .* more than 0.001 GB before"):
            run_all_submitted(executor)
    finally:
        executor.close()


def test_the_cores_are_divided_among_the_workers(monkeypatch):
    monkeypatch.setattr(local, "_visible_gpus", list)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert shares("auto") == [Share(1)] * 8
    assert shares(3) == [Share(2)] * 3
    assert shares(20) == [Share(1)] * 20


def test_every_gpu_has_a_worker_and_several_workers_share_them_in_turn(monkeypatch):
    monkeypatch.setattr(local, "_visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert shares("auto") == [Share(4, "0"), Share(4, "1")]
    assert shares(3) == [Share(2, "0"), Share(2, "1"), Share(2, "0")]
    assert shares("auto", workers_per_gpu=2) == [Share(2, gpu) for gpu in ("0", "1", "0", "1")]
    assert shares("auto", 2, ["GPU-5ebe9f43"]) == [Share(4, "GPU-5ebe9f43")] * 2


def test_the_index_of_a_gpu_counts_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, MIG-7b1a")
    assert [share.gpu for share in shares("auto")] == ["5", "MIG-7b1a"]
    assert [share.gpu for share in shares("auto", 1, ["1", "0"])] == ["MIG-7b1a", "5"]
    for wrong in ("2", "-1", "gpu0", ""):
        with pytest.raises(KeyPathError, match=f"execution.devices.1: '{wrong}' is no GPU of this machine"):
            shares("auto", 1, ["0", wrong])


def test_gpus_that_are_asked_for_where_there_are_none_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KeyPathError, match="torch sees none here; leave devices out"):
        shares("auto", 1, ["GPU-5ebe9f43"])


@pytest.mark.parametrize(
    ("asked", "threads"), [("1", 1), ("2,4", 2), ("8", 4), ("", 4), ("0", 4), ("many", 4)]
)
def test_a_worker_takes_its_share_of_the_cores_or_fewer_where_the_person_says_so(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert _allowed(4) == threads
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert _allowed(4) == 4
