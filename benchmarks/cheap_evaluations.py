"""What cheaper evaluations tell about networks: zero-cost proxies, and trainings on frozen encoders.

    python benchmarks/cheap_evaluations.py --frozen 48

For the networks of SmallWorldBench: Spearman's rank correlation of every proxy, at initialisation and on
64 training samples, with the accuracy on validation after the training (mean of three seeds), beside that
of the parameters; `spread` is the standard deviation over bootstrap samples of the networks, and
`milliseconds` the median time per network. With `--frozen N` also that of the accuracy of N networks
trained with frozen encoders, with the seconds per network beside those of the joint training of the same
networks in the same run; the encoders' own trainings, each once, are told apart.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import nas
from nas.bench import SmallWorldBench
from nas.bench.build import _every_second
from nas.bench.table import TRAINING
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.space import Architecture

PROXIES = ("parameters", "flops", "synflow", "snip", "grad_norm", "naswot")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=624)
    parser.add_argument("--frozen", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench, dataset = SmallWorldBench.load(), _every_second(nas.load_dataset("avt_digits"))
    accuracy = bench.accuracy[..., -1].mean(1)
    rng = np.random.default_rng(0)
    architectures = list(bench.index)
    chosen = rng.permutation(len(architectures))[: arguments.networks]
    for name in PROXIES:
        evaluator = Evaluator(dataset, [name], Training())
        evaluator.objectives = {name: evaluator.objectives[name]}
        tell(name, *measured(partial(judge, evaluator), architectures, chosen), accuracy[chosen])
    if arguments.frozen:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            frozen(dataset, architectures, chosen[: arguments.frozen], accuracy)


def judge(evaluator: Evaluator, architecture: Architecture) -> float:
    [value] = evaluator.measure(evaluator.build(architecture, 0)).values()
    return value


def frozen(
    dataset: Any,
    architectures: Sequence[Architecture],
    chosen: NDArray[np.int64],
    accuracy: NDArray[np.float64],
) -> None:
    training = Training.model_validate(TRAINING)
    alone = Evaluator(dataset, ["accuracy"], training.model_copy(update={"encoders": "frozen"}))
    started = time.perf_counter()
    for index in chosen:  # every encoder is trained when it is first asked for
        tree = architectures[index].to_data()
        alone(Architecture(tree | {"training": tree["training"] | {"epochs": 1}}), 0)
    print(json.dumps({"encoders": "all", "seconds": round(time.perf_counter() - started, 1)}), flush=True)
    joint = Evaluator(dataset, ["accuracy"], training)
    for name, evaluator in (("frozen", alone), ("joint", joint)):

        def train(architecture: Architecture, evaluator: Evaluator = evaluator) -> float:
            return evaluator(architecture, 5).values["accuracy"]

        tell(name, *measured(train, architectures, chosen), accuracy[chosen])


def measured(
    judge: Callable[[Architecture], float], architectures: Sequence[Architecture], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """What every chosen network is worth, and the median of the seconds."""
    values, seconds = [], []
    for index in chosen:
        started = time.perf_counter()
        values.append(judge(architectures[index]))
        seconds.append(time.perf_counter() - started)
    return np.array(values), float(np.median(seconds))


def tell(name: str, values: NDArray[np.float64], seconds: float, accuracy: NDArray[np.float64]) -> None:
    rng, count = np.random.default_rng(1), len(values)
    again = [rng.integers(count, size=count) for _ in range(200)]
    spread = np.std([spearmanr(values[rows], accuracy[rows]).statistic for rows in again])
    line = {
        "measure": name,
        "networks": count,
        "rank_correlation": round(float(spearmanr(values, accuracy).statistic), 3),
        "spread": round(float(spread), 3),
        "milliseconds": round(1000 * seconds, 1),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
