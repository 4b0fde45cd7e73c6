"""Methods of wiring at equal compute: test accuracy of dense, static, learned and evolving layers.

    python benchmarks/wiring_table.py --data digits --seeds 5 --out digits.jsonl
    python benchmarks/wiring_table.py --data avt_digits --seeds 5 --out avt_digits.jsonl
    python benchmarks/wiring_table.py --data digits --out digits.jsonl --table

One JSON line per method and density, as soon as its seeds are done: mean and sample standard deviation of
the accuracy on the test split, densities and numbers of weights of the sparse layers, and median seconds of
one training. With `--out` the lines are kept in a file too, and what is there is not run again; `--table`
runs nothing and prints the file as Markdown tables of accuracy and of cost. `--methods` takes names or
their beginnings.

Every method has the same epochs, batches, optimiser (AdamW) and schedule; nothing is tuned per method.
`digits` is the collection of scikit-learn, split anew for every seed (the same for all methods), and an MLP
64-512-512-10 whose two hidden layers are sparse; its learning rate is the better of 3e-3 and 1e-2 on a
validation split, for the dense and the static network alike. `avt_digits` is a small multi-modal network
whose connector has two sparse layers of 144 units. One thread per worker.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

import nas
from nas.datasets import Split, TensorSplit
from nas.experiment import Training
from nas.seeds import derive
from nas.sparse import SparseLinear
from nas.training import predict, train

BETAS = (0.0, 0.1, 0.5, 1.0)
SMALL_WORLDS = ("watts_strogatz", "bipartite", "fan_in")
RULES = ("set", "rigl", "deep_r", "cannistraci_hebb", "gradual_magnitude")
METHODS = (
    "dense",
    "static",
    *(f"{family}({beta:g})" for family in SMALL_WORLDS for beta in BETAS),
    "learned_beta",
    *RULES,
)
DENSITIES = (0.1, 0.05, 0.02)
WIDTHS = (64, 512, 512, 10)
DIM, CONNECTOR_LAYERS = 48, 2
SETTINGS = {
    "digits": Training(epochs=60, batch_size=64, learning_rate=1e-2),
    "avt_digits": Training(epochs=12, batch_size=128, learning_rate=1e-2, label_smoothing=0.1),
}

Selection = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Args:
        data: `digits` or `avt_digits`.
        method: One of `METHODS`.
        density: The share of all weights that is asked for; 1 for the dense network.
        seeds: Number of trainings.
        epochs: Epochs of each.
    """

    data: str
    method: str
    density: float
    seeds: int
    epochs: int


def topology(case: Case, out_features: int, in_features: int) -> Selection:
    """The topology of a layer: of the nearest density where it counts neighbours."""
    wanted = case.density * in_features
    k, even = max(1, round(wanted)), max(2, 2 * round(wanted / 2))
    family, _, beta = case.method.rstrip(")").partition("(")
    if family == "watts_strogatz" and out_features == in_features:
        return {"watts_strogatz": {"k": even, "beta": float(beta)}}
    if family in ("watts_strogatz", "bipartite"):
        return {"bipartite_small_world": {"density": case.density, "beta": float(beta)}}
    if family == "fan_in":
        return {"fan_in_small_world": {"k": k, "beta": float(beta)}}
    if family == "learned_beta":
        return {"learnable_watts_strogatz": {"k": k}}
    starts_full = case.method in ("dense", "gradual_magnitude")
    return {"erdos_renyi": {"density": 1.0 if starts_full else case.density}}


def rewiring(case: Case, steps_per_epoch: int) -> Selection:
    """The rule of every layer at its defaults, except that `rigl` updates once per epoch as `set` does."""
    settings: Selection = {
        "rigl": {"interval": steps_per_epoch},
        "gradual_magnitude": {"density": case.density},
    }
    return {case.method: settings.get(case.method, {})} if case.method in RULES else {"none": {}}


