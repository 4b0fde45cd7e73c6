"""What replicates are worth on a small validation split: the test accuracy of the network that is chosen.

    python benchmarks/noise_study.py --repeats 100

Searches on SmallWorldBench, which knows of each of its 1,872 trainings which samples of the validation and
the test split of `avt_digits` it gets right. Every repeat draws another 150 of the 1,440 validation
samples, and every search sees these alone. The network that it chooses is the most accurate of its front,
by the mean of its trainings; told is the test accuracy of that network, as the mean over the table's
three trainings. All ways have as many trainings in all: `once` trains every network once, `racing` spends
a share of the trainings on repeating what is on the front or close to it, `seeds` trains every network
three times. `promised` is by how much the accuracy that the search reports exceeds the one on the
test split; `random` chooses any network, `oracle` the best of the table.

Prints one JSON line per way: means with half of the 95 % interval over the repeats, and the paired
difference to `once` with the p of Wilcoxon's signed-rank test.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

import nas
from nas.bench import SmallWorldBench
from nas.search.simulation import simulate

WAYS: Mapping[str, Mapping[str, Any]] = {"once": {}, "racing": {"racing": 0.2}, "seeds": {"seeds": 3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--trials", type=int, default=60, help="trainings per search")
    parser.add_argument("--samples", type=int, default=150, help="size of the validation split")
    parser.add_argument("--samplers", nargs="+", default=["random", "evolution"])
    arguments = parser.parse_args()
    bench = SmallWorldBench.load()
    test = bench.test.mean((1, 2))
    print(json.dumps({"any": round(float(test.mean()), 4), "oracle": round(float(test.max()), 4)}))
    for sampler in arguments.samplers:
        once: NDArray[np.float64] | None = None
        for name, way in WAYS.items():
            rows = [
                chosen(bench, sampler, way, arguments.trials, arguments.samples, seed)
                for seed in range(arguments.repeats)
            ]
            own, promised = np.array(rows).T
            line: dict[str, Any] = {"sampler": sampler, "way": name, "repeats": len(rows)}
            line |= {"test": interval(own), "promised": interval(promised - own)}
            if once is None:
                once = own
            elif (own != once).any():
                line |= {"gain": interval(own - once), "p": round(float(wilcoxon(own, once).pvalue), 5)}
            print(json.dumps(line), flush=True)


def chosen(
    bench: SmallWorldBench, sampler: str, way: Mapping[str, Any], trials: int, samples: int, seed: int
) -> tuple[float, float]:
    """Test accuracy of the network that a search chooses, and the accuracy that the search saw."""
    rng = np.random.default_rng(seed)
    subset = rng.choice(bench.validation.shape[2], samples, replace=False)
    accuracy = bench.accuracy.copy()
    accuracy[..., -1] = bench.validation[..., subset].mean(2)
    small = replace(bench, accuracy=accuracy)
    found = simulate(small, nas.create("sampler", sampler), trials=trials, seed=seed, **way)
    best = max(found.history.front(), key=lambda member: member.values["accuracy"])
    return float(bench.test[bench.index[best.architecture]].mean()), best.values["accuracy"]


def interval(values: NDArray[np.float64]) -> list[float]:
    """The mean and half of its 95 % interval."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return [round(float(values.mean()), 4), round(float(half), 4)]


if __name__ == "__main__":
    main()
