"""The Ray executor: what holds for the local one, on a cluster whose actors and nodes die."""

import json
import os
import re
import socket
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from s3 import CREDENTIALS, started_s3
from searches import wait_until, write_search
from test_local_executor import answered, architecture, run_all

from nas.datasets import load_dataset
from nas.errors import KeyPathError, TrialError
from nas.experiment import Execution, load_experiment
from nas.registry import create, require_plugins
from nas.results.run_directory import RunDirectory
from nas.search.driver import drive
from nas.search.executors import Completed, Failed, Job, Measured, Progress
from nas.search.executors import open_executor as open_search_executor
from nas.search.executors.ray import RayExecutor, _answering, _connect, settle
from nas.search.setup import prepare
from nas.search.study import Study
from nas.space import Architecture

MOODS = ["talkative", "angry", "greedy", "deadly", "good"]
HEIR = len(MOODS)


@pytest.fixture(scope="module")
def cluster():
    """One node of one core, that of the driver."""
    settle("local")
    import ray
    from ray.cluster_utils import Cluster

    with patch.dict(os.environ, CREDENTIALS):  # of nodes, which their workers have from them
        cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the experiment and its plugin are."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def make_executor(cluster, home):
    """Make an executor from values of the experiment's `execution`; its plugin is loaded once."""
    experiment = load_experiment(write_search(home), ["constraints={}"])[0]
    require_plugins(experiment.plugins)
    dataset = create("dataset", "held")

    def make(**execution):
        changed = experiment.model_copy(update={"execution": Execution(backend="ray", **execution)})
        return RayExecutor(changed, dataset, home / "tune")

    return make


@pytest.fixture
def open_executor(make_executor):
    """Open an executor that is closed after the test."""
    with ExitStack() as stack:
        yield lambda **execution: stack.enter_context(closing(make_executor(**execution)))


@pytest.fixture(scope="module")
def executed(home, make_executor, tmp_path_factory):
    """One job per mood, one after another, and one that inherits: the folder, the reports by number.

    When the jobs run, the plugin's file is where no worker finds it.
    """
    folder = tmp_path_factory.mktemp("executed")
    executor = make_executor()
    plugin = home / "toy.py"
    jobs = [Job(n, 100 + n, architecture(mood), folder / str(n)) for n, mood in enumerate(MOODS)]
    parent = folder / str(MOODS.index("good"))
    parent.mkdir()
    (parent / "architecture.json").write_text(json.dumps(architecture("good").to_data()))
    plugin.rename(plugin.with_suffix(".away"))
    reports = run_all(executor, jobs)
    reports += run_all(executor, [Job(HEIR, 9, architecture("good"), folder / str(HEIR), parent)])
    plugin.with_suffix(".away").rename(plugin)
    executor.close()
    return folder, [[report for report in reports if report.number == n] for n in range(HEIR + 1)]


def test_a_job_reports_every_epoch_and_then_its_values(executed):
    measured, first, second, last = executed[1][MOODS.index("good")]
    assert isinstance(measured, Measured)
    assert measured.values.items() <= last.values.items()
    assert isinstance(first, Progress)
    assert [first.metrics["epoch"], second.metrics["epoch"]] == [1, 2]
    assert [first.waits, second.waits] == [True, False]
    assert isinstance(last, Completed)
    assert last.values["accuracy"] == second.metrics["accuracy"]


def test_what_a_job_leaves_comes_back_to_the_driver(executed):
    folder = executed[0] / str(MOODS.index("good"))
    assert {path.name for path in folder.iterdir()} >= {"metrics.jsonl", "weights.safetensors"}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_an_error_names_the_traceback_file_where_the_driver_has_it(executed):
    [failed] = executed[1][MOODS.index("angry")]
    file = executed[0] / str(MOODS.index("angry")) / "error.txt"
    message = f"ValueError: <b>out of my way</b> & away (traceback in {file})"
    assert (failed.error.kind, failed.error.message) == ("error", message)
    assert 'raise ValueError("<b>out of my way</b> & away")' in file.read_text()


