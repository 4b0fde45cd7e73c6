"""How long the report of a large search takes: to be made, and to open in a browser.

    python benchmarks/report_page.py [--trials 2000] [--keep DIR]

A made-up search: networks sampled from `search_spaces/ws.yaml`, learning curves that saturate with noise,
a fifth stopped early, a few failed. The report is written from what is stored, and opened by headless
Chromium from a file: the time until the page can be used and the front is drawn. Beside it, in the same
run, what one would take instead: Optuna's own plots of the same study in one page.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import create_trial

from nas.datasets import load_dataset
from nas.documents import read_document
from nas.experiment import Experiment
from nas.results.records import COMPLETE, FAILED, PRUNED, Origin, Record
from nas.results.report import write_report
from nas.results.run_directory import RunDirectory
from nas.search.samplers._optuna import STATES, parameters
from nas.seeds import derive
from nas.space.assemble import assemble

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser import open_browser  # noqa: E402

EPOCHS = 18


def made_up_run(folder: Path, trials: int) -> RunDirectory:
    """A run directory as a search of so many trials would have left it, but for the weights."""
    dataset = load_dataset("avt_digits")
    document = read_document(ROOT / "search_spaces/ws.yaml")
    space = assemble(document.data, dataset.modalities)
    data = {"name": "made_up", "data": {"avt_digits": {}}, "space": space.to_data()}
    experiment = Experiment.model_validate(data | {"search": {"sampler": {"random": {}}, "trials": trials}})
    run = RunDirectory(folder)
    run.create(experiment, dataset.modalities, dataset.task)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=run.storage_url, study_name="made_up", directions=["maximize", "minimize"]
    )
    rng = np.random.default_rng(0)
    events = []
    for number in range(trials):
        architecture = space.sample(rng)
        record = _made_up(Record(number, derive(0, number, "trial"), architecture, COMPLETE, number), rng)
        values, distributions = parameters(space, architecture)
        details = {name: value for name, value in record.values.items() if name not in experiment.objectives}
        study.add_trial(
            create_trial(
                state=STATES[record.state],
                values=[record.values[name] for name in experiment.objectives] if record.values else None,
                params=values,
                distributions=distributions,
                user_attrs={
                    "architecture": architecture.to_data(),
                    "architecture_id": architecture.id,
                    "seed": record.seed,
                    "asked_after": number,
                    "origin": asdict(record.origin),
                    "seconds": record.seconds,
                    "told": number,
                    "state": record.state,
                    "cheap": record.cheap,
                    "metrics": list(record.metrics),
                    "wiring": record.wiring,
                    **({"failure": record.failure} if record.failure else {}),
                    **details,
                },
            )
        )
        ending = "told" if record.state == COMPLETE else record.state
        for event, at in (("asked", 2 * number), (ending, 2 * number + 1.5)):
            stamp = f"2026-01-01T{at // 3600:02.0f}:{at // 60 % 60:02.0f}:{at % 60:06.3f}+00:00"
            events.append(json.dumps({"time": stamp, "event": event, "trial": number}))
    run.events_file.write_text("\n".join(events) + "\n")
    return run


def _made_up(record: Record, rng: np.random.Generator) -> Record:
    cheap = {"parameters": float(int(np.exp(rng.uniform(9, 13)))), "sparsity": rng.uniform(0, 0.9)}
    cheap["flops"] = cheap["parameters"] * rng.uniform(10, 30)
    end = 0.97 - 0.3 * np.exp(-(np.log(cheap["parameters"]) - 8.5) / 1.5) - abs(rng.normal(0, 0.04))
    curve = end - 0.6 * np.exp(-np.arange(1, EPOCHS + 1) / rng.uniform(1, 5)) + rng.normal(0, 0.006, EPOCHS)
    metrics = tuple({"accuracy": float(value)} for value in curve)
    parents = (int(rng.integers(record.number)),) if record.number > 20 else ()
    record = replace(
        record,
        cheap=cheap,
        metrics=metrics,
        seconds=1.5,
        told=record.number,
        origin=Origin("mutation" if parents else "sampled", parents),
    )
    lot = rng.random()
    if lot < 0.2:
        stopped = metrics[: int(rng.integers(2, 9))]
        return replace(
            record, state=PRUNED, metrics=stopped, failure=("pruned", f"after epoch {len(stopped)}")
        )
    if lot < 0.23:
        return replace(
            record, state=FAILED, metrics=(), failure=("error", "ValueError: </script> is no number")
        )
    path, clustering = rng.uniform(2, 6), rng.uniform(0, 0.7)
    wiring = {"connector.layers.0": {"path_length": path, "clustering": clustering, "sigma": 2.0}}
    values = {"accuracy": float(curve[-1])} | cheap
    return replace(record, values=values, wiring={"start": wiring, "end": wiring})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the made-up run here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = made_up_run(arguments.keep or Path(folder) / "run", arguments.trials)
        started = time.perf_counter()
        write_report(run)
        making = time.perf_counter() - started
        print(
            json.dumps(
                {"figure": "report_seconds_to_make", "trials": arguments.trials, "ours": round(making, 1)}
            )
        )
        page = run.path / "report.html"
        plots = optunas_page(run, Path(folder))
        pairs = [(opening(page), opening(plots)) for _ in range(arguments.repeats)]
        for place, figure in enumerate(("report_seconds_to_open", "report_seconds_of_computing_to_open")):
            ours, plain = ([opened[place] for opened in column] for column in zip(*pairs, strict=True))
            line = {
                "figure": figure,
                "trials": arguments.trials,
                "megabytes": round(page.stat().st_size / 1e6, 1),
                "ours": round(statistics.median(ours), 2),
                "ours_spread": [round(min(ours), 2), round(max(ours), 2)],
                "optuna_plots": round(statistics.median(plain), 2),
                "optuna_spread": [round(min(plain), 2), round(max(plain), 2)],
                "ratio": round(statistics.median(a / b for a, b in zip(ours, plain, strict=True)), 2),
            }
            print(json.dumps(line))


def opening(page: Path) -> tuple[float, float]:
    """Seconds until the first chart is drawn: on the clock, and of the page's own computing."""
    with open_browser(1280, 900) as browser:
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        started = time.perf_counter()
        browser.get(page.as_uri())
        while not browser.execute_script("return document.querySelector('.main-svg') !== null"):
            time.sleep(0.01)
        passed = time.perf_counter() - started
        measured = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return passed, next(one["value"] for one in measured if one["name"] == "TaskDuration")


def optunas_page(run: RunDirectory, folder: Path) -> Path:
    """Optuna's front, history and curves of the same study in one page."""
    study = optuna.load_study(study_name="made_up", storage=run.storage_url)
    first = {"target": lambda trial: trial.values[0], "target_name": "accuracy"}
    plots = [
        optuna.visualization.plot_pareto_front(study),
        optuna.visualization.plot_optimization_history(study, **first),
        optuna.visualization.plot_slice(study, **first),
    ]
    parts = [plot.to_html(full_html=False, include_plotlyjs=number == 0) for number, plot in enumerate(plots)]
    page = folder / "optuna.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{''.join(parts)}")
    return page


if __name__ == "__main__":
    main()
