"""`--dry-run`: data, space, one sampled architecture and its cost; nothing is trained or written."""

import math

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from nas.datasets import Dataset
from nas.errors import RequestError
from nas.evaluation import Evaluator
from nas.modality import ModalitySpec
from nas.search.setup import Setup
from nas.space import Architecture
from nas.space.search_space import Fixed, Group, Node, Select

FEW = 5  # classes that are named


def show(setup: Setup) -> None:
    """Print what came of the data, the space, and a sampled architecture with its cheap objectives."""
    console = Console(soft_wrap=True)
    console.print(_data(setup.dataset))
    size = setup.space.size
    count = f"{size:,.0f} architectures" if math.isfinite(size) else "infinitely many architectures"
    tree = Tree(f"[bold]space[/] of {setup.experiment.name}: {count}")
    if setup.space.presence is not None:
        tree.add(f"present: {setup.space.presence}")
    _grow(tree, setup.space.root)
    console.print(tree)
    seed = setup.experiment.search.seed
    architecture = setup.space.sample(np.random.default_rng(seed))
    console.print(f"\n[bold]one architecture[/] {architecture.id} (random, seed {seed})")
    console.print_json(architecture.to_json())
    for name, value in _cost(setup, architecture).items():
        console.print(f"  {name} {value:,.4g}" if value % 1 else f"  {name} {value:,.0f}")


def _data(dataset: Dataset) -> Tree:
    """The task, the size of the splits, and what stands for each modality."""
    task = dataset.task
    classes = ", ".join(task.classes[:FEW]) + (", …" if len(task.classes) > FEW else "")
    tree = Tree(f"[bold]data[/]: {task.kind}, {task.noun} ({task.out_dim}): {escape(classes)}")
    tree.add(", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items()))
    for name, spec in dataset.modalities.items():
        tree.add(escape(f"{name}: {_said(spec)}"))
    return tree


def _said(spec: ModalitySpec) -> str:
    said = f"{spec.kind} {spec.shape}"
    if spec.vocabulary is not None:
        said += f", {spec.vocabulary:,} tokens"
    if spec.columns is not None:
        said += f", columns of {' + '.join(map(str, spec.columns))}"
    return said


def _cost(setup: Setup, architecture: Architecture) -> dict[str, float]:
    experiment = setup.experiment
    evaluator = Evaluator(setup.dataset, list(experiment.objectives), experiment.training)
    try:
        return evaluator.measure(evaluator.build(architecture, experiment.search.seed))
    except Exception as error:
        raise RequestError(f"this architecture cannot be built: {type(error).__name__}: {error}") from None


def _grow(tree: Tree, group: Group) -> None:
    for name, child in group.children.items():
        _branch(tree, name, child)


def _branch(tree: Tree, name: str, node: Node) -> None:
    match node:
        case Group():
            _grow(tree.add(name), node)
        case Select(kind, options):
            label = f"{name}: {next(iter(options))}" if len(options) == 1 else f"{name}: one {kind} of"
            branch = tree.add(label)
            for option, settings in options.items():
                _grow(branch if len(options) == 1 else branch.add(option), settings)
        case Fixed(value):
            tree.add(f"{name} = {value}")
        case _:
            tree.add(f"{name}: {node}")
