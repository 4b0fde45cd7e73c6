"""Trains every network of SmallWorldBench's space and packs what was measured into one file.

    python -m nas.bench.build --workers 2

Takes hours; every finished training is appended to `--scratch`, from which a second call goes on.
The data are those of `avt_digits` with every second training sample, so that a training takes
seconds. Besides the accuracy on validation after every epoch, each training leaves which samples of
the validation and the test split it gets right at its end: any smaller validation split can be
simulated from that.
"""

import argparse
import base64
import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.bench.table import CHEAP, FILE, SEEDS, TRAINING, closed_space
from nas.datasets import Batch, Dataset, TensorSplit, load_dataset
from nas.evaluation import Evaluator
from nas.experiment import Training
from nas.space import Architecture
from nas.training import predict

_evaluator: Evaluator
_test: Any


def main() -> None:
    """Train what is missing, then pack."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, default=Path("small_world_bench.jsonl"))
    parser.add_argument("--pack", action="store_true", help="train nothing; pack the seeds that are complete")
    arguments = parser.parse_args()
    architectures = list(closed_space().points())
    rows = list(_read(arguments.scratch))
    if arguments.pack:
        return _pack(architectures, rows)
    done = {(row["index"], row["seed"]) for row in rows}
    jobs = [
        (index, seed, architecture.to_json())
        for seed in range(SEEDS)
        for index, architecture in enumerate(architectures)
        if (index, seed) not in done
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.workers, _prepare) as pool, arguments.scratch.open("a") as file:
        for row in pool.imap_unordered(_train, jobs):
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            print(f"{len(rows)}/{len(architectures) * SEEDS}", flush=True)
    _pack(architectures, rows)


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of an earlier call; a kill may have left the last one half-written."""
    if not file.exists():
        return
    whole = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    file.write_text("".join(whole))
    yield from map(json.loads, whole)


def _prepare() -> None:
    global _evaluator, _test
    torch.set_num_threads(1)
    dataset = _every_second(load_dataset("avt_digits"))
    _test = dataset.splits["test"]
    _evaluator = Evaluator(dataset, ["accuracy"], Training.model_validate(TRAINING))


def _every_second(dataset: Dataset) -> Dataset:
    split = dataset.splits["train"]
    half: Batch = split.batch(torch.arange(0, len(split), 2))
    dataset.splits = {**dataset.splits, "train": TensorSplit(**vars(half))}
    return dataset


def _train(job: tuple[int, int, str]) -> dict[str, Any]:
    index, seed, text = job
    evaluation = _evaluator(Architecture.from_json(text), seed)
    return {
        "index": index,
        "seed": seed,
        "accuracy": [epoch["accuracy"] for epoch in evaluation.epochs],
        "seconds": evaluation.seconds,
        "cheap": {name: evaluation.values[name] for name in ("parameters", "sparsity", "flops")},
        "validation": _correct(evaluation.network, _evaluator.splits["validation"]),
        "test": _correct(evaluation.network, _test),
    }


def _correct(network: Any, split: Any) -> str:
    outputs, labels = predict(network, split)
    return base64.b64encode(np.packbits((outputs.argmax(1) == labels).numpy()).tobytes()).decode()


def _pack(architectures: list[Architecture], rows: list[dict[str, Any]]) -> None:
    """Write the table, with as many seeds as are there for every architecture."""
    table: dict[tuple[int, int], dict[str, Any]] = {(row["index"], row["seed"]): row for row in rows}
    every = range(len(architectures))
    seeds = [seed for seed in range(SEEDS) if all((index, seed) in table for index in every)]
    grid = [[table[index, seed] for seed in seeds] for index in every]
    splits = load_dataset("avt_digits").splits

    def array(read: Any, dtype: Any) -> np.ndarray[Any, Any]:
        return np.array([[read(row) for row in line] for line in grid], dtype)

    def bits(name: str) -> np.ndarray[Any, Any]:
        return array(lambda row: np.frombuffer(base64.b64decode(row[name]), np.uint8), np.uint8)

    arrays = {
        "ids": np.array([architecture.id for architecture in architectures]),
        "accuracy": array(lambda row: row["accuracy"], np.float32),
        "seconds": array(lambda row: row["seconds"], np.float32),
        "validation": bits("validation"),
        "test": bits("test"),
        "validation_samples": np.array(len(splits["validation"])),
        "test_samples": np.array(len(splits["test"])),
    }
    for name in CHEAP:
        arrays[name] = array(lambda row, name=name: row["cheap"][name], np.float64)[:, 0]
    np.savez_compressed(FILE, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
