"""TensorBoard and MLflow: what they are told of a search, live and afterwards, read back."""

import struct
from collections import defaultdict
from io import BytesIO

import pytest

from nas import report
from nas.errors import RequestError
from nas.results.records import COMPLETE
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history
from nas.search.setup import prepare


@pytest.fixture
def run(finished_search):
    """The finished run, only read."""
    return RunDirectory(finished_search / "run")


def scalars(folder):
    """By tag the points of every event file in a folder: `{tag: {step: value}}`."""
    from tensorboardX.proto.event_pb2 import Event

    found = defaultdict(dict)
    for file in folder.rglob("events.out.tfevents.*"):
        stream = BytesIO(file.read_bytes())
        while head := stream.read(12):  # the length of a record, and its checksum
            event = Event.FromString(stream.read(struct.unpack("<Q", head[:8])[0]))
            stream.read(4)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag][event.step] = value.simple_value
    return found


def test_tensorboard_has_the_curves_and_the_final_objectives_of_every_trial(run, tmp_path, capsys):
    assert report.main([str(run.path), "--tensorboard", str(tmp_path / "tb")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "tb")
    for record in read_history(run).records:
        if record.state == COMPLETE:
            found = scalars(tmp_path / "tb" / f"trial_{record.number:04d}")
            logged = {row["epoch"]: row["accuracy"] for row in run.metrics(record.number)}
            assert found["accuracy"] == pytest.approx(logged)
            [final] = found["final/accuracy"].values()
            assert final == pytest.approx(record.values["accuracy"])


def test_mlflow_has_a_run_per_trial_with_settings_curves_and_state(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert report.main([str(run.path), "--mlflow", uri]) == 0
    client = mlflow.MlflowClient(uri)
    stored = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    by_trial = {int(one.data.tags["trial"]): one for one in stored}
    records = [record for record in read_history(run).records if record.state != "rejected"]
    assert by_trial.keys() == {record.number for record in records}
    for record in records:
        one = by_trial[record.number]
        assert one.data.params["fusion"] == next(iter(record.architecture["fusion"]))
        if record.state == COMPLETE:
            assert one.info.status == "FINISHED"
            assert one.data.metrics["final/parameters"] == record.values["parameters"]
        else:
            assert one.info.status == "FAILED"
            assert record.failure[0] in one.data.tags["failure"]
    number = next(record.number for record in records if record.state == COMPLETE)
    curve = client.get_metric_history(by_trial[number].info.run_id, "accuracy")
    assert {point.step: point.value for point in curve} == {
        row["epoch"]: row["accuracy"] for row in run.metrics(number)
    }


def test_an_experiment_names_its_loggers(write_experiment):
    setup = prepare(write_experiment(results={"loggers": ["tensorboard", {"mlflow": {"uri": "file:x"}}]}), [])
    assert [type(logger).__name__ for logger in setup.loggers] == ["TensorBoard", "MLflow"]


def test_a_logger_may_be_another_when_a_search_is_resumed(write_experiment):
    one = prepare(write_experiment(), []).experiment
    other = prepare(write_experiment(results={"loggers": ["tensorboard"]}), []).experiment
    assert one.difference(other) is None


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ({"tensorboard": {"foldr": "x"}}, "did you mean 'folder'"),
    ],
)
def test_a_logger_that_does_not_exist_or_has_no_such_option_is_refused(write_experiment, logger, message):
    with pytest.raises(RequestError, match=message) as refused:
        prepare(write_experiment(results={"loggers": [logger]}), [])
    assert "results.loggers.0" in str(refused.value)


def test_a_logger_whose_package_is_missing_says_how_to_get_it(write_experiment, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        RequestError, match=r"mlflow is not installed; pip install 'small-world-nas\[mlflow\]'"
    ):
        prepare(write_experiment(results={"loggers": ["mlflow"]}), [])
