"""Data of which fusing all modalities is worse than the best one alone: what the search makes of them.

    python benchmarks/best_part.py --draws 4 --trials 40 --out best_part.jsonl

Every draw takes `--rows` training samples and as many for validation from avt_digits, and the whole test
split. Audio and text are those of any other sample for all but a tenth: modalities that say next to
nothing, which a network can learn by heart all the same. Trained plainly: every modality alone, and
fusions of all three. The search has the same encoders, the same fusions over any set of modalities, and
`add_ons: all`; its choice is the member of the highest mean accuracy on the validation split. All
networks are then trained from scratch with `--seeds` other seeds.

Prints one JSON line per draw with the mean accuracies on the test split, what the search has chosen, and
the best part: the modality that is most accurate on the validation split. Then one line per network: what
the search is ahead of it, mean over the draws with half of Student's 95 % interval. With `--out`, lines
are appended to a file, and draws that stand there are not measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from fusion_table import DIM, accuracy, write
from scipy.stats import t

import nas
from nas.evaluation import untrained
from nas.experiment import Training
from nas.training import train

ENCODERS: dict[str, Any] = {
    "image": {"cnn": {"width": 8}},
    "audio": {"spectrogram_cnn": {"width": 4}},
    "text": {"attention": {"embedding": 16}},
}
FUSIONS = ("late", "concat", "attention", "gate", "tensor")
SLOTS: dict[str, Any] = {"dim": DIM, "connector": {"none": {}}, "head": {"linear": {}}}
SETTINGS = {"epochs": 30, "batch_size": 32, "learning_rate": 5e-3}
UNRELATED = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=40, help="trainings per search")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network that is compared")
    parser.add_argument("--out", type=Path, help="file to append the lines to, and to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = arguments.out.read_text().splitlines() if arguments.out and arguments.out.exists() else []
    lines = {line["draw"]: line for line in map(json.loads, known)}
    for draw in range(arguments.draws):
        if draw not in lines:
            lines[draw] = measured(draw, arguments)
            write(lines[draw], arguments.out)
    for name in next(iter(lines.values()))["test_accuracy"]:
        if name != "found":
            write(
                {"found_ahead_of": name} | lead([line["test_accuracy"] for line in lines.values()], name),
                None,
            )


def measured(draw: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Test accuracies of one draw of the data."""
    with tempfile.TemporaryDirectory() as folder:
        options = drawn(Path(folder), draw, arguments.rows)
        found = search(Path(folder), options, arguments.trials, draw)
        dataset = nas.load_dataset("arrays", **options)
    networks = {f"{name} alone": tree([name]) for name in ENCODERS}
    networks |= {name: tree(list(ENCODERS)) | {"fusion": {name: {}}} for name in FUSIONS}
    networks |= {"found": found}
    seeds = range(arguments.seeds)
    reached = {
        name: np.mean([trained(dataset, network, seed) for seed in seeds], 0)
        for name, network in networks.items()
    }
    best = max((name for name in networks if name.endswith("alone")), key=lambda name: reached[name][0])
    test = {name: round(float(figures[1]), 4) for name, figures in reached.items()}
    return {
        "draw": draw,
        "test_accuracy": test | {"best part": test[best]},
        "best_part": best,
        "uses": list(found["encoders"]),
        "fusion": found.get("fusion"),
        "training": found.get("training"),
    }


def drawn(folder: Path, draw: int, rows: int) -> dict[str, Any]:
    """Write the samples of one draw; the options of the dataset `arrays` that read them."""
    rng = np.random.default_rng(draw)
    parts: dict[str, list[Any]] = {name: [] for name in [*ENCODERS, "label", "split"]}
    for code, (split, samples) in enumerate(nas.load_dataset("avt_digits").splits.items()):
        chosen = rng.permutation(len(samples))[: len(samples) if split == "test" else rows]
        batch = samples.batch(torch.from_numpy(chosen))
        for name in ENCODERS:
            parts[name].append(np.asarray(batch.inputs[name]))
            if name != "image":
                parts[name][-1] = shuffled(parts[name][-1], rng)
        parts["label"].append(np.asarray(batch.labels))
        parts["split"].append(np.full(len(chosen), code))
    np.savez(folder / "data.npz", **{name: np.concatenate(values) for name, values in parts.items()})
    modalities = {name: {name: name} for name in ENCODERS}
    return {
        "source": str(folder / "data.npz"),
        "modalities": modalities,
        "split": "split",
        "cache": str(folder / "cache"),
    }


def shuffled(values: Any, rng: np.random.Generator) -> Any:
    """The values of all but a few samples exchanged among them."""
    moved = np.flatnonzero(rng.random(len(values)) < UNRELATED)
    mixed = values.copy()
    mixed[moved] = values[rng.permutation(moved)]
    return mixed


def search(folder: Path, options: dict[str, Any], trials: int, seed: int) -> dict[str, Any]:
    """The architecture of the member of the front that is most accurate on the validation split."""
    fusion = {"choice": list(FUSIONS)}
    experiment = {
        "data": {"arrays": options},
        "space": SLOTS | {"encoders": ENCODERS, "fusion": fusion, "training": {"add_ons": "all"}},
        "objectives": {"accuracy": "maximize"},
        "search": {"sampler": "evolution", "racing": 0.3, "trials": trials, "seed": seed},
        "training": SETTINGS,
        "execution": {"workers": 1},
    }
    file, run = folder / "search.yaml", folder / "run"
    file.write_text(yaml.safe_dump(experiment))
    command = [sys.executable, "-m", "nas.search", str(file), "--run-dir", str(run)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    architecture: dict[str, Any] = json.loads((run / "pareto.json").read_text())[0]["architecture"]
    return architecture


def tree(modalities: list[str]) -> dict[str, Any]:
    """A network of some modalities, less its fusion."""
    present = {name: name in modalities for name in ENCODERS}
    own = {"encoders": {name: ENCODERS[name] for name in modalities}}
    if len(modalities) > 1:
        return SLOTS | own
    return {"dim": DIM, "head": SLOTS["head"], "present": present} | own


def trained(dataset: nas.Dataset, network: dict[str, Any], seed: int) -> tuple[float, float]:
    """Accuracy on the validation and the test split of a training from scratch."""
    architecture = nas.Architecture(network)
    settings = Training.model_validate(SETTINGS).chosen_by(architecture)
    built = untrained(architecture, dataset.modalities, dataset.task, 1000 + seed)
    train(built, dataset.splits["train"], dataset.splits["validation"], settings, 1000 + seed)
    return accuracy(built, dataset, split="validation"), accuracy(built, dataset)


def lead(draws: list[dict[str, float]], name: str) -> dict[str, Any]:
    """By how much the network that was found is ahead of another."""
    ahead = np.array([line["found"] - line[name] for line in draws])
    half = t.ppf(0.975, len(ahead) - 1) * ahead.std(ddof=1) / len(ahead) ** 0.5
    own = float(np.mean([line[name] for line in draws]))
    figures = {"mean": ahead.mean(), "half": half, "least": ahead.min(), "test_accuracy": own}
    return {key: round(float(value), 4) for key, value in figures.items()}


if __name__ == "__main__":
    main()
