"""Several drivers on one study in a database: every trial once, and none lost with its driver.

What drivers say to their database is tested with PostgreSQL and MariaDB; whole searches, which take long,
with PostgreSQL.
"""

import itertools
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
import yaml
from databases import MariaDB, PostgreSQL, started
from searches import (
    DEADLINE_SECONDS,
    ENVIRONMENT,
    SEARCH,
    command,
    events,
    held_search,
    rows,
    search,
    wait_until,
    write_search,
)
from sqlalchemy import text
from test_study import MODALITIES, OBJECTIVES, SPACE, VALUES

from nas.errors import RequestError
from nas.experiment import Experiment
from nas.modality import Task
from nas.registry import create
from nas.results.run_directory import RunDirectory
from nas.results.stored import open_storage
from nas.search.claims import Shared
from nas.search.proposals import Proposals
from nas.search.setup import prepare
from nas.search.study import Study

LEASE = 0.5
on_postgresql = pytest.mark.parametrize("server", [PostgreSQL], indirect=True)
on_mariadb = pytest.mark.parametrize("server", [MariaDB], indirect=True)


@pytest.fixture(scope="module", params=[PostgreSQL, MariaDB], ids=lambda kind: kind.__name__)
def server(request):
    if not request.param.installed():
        pytest.skip(f"the server of {request.param.__name__} is not installed")
    with started(request.param) as running:
        yield running


@pytest.fixture
def url(server):
    """A new database."""
    return server.new_database()


@pytest.fixture
def experiment(url, tmp_path):
    """An experiment that keeps its study in the database."""
    file = write_search(tmp_path)
    settings = SEARCH["search"] | {"storage": url, "lease": 15.0, "sampler": "random", "trials": 10}
    file.write_text(yaml.safe_dump(SEARCH | {"search": settings}, sort_keys=False))
    return file


def stored(url):
    return optuna.load_study(study_name="toy", storage=url).trials


def told(*runs):
    """By trial, which runs say that they have seen it end."""
    endings = ("told", "failed", "rejected")
    return [(event["trial"], run) for run in runs for event in events(run) if event["event"] in endings]


# Claims


@pytest.fixture
def claims(url):
    drivers = [Shared(url, "study", lease=0.2) for _ in range(2)]
    yield drivers
    for driver in drivers:
        driver.close()


def test_a_claim_is_its_drivers_until_its_heart_stops(claims):
    one, other = claims
    with one.exclusive():
        one.take(7)
    assert one.free([7]) == set()
    assert other.free([7, 8]) == {8}
    for _ in range(4):
        one.beat()
        threading.Event().wait(0.1)
        assert other.free([7]) == set()
    wait_until(lambda: other.free([7]) == {7}, "the lease is over")
    with other.exclusive():
        other.take(7)
    with one.exclusive():
        assert not one.holds(7)


@pytest.mark.parametrize("what", ["password", "database", "table"])
def test_what_waiting_does_not_change_is_said_at_once(server, url, what):
    for statement in server.careful:
        server.execute(statement)
    user = url.partition("://")[2].partition("@")[0]
    driver = Shared(url.replace(f"{user}@", "careful:secret@"), "study", lease=DEADLINE_SECONDS)
    statements = {
        "password": server.other_password,
        "database": f"drop database {url.rpartition('/')[2]}",
        "table": "drop table nas_claims",
    }
    driver.patiently(driver.beat)
    if what == "table":
        with driver._engine.begin() as connection:
            connection.execute(text(statements[what]))
    driver._engine.dispose()
    if what != "table":
        server.execute(statements[what])
    started = time.monotonic()
    with pytest.raises(RequestError, match="storage refuses what the search asks"):
        driver.patiently(driver.beat)
    assert time.monotonic() - started < DEADLINE_SECONDS / 4
    driver.close()


def test_only_one_driver_is_exclusive(claims):
    one, other = claims
    order = []

    def wait_for_it():
        with other.exclusive():
            order.append("other")

    with one.exclusive():
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        waiting.join(0.3)
        order.append("one")
    waiting.join()
    assert order == ["one", "other"]


# Studies


