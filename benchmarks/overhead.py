"""What the framework costs per trial: everything but the evaluation itself.

    python benchmarks/overhead.py

Trivial trainings on a tiny dataset, one worker process: the time between two finished trials, less
the evaluation's own. Beside it, in the same run, what one would write instead: `study.ask`, the same
evaluation in the same process, and `study.tell` on an SQLite storage.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

PLUGIN = '''
import torch, nas
from nas.datasets import TensorSplit

@nas.register("dataset", "tiny")
class Tiny:
    """Noise with labels."""
    def __init__(self):
        self.task = nas.Task("classification", ("a", "b"))
        self.modalities = {
            "image": nas.ModalitySpec("image", (1, 8, 8)),
            "text": nas.ModalitySpec("text", (5,), 7),
        }
        inputs = {"image": torch.zeros(16, 1, 8, 8), "text": torch.ones(16, 5, dtype=torch.long)}
        split = TensorSplit(inputs, torch.arange(16) % 2)
        self.splits = {"train": split, "validation": split, "test": split}
'''
EXPERIMENT = """
name: overhead
data: tiny
plugins: [tiny.py]
space: {dim: {int: [16, 32]}, fusion: {choice: [concat, gate, early]}, connector: none}
search: {sampler: random, trials: %d}
training: {epochs: 1, batch_size: 16}
execution: {workers: 1}
"""


def ours(folder: Path, trials: int) -> list[float]:
    """Seconds per trial beyond the evaluation, from the times in `events.jsonl`."""
    (folder / "tiny.py").write_text(PLUGIN)
    (folder / "overhead.yaml").write_text(EXPERIMENT % trials)
    command = [sys.executable, "-m", "nas.search", "overhead.yaml"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    events = (folder / "runs/overhead/events.jsonl").read_text().splitlines()
    told = [event for event in map(json.loads, events) if event["event"] == "told"]
    times = [
        time.mktime(time.strptime(e["time"][:19], "%Y-%m-%dT%H:%M:%S")) + float(e["time"][19:23])
        for e in told
    ]
    pairs = zip(told[5:], times[4:], times[5:], strict=False)
    return [later - earlier - event["seconds"] for event, earlier, later in pairs]


def plain_optuna(folder: Path, trials: int) -> list[float]:
    """Seconds per trial of ask and tell alone, with four parameters and five attributes each."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/plain.db",
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(0),
    )
    seconds = []
    for _ in range(trials):
        started = time.perf_counter()
        trial = study.ask()
        for name in ("a", "b", "c", "d"):
            trial.suggest_float(name, 0, 1)
        for name in ("architecture", "parameters", "sparsity", "flops", "seconds"):
            trial.set_user_attr(name, 1.0)
        study.tell(trial, [0.5, 1.0])
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            rows.append(
                (
                    statistics.median(ours(path, arguments.trials)),
                    statistics.median(plain_optuna(path, arguments.trials)),
                )
            )
    mine, plain = zip(*rows, strict=True)
    line = {
        "figure": "overhead_seconds_per_trial",
        "ours": round(statistics.median(mine), 4),
        "ours_spread": [round(min(mine), 4), round(max(mine), 4)],
        "plain_ask_tell": round(statistics.median(plain), 4),
        "plain_spread": [round(min(plain), 4), round(max(plain), 4)],
        "ratio": round(statistics.median(a / b for a, b in rows), 2),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