class MLP(nn.Module):
    """64-512-512-10 with ReLU, called as a network of `nas` is; the last layer is dense in every method."""

    def __init__(self, case: Case, steps_per_epoch: int, seed: int) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(WIDTHS[:-1])):
            hidden.append(
                nn.Linear(inputs, outputs)
                if case.method == "dense"
                else SparseLinear(
                    inputs,
                    outputs,
                    topology(case, outputs, inputs),
                    rewiring=rewiring(case, steps_per_epoch),
                    seed=derive(seed, "layer", index),
                )
            )
        self.hidden = nn.ModuleList(hidden)
        self.last = nn.Linear(*WIDTHS[-2:])

    def forward(self, inputs: dict[str, Tensor], masks: Any = None, present: Any = None) -> Tensor:
        x = inputs["pixels"]
        for layer in self.hidden:
            x = layer(x).relu()
        return self.last(x)


def digits(seed: int) -> dict[str, Split]:
    """1,200 training, 197 validation and 400 test samples, stratified and split anew for every seed."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(range(len(labels)), test_size=400, stratify=labels, random_state=seed)
    training, validation = train_test_split(rest, test_size=197, stratify=labels[rest], random_state=seed)
    parts = {"train": training, "validation": validation, "test": test}
    return {
        name: TensorSplit(
            {"pixels": torch.tensor(pixels[part] / 16, dtype=torch.float32)}, torch.tensor(labels[part])
        )
        for name, part in parts.items()
    }


def avt_network(case: Case, dataset: Any, steps_per_epoch: int, seed: int) -> nn.Module:
    """The network of `experiments/evolving_wiring.yaml`; dense is every weight but the loops."""
    units = DIM * len(dataset.modalities)
    connector = {
        "layers": CONNECTOR_LAYERS,
        "topology": topology(case, units, units),
        "rewiring": rewiring(case, steps_per_epoch),
        "seed": derive(seed, "wiring"),
    }
    architecture = {
        "dim": DIM,
        "encoders": {
            "image": {"cnn": {"width": 16}},
            "audio": {"spectrogram_cnn": {"width": 8}},
            "text": {"attention": {"embedding": 32}},
        },
        "connector": {"small_world": connector},
        "fusion": {"attention": {}},
        "head": {"linear": {}},
    }
    return nas.build(architecture, dataset.modalities, dataset.task, derive(seed, "initialisation"))


@dataclass(frozen=True)
class Result:
    """What one training gave; `weights` counts those of the compared layers at its end."""

    accuracy: float
    seconds: float
    parameters: int
    weights: int
    layers: list[float]
    betas: list[float]


def run(case: Case, seed: int) -> Result:
    """Train once and predict the test split."""
    torch.set_num_threads(1)
    settings = SETTINGS[case.data].model_copy(update={"epochs": case.epochs})
    dataset = nas.load_dataset("avt_digits") if case.data == "avt_digits" else None
    splits = dataset.splits if dataset else digits(seed)
    steps = math.ceil(len(splits["train"]) / settings.batch_size)
    torch.manual_seed(derive(seed, "initialisation"))
    network: Any = avt_network(case, dataset, steps, seed) if dataset else MLP(case, steps, seed)
    started = time.perf_counter()
    train(network, splits["train"], splits["validation"], settings, derive(seed, "training"))
    seconds = time.perf_counter() - started
    outputs, labels = predict(network, splits["test"])
    compared = list((network.connector.layers if dataset else network.hidden).children())
    return Result(
        accuracy=(outputs.argmax(1) == labels).double().mean().item(),
        seconds=seconds,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights=sum(layer.weight.numel() for layer in compared),
        layers=[layer.weight.numel() / (layer.in_features * layer.out_features) for layer in compared],
        betas=[layer.beta.item() for layer in compared if getattr(layer, "beta", None) is not None],
    )


def line(case: Case) -> dict[str, Any]:
    """All seeds of a case."""
    results = [run(case, seed) for seed in range(case.seeds)]
    accuracies = [result.accuracy for result in results]
    found = asdict(case) | {
        "test_accuracy": round(mean(accuracies), 4),
        "std": round(stdev(accuracies), 4) if case.seeds > 1 else None,
        "accuracies": [round(accuracy, 4) for accuracy in accuracies],
        "layer_densities": [round(density, 4) for density in results[0].layers],
        "weights": round(mean(result.weights for result in results)),
        "parameters": round(mean(result.parameters for result in results)),
        "train_seconds": round(median(result.seconds for result in results), 2),
    }
    if results[0].betas:
        found["betas"] = [[round(beta, 3) for beta in result.betas] for result in results]
    return found


def lines(cases: Sequence[Case], workers: int) -> Iterator[dict[str, Any]]:
    """The lines of all cases, each as soon as it is known."""
    if workers == 1:
        yield from map(line, cases)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(line, case) for case in cases]):
            yield done.result()


def known(file: Path | None) -> list[dict[str, Any]]:
    if file is None or not file.exists():
        return []
    return [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines() if text.strip()]


def case_of(found: dict[str, Any]) -> Case:
    return Case(**{name: found[name] for name in Case.__dataclass_fields__})


def table(found: Iterable[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    """Markdown: a row per method, a column per density."""
    by_place = {(one["method"], one["density"]): cell(one) for one in found}
    densities = sorted({density for _, density in by_place} - {1.0}, reverse=True)
    yield "| method | " + " | ".join(f"{density:.0%}" for density in densities) + " |"
    yield "|---|" + "---|" * len(densities)
    if ("dense", 1.0) in by_place:
        yield f"| `dense` (100 %) | {by_place['dense', 1.0]} |" + " |" * (len(densities) - 1)
    for method in METHODS[1:]:
        cells = [by_place.get((method, density), "") for density in densities]
        if any(cells):
            yield f"| `{method}` | " + " | ".join(cells) + " |"


def accuracy(found: dict[str, Any]) -> str:
    """In per cent, ± standard deviation over the seeds."""
    deviation = "" if found["std"] is None else f" ± {100 * found['std']:.2f}"
    return f"{100 * found['test_accuracy']:.2f}{deviation}"


def cost(found: dict[str, Any]) -> str:
    """Weights of the compared layers after training, and seconds of one training."""
    return f"{found['weights']:,} · {found['train_seconds']:.1f} s"


def chosen(names: Sequence[str]) -> list[str]:
    """The methods that are named in full, or begin with a name."""
    found = [method for method in METHODS if any(method.startswith(name) for name in names)]
    lost = [name for name in names if not any(method.startswith(name) for method in METHODS)]
    if lost:
        raise SystemExit(f"no method begins with {', '.join(lost)}; there are {', '.join(METHODS)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(SETTINGS), default="digits")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each method and density")
    parser.add_argument("--epochs", type=int, help="default: 60 for digits, 12 for avt_digits")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="names or their beginnings")
    parser.add_argument("--densities", nargs="+", type=float, default=DENSITIES)
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--out", type=Path, help="file of JSON lines; what is in it is not run again")
    parser.add_argument("--table", action="store_true", help="run nothing, print --out as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        found = [one for one in known(arguments.out) if one["data"] == arguments.data]
        print(*table(found, accuracy), "", *table(found, cost), sep="\n")
        return
    epochs = arguments.epochs or SETTINGS[arguments.data].epochs
    places = [
        (method, density)
        for density in arguments.densities
        for method in chosen(arguments.methods)
        if method != "dense"
    ]
    if "dense" in chosen(arguments.methods):
        places.insert(0, ("dense", 1.0))
    there = {case_of(one) for one in known(arguments.out)}
    cases = [Case(arguments.data, *place, arguments.seeds, epochs) for place in places]
    for one in lines([case for case in cases if case not in there], arguments.workers):
        text = json.dumps(one)
        print(text, flush=True)
        if arguments.out:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