@pytest.fixture
def join(url, tmp_path):
    """Open the study, as a driver of its own does with a run directory of its own."""
    opened, counter = [], itertools.count()
    sampler = create("sampler", "random")

    def open_study():
        run = RunDirectory(tmp_path / f"run{next(counter)}")
        experiment = Experiment(name="mine", data={}, objectives=OBJECTIVES, search={"storage": url})
        run.create(experiment, MODALITIES, Task("classification", ("a", "b")))
        claims = Shared(url, "mine", LEASE)
        study = Study(run, "mine", Proposals(SPACE, sampler, 3), OBJECTIVES, claims=claims)
        opened.append(study)
        return study

    yield open_study
    for study in opened:
        study.close()


def test_no_trial_is_asked_or_told_twice_by_drivers_that_begin_and_work_at_the_same_moment(join):
    together = threading.Barrier(3)

    def drive(_):
        together.wait(10)
        study, mine = join(), []
        while record := study.ask(lambda: len(study.records) >= 20):
            mine.append(record.number)
            study.tell(record.number, VALUES, 1.0)
            study.annotate({f"note{place}": record.number for place in range(9)})
            study.claims.patiently(study.claims.beat)
        return mine

    with ThreadPoolExecutor(3) as threads:
        asked = sorted(number for mine in threads.map(drive, range(3)) for number in mine)
    records = join().records
    assert asked == [record.number for record in records] == list(range(20))
    assert sorted(record.told for record in records) == list(range(20))


def test_one_of_the_others_takes_over_a_trial_whose_driver_shows_no_sign_of_life(join):
    dead, *others = (join() for _ in range(3))
    record = dead.ask()
    for study in others:
        study.refresh()
        assert study.left_over() == []
    wait_until(lambda: all(study.left_over() for study in others), "the lease is over")
    with ThreadPoolExecutor(2) as threads:
        restarted = list(threads.map(lambda study: study.restart(record), others))
    assert sum(again is not None for again in restarted) == 1
    [heir] = [study for study, again in zip(others, restarted, strict=True) if again]
    dead.tell(0, VALUES | {"accuracy": 0.1}, 1.0)
    heir.tell(0, VALUES, 1.0)
    dead.refresh()
    assert dead.records[0].values == VALUES


def test_a_driver_waits_for_a_server_that_is_away_for_a_while(join, server):
    study = join()
    study.claims.lease = 30.0
    server.kill()
    back = threading.Timer(0.5, server.start)
    back.start()
    record = study.ask()
    study.tell(record.number, VALUES, 1.0)
    back.join()
    assert join().records == study.records


def test_a_study_keeps_what_a_long_training_has_measured(join):
    study = join()
    number = study.ask().number
    for _ in range(3000):
        study.progress(number, VALUES)
    study.tell(number, VALUES, 1.0)
    assert join().records == study.records


@on_mariadb
def test_a_password_of_mysql_is_read_from_a_file(server, url, tmp_path):
    for statement in server.careful:
        server.execute(statement)
    (tmp_path / "my.cnf").write_text("[client]\npassword = secret\n")
    careful = f"{url.replace('root', 'careful')}?read_default_file={tmp_path / 'my.cnf'}"
    assert Experiment(name="mine", data={}, search={"storage": careful}).search.storage == careful
    open_storage(careful).engine.dispose()


# Searches