def test_too_little_memory_fails_the_job_and_a_killed_actor_loses_only_its_own(executed):
    kinds = [executed[1][MOODS.index(mood)][-1].error.kind for mood in ("greedy", "deadly")]
    assert kinds == ["out_of_memory", "lost_worker"]
    assert isinstance(executed[1][MOODS.index("good")][-1], Completed)


def test_an_ancestor_reaches_the_worker(executed):
    first = json.loads((executed[0] / str(HEIR) / "metrics.jsonl").read_text().splitlines()[0])
    assert first["inherited"] == 1


def test_a_job_that_is_told_to_stop_ends_as_pruned_and_its_actor_goes_on(open_executor, tmp_path):
    executor = open_executor()
    executor.submit([Job(0, 1, architecture("good"), tmp_path / "0")])
    executor.answer(0, stop=True)
    reports = run_all_submitted(executor)
    assert (reports[-1].error.kind, reports[-1].error.message) == ("pruned", "stopped after epoch 1")
    [completed] = run_all(executor, [Job(1, 1, architecture("good"), tmp_path / "1")])[-1:]
    assert isinstance(completed, Completed)


def test_all_that_is_submitted_waits_for_its_actors_at_once(open_executor, tmp_path):
    """Else short trials take turns on the actor that is up first, and no second one ever is."""
    executor = open_executor(cpus_per_trial=0.5)
    for number in range(2):
        executor.submit([Job(number, 1, architecture("good"), tmp_path / str(number))])
    groups = list(executor._desk.groups)
    wait_until(
        lambda: executor.wait(0.1) or all(g.trial for g in groups) or any(g.started for g in groups),
        "Tune has fetched both, or one has begun",
    )
    assert all(group.trial for group in groups)
    assert not any(group.started for group in groups)


@pytest.mark.usefixtures("cluster")  # settles Ray before it is imported
def test_the_place_of_a_group_is_free_once_the_driver_has_heard_how_it_ended():
    """Else a driver that looks in between would ask for the next trial before it is told of this one."""
    from nas.search.executors._tune import Desk

    desk, error = Desk(), TrialError("error", "it failed")
    one, other = Failed(0, error, 1.0), Failed(1, error, 1.0)
    desk.submit([Job(0, 1, architecture("good"), Path())])
    desk.submit([Job(1, 1, architecture("good"), Path())])
    first, second = desk.groups
    first.jobs.clear()
    desk.end(first, one)
    assert desk.taken == 2
    assert desk.wait(0) == [one]
    assert desk.taken == 1
    desk.end(second, other)  # its job has not begun
    assert desk.wait(0) == [other]
    assert desk.taken == 1


def test_a_cluster_that_has_shrunk_has_no_room(open_executor, tmp_path):
    executor = open_executor(cpus_per_trial=0.5)
    for number in range(2):
        executor.submit([Job(number, 1, architecture("good"), tmp_path / str(number))])
    executor._places = 1
    assert executor.room == 0


def test_a_job_that_takes_too_long_fails_and_the_rest_of_its_group_runs(open_executor, tmp_path):
    executor = open_executor(time_limit=1)
    jobs = [Job(n, 1, architecture(mood), tmp_path / str(n)) for n, mood in enumerate(["slow", "good"])]
    executor.submit(jobs)
    [first] = run_all_submitted(executor)
    assert (first.number, first.error.kind) == (0, "time_limit")
    executor._execution = executor._execution.model_copy(update={"time_limit": None})
    last = run_all_submitted(executor)[-1]
    assert isinstance(last, Completed)
    assert last.number == 1


