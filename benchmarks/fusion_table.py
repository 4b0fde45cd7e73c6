"""Every fusion alone on avt_digits: the same small encoders, the same budget, several seeds.

    python benchmarks/fusion_table.py --seeds 3 --epochs 12 --out fusion_table.jsonl

Prints one JSON line per fusion with its default settings: test accuracy, mean and standard deviation
over the seeds; the accuracy without the modality that is missed most; parameters of the fusion and of
the network; seconds per training. Ahead of them every modality alone, as what a user would take
instead. The encoders of audio and text keep their tokens. With `--out`, lines are appended to a file,
and what stands there is not measured again.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

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
    parser.add_argument("--out", type=Path, help="file to append the lines to, and to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Training(epochs=arguments.epochs, learning_rate=5e-3)
    seeds = range(arguments.seeds)
    dataset = nas.load_dataset("avt_digits")
    networks: dict[str, tuple[list[str], str]] = {f"{name} alone": ([name], "concat") for name in ENCODERS}
    fusions = sorted(available("fusion"), key=_consumes, reverse=True)  # vectors first: tokens take longer
    networks |= {name: (list(ENCODERS), name) for name in fusions if _takes(name, len(ENCODERS))}
    for label, (modalities, fusion) in networks.items():
        if label not in _measured(arguments.out):
            line = measure(label, modalities, fusion, dataset, settings, seeds)
            print(json.dumps(line), flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


def measure(
    label: str, modalities: list[str], fusion: str, dataset: nas.Dataset, settings: Training, seeds: range
) -> dict[str, Any]:
    """What one fusion reaches on the test split when it is trained from scratch with every seed."""
    if len(modalities) < len(dataset.modalities):
        dataset = nas.load_dataset("avt_digits", modalities=modalities)
    architecture = nas.Architecture(
        {
            "dim": DIM,
            "encoders": {name: ENCODERS[name] for name in modalities},
            "connector": {"none": {}},
            "fusion": {fusion: {}},
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
        "consumes": _consumes(fusion),
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


def accuracy(network: Network, dataset: nas.Dataset, missing: str | None = None) -> float:
    """Share of the test split that is predicted right, without one modality if it is named."""
    split = dataset.splits["test"]
    present = torch.tensor([name != missing for name in dataset.modalities])
    outputs, labels = predict(network, split if missing is None else _Without(split, present))
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