@on_postgresql
def test_two_drivers_share_the_trials_of_one_study(experiment, url, tmp_path):
    both = [tmp_path / "a", tmp_path / "b"]
    processes = [
        subprocess.Popen(
            command(experiment, run), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for run in both
    ]
    for process in processes:
        _, error = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, error.decode()
    trials = stored(url)
    assert sum(trial.user_attrs["state"] != "rejected" for trial in trials) == 10
    assert all(trial.state.is_finished() for trial in trials)
    ids = [trial.user_attrs["architecture_id"] for trial in trials]
    assert len(set(ids)) == len(ids)
    assert sorted(trial.user_attrs["told"] for trial in trials) == list(range(len(trials)))
    for run in both:  # each knows all that has happened, once
        assert sorted(number for number, _ in told(run)) == list(range(len(trials)))
        assert [row["number"] for row in rows(run)] == [str(n) for n in range(len(trials))]


@on_postgresql
def test_the_trials_of_a_killed_driver_are_taken_over_exactly_once(experiment, url, tmp_path):
    with held_search(experiment, tmp_path / "a") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        (experiment.parent / "gate").unlink()
        left = [trial.number for trial in stored(url) if not trial.state.is_finished()]
        before = {trial.number: trial.values for trial in stored(url) if trial.state.is_finished()}
        assert left
        done = search(experiment, tmp_path / "b")
        assert done.returncode == 0, done.stderr
    trials = stored(url)
    assert all(trial.state.is_finished() for trial in trials)
    assert {number: trials[number].values for number in before} == before
    restarted = [event["trial"] for event in events(tmp_path / "b") if event["event"] == "restarted"]
    assert restarted == left
    endings = [number for number, _ in told(tmp_path / "b")]
    assert sorted(endings) == list(range(len(trials)))


@on_postgresql
def test_a_search_survives_the_death_of_its_database(experiment, url, server, tmp_path):
    with held_search(experiment, tmp_path / "a", "--set", "search.lease=60") as process:
        server.kill()
        (experiment.parent / "gate").unlink()
        server.start()
        _, error = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, error
    assert all(trial.state.is_finished() for trial in stored(url))
    assert sum(row["state"] != "rejected" for row in rows(tmp_path / "a")) == 10


@on_postgresql
def test_a_database_that_stays_away_ends_the_search_and_nothing_that_was_told_is_lost(
    experiment, url, server, tmp_path
):
    with held_search(experiment, tmp_path / "a", "--set", "search.lease=1") as process:
        known = {trial.number for trial in stored(url) if trial.state.is_finished()}
        server.kill()
        (experiment.parent / "gate").unlink()
        _, error = process.communicate(timeout=DEADLINE_SECONDS)
        server.start()
    assert process.returncode == 2
    assert "could not be reached for 1 seconds" in error
    assert "Traceback" not in error
    assert known <= {trial.number for trial in stored(url) if trial.state.is_finished()}


# What it says


@pytest.fixture
def refused(experiment, tmp_path):
    """Change settings of the search; the message with which it is refused."""

    def refuse(*overrides):
        done = search(experiment, tmp_path / "refused", *(w for text in overrides for w in ("--set", text)))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "refused" / "experiment.yaml").exists()
        return done.stderr

    return refuse


def test_a_user_without_rights_is_told_so(experiment, url, server, refused, tmp_path):
    server.execute(server.guest)
    user = url.partition("://")[2].partition("@")[0]
    guest = url.replace(f"{user}@", "guest@")
    started = time.monotonic()
    assert "refuses what the search asks of it" in refused(f"search.storage={guest}")
    assert time.monotonic() - started < DEADLINE_SECONDS / 4
    assert search(experiment, tmp_path / "a", "--set", "search.trials=1").returncode == 0
    server.execute(server.reads, database=url.rpartition("/")[2])
    done = search(experiment, tmp_path / "b", "--set", "search.trials=2", "--set", f"search.storage={guest}")
    assert done.returncode == 2
    assert "the study's storage refuses what the search asks of it" in done.stderr
    assert "Traceback" not in done.stderr


@on_postgresql
def test_another_experiment_of_the_same_name_is_refused(experiment, url, tmp_path):
    assert search(experiment, tmp_path / "a", "--trials", "1").returncode == 0
    done = search(experiment, tmp_path / "b", "--set", "training.epochs=1")
    assert done.returncode == 2
    assert "of another experiment: training.epochs differs" in done.stderr


def test_a_database_that_is_not_there_is_named(refused, server):
    assert "cannot be reached" in refused(f"search.storage={server.address}:1/study")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("search.storage=postgresql+psycopg://nas:secret@127.0.0.1/x", "leave the password out"),
        ("search.storage=mysql+pymysql://127.0.0.1/x?user=nas&password=secret", "leave the password out"),
        ("search.storage=study.db", "give the URL of a PostgreSQL or MySQL database"),
        ("search.inheritance=0.5", "needs the weights of every trial"),
    ],
)
def test_a_storage_that_cannot_be_is_refused(tmp_path, override, reason):
    with pytest.raises(RequestError, match=reason):
        prepare(write_search(tmp_path), ["search.storage=postgresql+psycopg://127.0.0.1/x", override])