def test_a_job_on_a_node_that_dies_has_lost_its_worker_and_runs_on_another(cluster, open_executor, tmp_path):
    node = cluster.add_node(num_cpus=2)
    executor = open_executor(cpus_per_trial=2)
    executor.submit([Job(0, 1, architecture("slow"), tmp_path / "0")])
    wait_until(lambda: executor.wait(0.1) or any(g.started for g in executor._desk.groups), "it has begun")
    cluster.remove_node(node, allow_graceful=False)
    [failed] = run_all_submitted(executor)
    assert (failed.number, failed.error.kind) == (0, "lost_worker")
    executor.submit([Job(0, 1, architecture("good"), tmp_path / "0")])
    node = cluster.add_node(num_cpus=2)
    assert isinstance(run_all_submitted(executor)[-1], Completed)
    executor.close()
    cluster.remove_node(node)


def test_a_search_writes_its_run_live_and_stops_what_local_workers_stop_within_populations(
    cluster, home, tmp_path, monkeypatch
):
    """The pruner decides from what was told before, one member of a population after another."""
    monkeypatch.setattr("nas.search.driver.TABLES_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("nas.results.pace.PATIENCE", 0)
    choices = (
        "space={dim: 8, connector: none, fusion: concat, training: {learning_rate: {float: [0.001, 0.1]}}}"
    )
    asked = ["constraints={}", "search={sampler: random, pruner: rungs, trials: 8, seed: 3}", choices]
    file, training = write_search(home), "training={epochs: 4, batch_size: 16, population: 4}"

    def search(backend):
        setup = prepare(file, [*asked, training, f"execution={{backend: {backend}, workers: 1}}"])
        experiment, run = setup.experiment, RunDirectory(tmp_path / backend)
        run.create(experiment, setup.dataset.modalities, setup.dataset.task)
        study, seen = Study(run, "toy", setup.proposals, experiment.objectives), []

        def observe(report):
            if isinstance(report, Completed):
                told = sum(event["event"] == "told" for event in run.events())
                table = run.path / "trials.csv"
                listed = table.read_text().count("complete") if table.exists() else 0
                seen.append((told, listed))

        executor = open_search_executor(experiment, setup.dataset, run.path)
        trials = experiment.search.trials
        drive(study, executor, setup.pruner, run, trials, observe, lambda: False)
        found = [(one.state, len(run.metrics(one.number)), one.values, one.told) for one in study.records]
        assert all(run.metrics(number)[0]["population"] == {"size": 4} for number in range(trials))
        study.close()
        return found, seen

    found, seen = search("ray")
    assert found == search("local")[0]
    assert {state for state, *_ in found} == {"complete", "pruned"}
    assert [told for told, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1] > 0


def test_the_workers_of_a_node_read_one_dataset_in_its_object_store(cluster):
    import ray

    from nas.search.executors._tune import _shared

    shared = _shared(load_dataset("avt_digits", modalities=["text"]))

    @ray.remote(num_cpus=0)
    def mappings(references):
        address = ray.get(references[0]).splits["train"].inputs["text"].data_ptr()
        lines = Path("/proc/self/maps").read_text().splitlines()
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
        return [line for line, (first, end) in zip(lines, ranges, strict=True) if first <= address < end]

    [mapping] = ray.get(mappings.remote([shared]))
    assert "plasma" in mapping


@pytest.fixture
def storage(request, tmp_path):
    """The URL of a place for checkpoints, and what says which files are there."""
    if request.param == "folder":
        folder = tmp_path / "elsewhere"
        yield folder.as_uri(), lambda: map(str, folder.rglob("*"))
        return
    with started_s3() as server:
        yield server.url, lambda: list(server.objects)


@pytest.mark.parametrize(("storage", "dies"), [("folder", "actor"), ("s3", "driver")], indirect=["storage"])
def test_a_job_whose_actor_or_driver_dies_goes_on_from_its_checkpoint_as_if_nothing_had_happened(
    open_executor, storage, tmp_path, dies
):
    tree = Architecture(architecture("good").to_data() | {"training": {"epochs": 5}})
    expected, again = Job(1, 7, tree, tmp_path / "expected"), Job(0, 7, tree, tmp_path / "again")
    url, files = storage
    executor = open_executor(checkpoint_every=2, storage=url)
    undisturbed = run_all(executor, [expected])
    executor.submit([again])
    first = []

    def kept():
        first.extend(answered(executor, executor.wait(0.1)))
        return executor._desk.groups[0].trial and executor._desk.groups[0].trial.checkpoint

    wait_until(kept, "Tune has a checkpoint")
    assert any(re.search(r"/checkpoint_\d+/0$", file) for file in files())
    if dies == "actor":
        executor._desk.groups[0].kill()
        first += run_all_submitted(executor)
        assert first[-1].error.kind == "lost_worker"
    else:
        executor.close()
        executor = open_executor(checkpoint_every=2, storage=url)
    resumed = run_all(executor, [again])
    assert without_times(resumed) == without_times(undisturbed)
    before, after = (
        [one.metrics["seconds"] for one in of(Progress, reports)] for reports in (first, resumed)
    )
    assert after[:2] == before[:2]  # reported again, and not computed again
    assert not list((tmp_path / "again").glob(".*"))


def test_a_population_whose_actor_dies_goes_on_from_its_checkpoint_together(open_executor, tmp_path):
    settings = [{"epochs": 5, "learning_rate": rate} for rate in (0.01, 0.02)]
    trees = [Architecture(architecture("good").to_data() | {"training": one}) for one in settings]
    executor = open_executor(checkpoint_every=2, storage=(tmp_path / "elsewhere").as_uri())

    def jobs(name):
        return [Job(n, 7, tree, tmp_path / name / str(n)) for n, tree in enumerate(trees)]

    def run(name):
        reports = []

        def over():
            reports.extend(answered(executor, executor.wait(0.1)))
            return len(ended(reports)) == len(trees)

        executor.submit(jobs(name))
        wait_until(over, "all jobs have ended")
        return [[one for one in reports if one.number == number] for number in range(len(trees))]

    def both_kept():
        first.extend(answered(executor, executor.wait(0.1)))
        trial = executor._desk.groups[0].trial
        folder = trial and trial.checkpoint and Path(trial.checkpoint.path)
        return folder and {file.name for file in folder.iterdir()} == {"0", "1"}

    undisturbed, first = run("expected"), []
    executor.submit(jobs("again"))
    wait_until(both_kept, "Tune has a checkpoint of both")
    executor._desk.groups[0].kill()
    first += run_all_submitted(executor)
    assert [one.error.kind for one in ended(first)] == ["lost_worker"] * 2
    for number, reports in enumerate(run("again")):
        assert without_times(reports) == without_times(undisturbed[number])
        assert reports[1].metrics == next(one.metrics for one in of(Progress, first) if one.number == number)
        line = json.loads((tmp_path / "again" / str(number) / "metrics.jsonl").read_text().splitlines()[0])
        assert line["population"] == {"size": 2}
    assert not list((tmp_path / "again").rglob(".*"))


def test_a_job_that_takes_too_much_memory_fails_as_such_and_the_next_one_runs(open_executor, tmp_path):
    executor = open_executor(memory_limit=2)
    jobs = [Job(n, 1, architecture(mood), tmp_path / str(n)) for n, mood in enumerate(["leaking", "good"])]
    leaked, *_, completed = ended(run_all(executor, jobs))
    assert (leaked.error.kind, leaked.error.message) == ("out_of_memory", "its worker took more than 2 GB")
    assert isinstance(completed, Completed)


def test_a_worker_that_is_too_large_before_its_first_job_fails_it_as_such(open_executor, tmp_path):
    executor = open_executor(memory_limit=0.01)
    [failed] = ended(run_all(executor, [Job(0, 1, architecture("good"), tmp_path / "0")]))
    assert (failed.error.kind, failed.error.message) == (
        "out_of_memory",
        "its worker took more than 0.01 GB",
    )


@pytest.mark.parametrize(
    ("mode", "url", "notice"),
    [
        ("token", "", None),
        ("token", None, None),
        ("disabled", "127.0.0.1:8265", "Ray's dashboard: http://127.0.0.1:8265"),
        (
            "token",
            "127.0.0.1:8265",
            "Ray's dashboard: http://127.0.0.1:8265; it asks for the token that `ray get-auth-token` prints",
        ),
    ],
)
def test_ray_s_dashboard_is_named_where_there_is_one_with_what_it_asks_for(monkeypatch, mode, url, notice):
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: SimpleNamespace(dashboard_url=url))
    assert _connect("local") == (True, notice)


