"""What the add-ons of a training are worth on avt_digits: against the same training without, seed by seed.

    python benchmarks/addons.py --seeds 5 --epochs 12 --out addons.jsonl

Trains the networks of `benchmarks/fusion_table.py` with `late`, `concat` and `small_world` fusion, plainly
and with every add-on. Prints one JSON line per fusion and add-on: accuracy on the test split, and without
the modality that is missed most, mean and standard deviation over the seeds. Then one line per add-on:
what it adds to both, mean over fusions and seeds with half of Student's 95 % interval, and the p of the
paired t-test. With `--out`, lines are appended to a file, and what stands there is not trained again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusion_table import DIM, ENCODERS, accuracy, write
from numpy.typing import NDArray
from scipy.stats import t, ttest_1samp

import nas
from nas.evaluation import untrained
from nas.experiment import Training
from nas.training import train

FUSIONS = ("late", "concat", "small_world")
ADD_ONS: dict[str, dict[str, Any]] = {
    "none": {},
    "auxiliary_loss: 0.3": {"auxiliary_loss": 0.3},
    "modality_dropout: 0.2": {"modality_dropout": 0.2},
    "both": {"auxiliary_loss": 0.3, "modality_dropout": 0.2},
    "gradient_blending: offline": {"gradient_blending": "offline"},
    "modulation: ogm_ge": {"modulation": "ogm_ge"},
    "modality_dropout: 0.2, stand_in: learned": {"modality_dropout": 0.2, "stand_in": "learned"},
}
MEASURES = ("test_accuracy", "worst_missing_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, help="file to append the lines to, and to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = nas.load_dataset("avt_digits")
    lines = _known(arguments.out)
    for add_on, settings in ADD_ONS.items():
        stand_in = settings.pop("stand_in", "zero")
        training = Training(epochs=arguments.epochs, learning_rate=5e-3, **settings)
        for fusion in FUSIONS:
            if (fusion, add_on) not in lines:
                slots = {"fusion": {fusion: {}}, "stand_in": stand_in}
                rows = [measured(dataset, slots, training, seed) for seed in range(arguments.seeds)]
                lines[fusion, add_on] = _line(fusion, add_on, np.array(rows))
                write(lines[fusion, add_on], arguments.out)
    for add_on in list(ADD_ONS)[1:]:
        write({"add_on": add_on} | dict(gains(lines, add_on)), None)


def measured(
    dataset: nas.Dataset, slots: dict[str, Any], training: Training, seed: int
) -> tuple[float, float]:
    """Accuracy on the test split, and without the modality that is missed most."""
    tree = {"dim": DIM, "encoders": ENCODERS, "connector": {"none": {}}, "head": {"linear": {}}}
    architecture = nas.Architecture(tree | slots)
    network = untrained(architecture, dataset.modalities, dataset.task, seed)
    train(network, dataset.splits["train"], dataset.splits["validation"], training, seed)
    return accuracy(network, dataset), min(accuracy(network, dataset, name) for name in ENCODERS)


def gains(lines: dict[tuple[str, str], dict[str, Any]], add_on: str) -> list[tuple[str, list[float]]]:
    """By measure: what an add-on adds in the mean, half of the interval, and the p."""
    found = []
    for name in MEASURES:
        pairs = [np.subtract(lines[fusion, add_on][name], lines[fusion, "none"][name]) for fusion in FUSIONS]
        gain = np.concatenate(pairs)
        half = t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5
        p = float(ttest_1samp(gain, 0).pvalue)
        found.append((name, [round(float(gain.mean()), 4), round(float(half), 4), round(p, 5)]))
    return found


def _line(fusion: str, add_on: str, rows: NDArray[np.float64]) -> dict[str, Any]:
    values = {name: column.round(4).tolist() for name, column in zip(MEASURES, rows.T, strict=True)}
    means = dict(zip(MEASURES, rows.mean(0).round(4).tolist(), strict=True))
    stds = dict(zip(MEASURES, rows.std(0, ddof=1).round(4).tolist(), strict=True))
    return {"fusion": fusion, "add_on": add_on, "mean": means, "std": stds} | values


def _known(out: Path | None) -> dict[tuple[str, str], dict[str, Any]]:
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out and out.exists() else []
    return {(line["fusion"], line["add_on"]): line for line in lines}


if __name__ == "__main__":
    main()
