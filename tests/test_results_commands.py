"""`python -m nas.report` and `nas.dashboard` on a finished run."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from searches import ENVIRONMENT, rows, wait_until

from nas import dashboard, report, retrain
from nas.experiment import Experiment
from nas.modality import ModalitySpec, Task
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history

REBUILT = ("report.html", "pareto.png", "pareto.csv", "pareto.json", "trials.csv")


@pytest.fixture
def run(finished_search, tmp_path):
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished_search / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def empty_run(tmp_path):
    """A run that was killed before its first trial."""
    run = RunDirectory(tmp_path / "empty")
    modalities = {"image": ModalitySpec("image", (1, 8, 8))}
    run.create(Experiment(name="toy", data={"toy": {}}), modalities, Task("classification", ("a", "b")))
    return run


# report


def test_the_report_rebuilds_what_was_deleted_as_it_was(run, capsys):
    before = {name: (run.path / name).read_bytes() for name in REBUILT}
    for name in REBUILT:
        (run.path / name).unlink()
    assert report.main([str(run.path)]) == 0
    assert capsys.readouterr().out.split() == [str(run.path / name) for name in REBUILT]
    for name in ("pareto.csv", "pareto.json", "trials.csv"):
        assert (run.path / name).read_bytes() == before[name]
    assert (run.path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (run.path / "report.html").stat().st_size == pytest.approx(len(before["report.html"]), rel=0.05)


def test_the_report_shows_every_member_of_the_front_with_its_figures(run):
    page = (run.path / "report.html").read_text()
    for record in read_history(run).front():
        section = page.partition(f'id="trial-{record.number}"')[2].partition("</section>")[0]
        assert f"{record.values['parameters']:,.0f}" in page
        assert (
            section.count('alt="Mask of connector.layers.')
            == record.architecture["connector"]["wired"]["layers"]
        )
        assert "&#34;dim&#34;" in section


def test_the_masks_of_the_report_are_pictures_with_the_boundaries_of_the_modalities(run):
    from matplotlib.image import imread

    page = (run.path / "report.html").read_text()
    masks = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="Mask of connector', page)
    assert masks
    for mask in masks:
        red, green, blue = imread(BytesIO(base64.b64decode(mask)))[..., :3].transpose(2, 0, 1)
        boundary = (red > green + 0.3) & (red > blue + 0.3)
        assert boundary.sum(0).max() > 100  # a line down
        assert boundary.sum(1).max() > 100  # a line across


def test_the_report_escapes_what_components_say(run):
    page = (run.path / "report.html").read_text()
    assert "<b>out of my way" not in page
    assert "&lt;b&gt;out of my way&lt;/b&gt; &amp; away" in page


def test_the_report_needs_no_network_and_no_other_file(run):
    class Links(HTMLParser):
        found: list[str] = []

        def handle_starttag(self, tag, attributes):
            self.found += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]

    Links().feed((run.path / "report.html").read_text())
    assert [link for link in Links.found if not link.startswith(("data:", "#"))] == []
    assert len(Links.found) > 5


def test_the_report_of_a_run_without_a_complete_trial_says_so(empty_run):
    assert report.main([str(empty_run.path)]) == 0
    assert "No trial is complete yet." in (empty_run.path / "report.html").read_text()
    assert rows(empty_run.path) == []


def test_the_report_of_one_objective_is_drawn_too(empty_run):
    stored = yaml.safe_load(empty_run.experiment_file.read_text()) | {"objectives": {"accuracy": "maximize"}}
    empty_run.experiment_file.write_text(yaml.safe_dump(stored))
    assert report.main([str(empty_run.path)]) == 0
    assert (empty_run.path / "pareto.png").exists()


@pytest.mark.parametrize(
    ("main", "options"), [(report.main, []), (retrain.main, ["--trial", "0"]), (dashboard.main, [])]
)
def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path, capsys, main, options):
    assert main([str(tmp_path), *options]) == 2
    assert f"{tmp_path} holds no run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_retraining_in_a_run_without_trials_is_refused(empty_run, capsys):
    assert retrain.main([str(empty_run.path), "--trial", "0"]) == 2
    assert "has no trials yet" in capsys.readouterr().err
    assert retrain.main([str(empty_run.path), "--front"]) == 2
    assert "has no front yet" in capsys.readouterr().err


# dashboard


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listening(port: int) -> set[str]:
    """Local addresses, in hexadecimal, on which somebody listens at a port."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in (Path("/proc/net") / name).read_text().splitlines()[1:]
    ]
    return {
        line[1].split(":")[0] for line in lines if line[3] == "0A" and int(line[1].split(":")[1], 16) == port
    }


def test_the_dashboard_lists_the_study_on_this_machine_alone(run):
    port = free_port()
    command = [sys.executable, "-m", "nas.dashboard", str(run.path), "--port", str(port), "--no-browser"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert f"http://127.0.0.1:{port}/dashboard" in process.stdout.readline()
            answers = []

            def answered():
                assert process.poll() is None, "the dashboard has ended"
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies") as answer:
                        answers.append(json.load(answer))
                except urllib.error.URLError:
                    return False
                return True

            wait_until(answered, "the dashboard answers")
            [study] = answers[-1]["study_summaries"]
            assert study["study_name"] == "toy"
            assert listening(port) == {"0100007F"}  # 127.0.0.1
        finally:
            process.terminate()


def test_the_dashboard_refuses_a_port_that_is_taken(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert dashboard.main([str(run.path), "--port", str(port), "--no-browser"]) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_the_dashboard_refuses_a_run_without_a_study(empty_run, capsys):
    assert dashboard.main([str(empty_run.path), "--no-browser"]) == 2
    assert "has no study.db yet" in capsys.readouterr().err
    assert not os.path.exists(empty_run.database)