def test_the_token_that_ray_makes_is_for_its_owner_alone(monkeypatch, tmp_path):
    import ray

    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: SimpleNamespace(dashboard_url=None))
    _connect("local")
    assert token.stat().st_mode & 0o777 == 0o600


def test_an_address_at_which_nothing_answers_is_refused_at_once(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _answering(f"127.0.0.1:{port}") == f"127.0.0.1:{port}"
        monkeypatch.setattr("nas.search.executors.ray.PORT", port)
        assert _answering("localhost") == f"localhost:{port}"
    client = f"ray://127.0.0.1:{port}"
    for wrong, reason in (
        (f"127.0.0.1:{port}", "refused"),
        ("", "HOST:PORT"),
        (client, "HOST:PORT"),
        ("127.0.0.1:x", "Port"),
    ):
        with pytest.raises(KeyPathError, match=f"execution.address: '{wrong}' is no Ray cluster: .*{reason}"):
            _connect(wrong)


def test_where_the_environment_says_that_a_cluster_is_something_has_to_answer(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        assert _answering("auto") == os.environ["RAY_ADDRESS"]
        assert _answering("local") == "local"
    with pytest.raises(KeyPathError, match=r"execution.address: 'auto' is no Ray cluster: .*refused"):
        _connect("auto")


def test_a_machine_without_a_cluster_says_how_to_have_one(monkeypatch):
    import ray

    def find_none(*_, **__):
        raise ConnectionError("Could not find any running Ray instance. Please specify the one.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", find_none)
    with pytest.raises(KeyPathError, match=r"none runs on this machine; start one .*HOST:PORT$"):
        _connect("auto")


def test_a_cluster_that_refuses_its_driver_may_want_a_token(monkeypatch):
    import ray

    def refuse(*_, **__):
        raise ConnectionError("Failed to connect")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(KeyPathError, match="Failed to connect; set RAY_AUTH_MODE=token here too"):
            _connect(address)


def ended(reports):
    return [report for report in reports if isinstance(report, Completed | Failed)]


def of(kind, reports):
    return [report for report in reports if isinstance(report, kind)]


def without_times(reports):
    epochs = [{k: v for k, v in one.metrics.items() if k != "seconds"} for one in of(Progress, reports)]
    return epochs, [one.values for one in of(Completed, reports)]


def test_a_trial_that_no_node_has_room_for_is_refused(open_executor):
    with pytest.raises(KeyPathError, match=r"execution: no node has 64 CPUs and 0 GPUs"):
        open_executor(cpus_per_trial=64)


def test_a_machine_does_not_grow(open_executor):
    with pytest.raises(KeyPathError, match=r"execution: no node has 64 CPUs and 0 GPUs"):
        open_executor(address="local", cpus_per_trial=64, max_concurrent=2)


def test_a_storage_that_cannot_be_written_is_refused(open_executor, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KeyPathError, match=r"execution.storage: '.*file' cannot be written: .*directory"):
        open_executor(storage=str(tmp_path / "file"))


def test_a_storage_that_cannot_be_read_is_refused(open_executor):
    with pytest.raises(KeyPathError, match=r"execution.storage: 'nowhere://nas' cannot be read: .*nowhere"):
        open_executor(checkpoint_every=1, storage="nowhere://nas")


def run_all_submitted(executor):
    reports = []

    def ended():
        reports.extend(executor.wait(0.1))
        for report in reports:
            if isinstance(report, Progress) and report.waits and executor._desk.groups:
                executor.answer(report.number, stop=False)
        return any(isinstance(report, Completed | Failed) for report in reports)

    wait_until(ended, "a job has ended")
    return reports
