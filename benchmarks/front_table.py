"""The front of a finished search beside the baselines, on the test split, several seeds each.

    python benchmarks/front_table.py runs/ws --seeds 3

Prints one JSON line per network: every modality alone and late fusion with the encoders, width and
learning rate of the front's most accurate member; that member itself; the fixed dense network, whose
learning rate is chosen here on the validation split; and the smallest member of the front within one
point of the dense network's test accuracy. All are trained alike, from scratch.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nas
from nas.evaluation import Evaluator
from nas.experiment import Experiment, load_experiment
from nas.results.records import Candidate
from nas.results.retrain import Retrained, retrain
from nas.results.run_directory import RunDirectory
from nas.results.stored import read_history

LEARNING_RATES = (5e-3, 1e-2)
DENSE = Path(__file__).parents[1] / "experiments" / "dense_baseline.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    run = RunDirectory(arguments.run_dir)
    experiment, seeds = run.experiment(), list(range(arguments.seeds))
    dense = nas.Architecture(load_experiment(DENSE)[0].space)
    [(name, options)] = experiment.data.items()

    def measure(label: str, architecture: nas.Architecture, only: str | None = None) -> float:
        chosen = {"modalities": [only]} if only else {}
        retrained = retrain(experiment, nas.load_dataset(name, **options | chosen), architecture, seeds)
        print_line(label, architecture, retrained)
        return retrained.summary()["accuracy"][0]

    members = read_history(run).front()
    best = max(members, key=lambda record: record.values["accuracy"])
    plain = changed(best.architecture, connector={"none": {}}, head={"linear": {}})
    for modality, encoder in best.architecture["encoders"].items():
        alone = changed(plain, encoders={modality: encoder}, fusion={"concat": {}})
        measure(f"{modality} alone", alone, modality)
    measure("late", changed(plain, fusion={"late": {}}))
    measure(f"best of the front (trial {best.number})", best.architecture)
    dataset = nas.load_dataset(name, **options)
    print_textbook(dataset, dense)
    reference = measure("dense_baseline", with_best_rate(experiment, dataset, dense))
    smallest_within(members, reference - 0.01, measure)


def smallest_within(members: Iterable[Candidate], accuracy: float, measure: Any) -> None:
    """Go up the front by parameters until a member's mean test accuracy is high enough."""
    for record in sorted(members, key=lambda record: record.values["parameters"]):
        if record.values["accuracy"] < accuracy - 0.03:
            continue  # its validation accuracy says that it is hopeless
        if measure(f"front by size (trial {record.number})", record.architecture) >= accuracy:
            return


def with_best_rate(
    experiment: Experiment, dataset: nas.Dataset, architecture: nas.Architecture
) -> nas.Architecture:
    """The architecture with the learning rate that is best on the validation split."""
    evaluator = Evaluator(dataset, ["accuracy"], experiment.training)
    candidates = [changed(architecture, training={"learning_rate": rate}) for rate in LEARNING_RATES]
    return max(candidates, key=lambda candidate: evaluator(candidate, 0).values["accuracy"])


def changed(architecture: nas.Architecture, **slots: Any) -> nas.Architecture:
    return nas.Architecture(architecture.to_data() | slots)


def print_line(label: str, architecture: nas.Architecture, retrained: Retrained) -> None:
    summary = retrained.summary()
    line = {
        "network": label,
        "test_accuracy": round(summary["accuracy"][0], 4),
        "std": round(summary["accuracy"][1], 4),
        "seeds": len(retrained.seeds),
        "parameters": int(summary["parameters"][0]),
        "sparsity": round(summary["sparsity"][0], 4),
        "learning_rate": architecture["training"]["learning_rate"],
        "architecture_id": architecture.id,
    }
    print(json.dumps(line), flush=True)


def print_textbook(dataset: nas.Dataset, dense: nas.Architecture) -> None:
    """The dense network's size with the query and key projections that a textbook would store."""
    network = nas.build(dense, dataset.modalities, dataset.task)
    stored = sum(parameter.numel() for parameter in network.parameters())
    own = sum(parameter.numel() for parameter in network.fusion.parameters())
    textbook = stored - own + network.fusion.textbook_parameters
    print(json.dumps({"network": "dense_baseline", "stored": stored, "textbook": textbook}), flush=True)


if __name__ == "__main__":
    main()
