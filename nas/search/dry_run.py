"""`--dry-run`: the space, one sampled architecture and its cost; nothing is trained or written."""

import math

import numpy as np
from rich.console import Console
from rich.tree import Tree

from nas.errors import RequestError
from nas.evaluation import Evaluator
from nas.search.setup import Setup
from nas.space import Architecture
from nas.space.search_space import Fixed, Group, Node, Select


def show(setup: Setup) -> None:
    """Print the space as a tree, its size, and a sampled architecture with its cheap objectives."""
    console = Console(soft_wrap=True)
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
