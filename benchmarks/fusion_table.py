"""Every fusion alone on avt_digits: the same small encoders, the same budget, several seeds.

    python benchmarks/fusion_table.py --seeds 3 --epochs 12 --out fusion_table.jsonl --search 75

Prints one JSON line per fusion with its default settings: test accuracy, mean and standard deviation
over the seeds; the accuracy without the modality that is missed most; parameters of the fusion and of
the network; seconds per training. Ahead of them every modality alone, as what a user would take
instead. The encoders of audio and text keep their tokens. `--only` picks some of the lines by name.

With `--search N` follows what a search of N trials over all fusions and their settings finds, with these
encoders and epochs: the network of the highest accuracy on the validation split, trained from scratch
with every seed like the others. With `--out`, lines are appended to a file, and what stands there is not
measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import yaml

import nas
from nas.evaluation import Evaluator, untrained
from nas.experiment import Training
from nas.network import Network
from nas.registry import available, get
from nas.training import predict, train

DIM = 32
ENCODERS: dict[str, Any] = {
    "image": {"cnn": {"width": 8}},
    "audio": {"conv1d": {"width": 16, "layers": 1}},
    "text": {"transformer": {"width": 16, "layers": 1}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--search", type=int, metavar="N", help="trials of a search over all fusions")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="fusions to measure; none of the others")
    parser.add_argument("--out", type=Path, help="file to append the lines to, and to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Training(epochs=arguments.epochs, learning_rate=5e-3)
    seeds = range(arguments.seeds)
    networks: dict[str, tuple[list[str], str]] = {f"{name} alone": ([name], "concat") for name in ENCODERS}
    fusions = sorted(available("fusion"), key=_consumes, reverse=True)  # vectors first: tokens take longer
    networks |= {name: (list(ENCODERS), name) for name in fusions if _takes(name, len(ENCODERS))}
    wanted = set(networks if arguments.only is None else arguments.only) - _measured(arguments.out)
    for label, (modalities, fusion) in networks.items():
        if label in wanted:
            write(measure(label, modalities, {fusion: {}}, settings, seeds), arguments.out)
    label = f"search of {arguments.search}"
    if arguments.search and label not in _measured(arguments.out):
        found, seconds = search(arguments.search, settings)
        line = measure(label, list(ENCODERS), found, settings, seeds)
        write(line | {"found": found, "search_seconds": round(seconds)}, arguments.out)


def write(line: dict[str, Any], out: Path | None) -> None:
    """Print a line, and append it to a file."""
    print(json.dumps(line), flush=True)
    if out:
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def search(trials: int, settings: Training) -> tuple[dict[str, Any], float]:
    """The most accurate fusion that a search over all of them finds, and the seconds it took."""
    space = {"present": "all", "dim": DIM, "encoders": ENCODERS, "connector": "none", "head": "linear"}
    experiment = {
        "data": "avt_digits",
        "space": space | {"fusion": {"choice": "all"}},
        "objectives": {"accuracy": "maximize"},
        "search": {"sampler": "evolution", "racing": 0.2, "trials": trials, "seed": 0},
        "training": {"epochs": settings.epochs, "learning_rate": settings.learning_rate},
    }
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder, "fusions.yaml"), Path(folder, "run")
        file.write_text(yaml.safe_dump(experiment))
        started = time.perf_counter()
        command = [sys.executable, "-m", "nas.search", str(file), "--run-dir", str(run)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - started
        [best, *_] = json.loads((run / "pareto.json").read_text())
    return best["architecture"]["fusion"], seconds


def measure(
    label: str, modalities: list[str], fusion: dict[str, Any], settings: Training, seeds: range
) -> dict[str, Any]:
    """What one fusion reaches on the test split when it is trained from scratch with every seed."""
    dataset = nas.load_dataset("avt_digits", modalities=modalities)
    architecture = nas.Architecture(
        {
            "dim": DIM,
            "encoders": {name: ENCODERS[name] for name in modalities},
            "connector": {"none": {}},
            "fusion": fusion,
            "head": {"linear": {}},
        }
    )
    evaluator = Evaluator(dataset, ["parameters"], settings)
    accuracies, without, started = [], [], time.perf_counter()
    for seed in seeds:
        network = untrained(architecture, dataset.modalities, dataset.task, seed)
        parameters = evaluator.measure(network)["parameters"]
        train(network, dataset.splits["train"], dataset.splits["validation"], settings, seed)
        accuracies.append(accuracy(network, dataset))
        if len(modalities) > 1:
            without.append({name: accuracy(network, dataset, name) for name in modalities})
    worst = [min(one.values()) for one in without]
    return {
        "fusion": label,
        "consumes": _consumes(next(iter(fusion))),
        "test_accuracy": round(mean(accuracies), 4),
        "std": round(stdev(accuracies), 4) if len(accuracies) > 1 else 0.0,
        "worst_missing_accuracy": round(mean(worst), 4) if worst else None,
        "without": {name: round(mean(one[name] for one in without), 4) for name in modalities if without},
        "fusion_parameters": sum(parameter.numel() for parameter in network.fusion.parameters()),
        "parameters": int(parameters),
        "seeds": len(seeds),
        "epochs": settings.epochs,
        "seconds": round((time.perf_counter() - started) / len(seeds), 1),
    }


def accuracy(
    network: Network, dataset: nas.Dataset, missing: str | None = None, split: str = "test"
) -> float:
    """Share of a split that is predicted right, without one modality if it is named."""
    samples = dataset.splits[split]
    present = torch.tensor([name != missing for name in dataset.modalities])
    outputs, labels = predict(network, samples if missing is None else _Without(samples, present))
    return float((outputs.argmax(1) == labels).float().mean())


class _Without:
    """A split of which some modalities are absent."""

    def __init__(self, split: nas.Split, present: torch.Tensor) -> None:
        self.split, self.present = split, present

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: torch.Tensor) -> nas.Batch:
        whole = self.split.batch(indices)
        return nas.Batch(
            whole.inputs, whole.labels, whole.masks, self.present.expand(len(indices), -1).clone()
        )


def _consumes(name: str) -> str:
    return getattr(get("fusion", name), "consumes", "vectors")


def _takes(name: str, count: int) -> bool:
    low, high = getattr(get("fusion", name), "modalities", (1, None))
    return low <= count <= (high or count)


def _measured(out: Path | None) -> set[str]:
    if out is None or not out.exists():
        return set()
    return {json.loads(line)["fusion"] for line in out.read_text().splitlines()}


if __name__ == "__main__":
    main()
