"""The training loop."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch, Split
from nas.errors import TrialError
from nas.experiment import Training
from nas.network import Network
from nas.seeds import derive
from nas.training.add_ons import add_ons
from nas.training.checkpoint import restore, state_of, torchs_own
from nas.training.compiling import compiled
from nas.training.criterion import Criterion, criterion
from nas.training.hooks import Hook, Hooks
from nas.training.identifiability import verdicts
from nas.training.measures import Measures, wiring_measures
from nas.training.precision import outputs_of
from nas.training.wiring import Plan, Wiring, parameter_groups

PREDICTION_BATCH = 512


@dataclass(frozen=True)
class Epoch:
    """What is known after one epoch.

    Args:
        number: Counted from 1.
        train_loss: Mean loss over the epoch's training samples.
        outputs: Network outputs on the validation split, `(N, out_dim)`.
        labels: Labels of the validation split, `(N, …)`.
        seconds: Time since the training began; in a population, this member's share of it.
        wiring: What is known of the wiring; see `nas.training.wiring.Wiring.metrics`. Of a network with
            sparse layers also, by `wiring`, their measures: those before the training by `start` in
            the first epoch, those after it by `end` in the last; see `wiring_measures`, and with the
            setting `identifiability` also `nas.training.identifiability.verdicts`.
        state: Gives, while nothing has gone on, what `train` needs to go on from here later; None where
            nothing is left to do or a rule of a plugin does not say what it knows.
    """

    number: int
    train_loss: float
    outputs: Tensor
    labels: Tensor
    seconds: float
    wiring: dict[str, Any] = field(default_factory=dict)
    state: Callable[[], dict[str, Any]] | None = None


def train(
    network: Network,
    training: Split,
    validation: Split,
    settings: Training,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    stop: int | None = None,
    state: Mapping[str, Any] | None = None,
    compiles: bool = False,
) -> Epoch:
    """Train a network in place with AdamW and return its last epoch.

    Args:
        network: The network, on the device where it shall be trained.
        training: Samples to learn from.
        validation: Samples to predict after every epoch.
        settings: Epochs, batch size, learning rate and so on.
        seed: Seed of the batches' order and of dropout.
        on_epoch: Called after every epoch.
        stop: Epoch after which to end, in the middle of what the settings plan; None goes on to the last.
        state: `Epoch.state` of the same training, to go on from there; None begins.
        compiles: Whether the steps use a compiled network; see `nas.training.compiling`.

    Raises:
        TrialError: The loss is not finite (kind `nan`), or the network cannot be compiled.
    """
    if not len(training):
        raise ValueError("the training split is empty")
    order = torch.Generator().manual_seed(derive(seed, "batches"))
    torch.manual_seed(derive(seed, "dropout"))
    optimizer = torch.optim.AdamW(parameter_groups(network, settings.learning_rate, settings.weight_decay))
    plan = plan_of(settings, len(training))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors(settings, plan.steps))
    last = settings.epochs if stop is None else stop
    moments = {"start": wiring_measures(network)}
    untrained = copy.deepcopy(network) if settings.identifiability else None
    device = next(network.parameters()).device
    draws = {"order": order} | torchs_own(device)
    learned = criterion(network.task, settings, training, device)
    wiring = Wiring(network, optimizer, plan, seed, lambda: _loss(network, learned.plain, validation))
    hooks = [wiring, *add_ons(network, training, settings, learned, optimizer, seed)]
    forward = compiled(network) if compiles else network
    steps = Steps(network, learned, optimizer, schedule, settings, Hooks(hooks), forward)
    first_epoch, started = 1, time.perf_counter()
    if state is not None:
        restore(steps, draws, state)
        first_epoch, started, moments = state["epoch"] + 1, started - state["seconds"], {}
    for number in range(first_epoch, last + 1):
        first = (number - 1) * plan.steps_per_epoch
        batches = enumerate(shuffled(len(training), settings.batch_size, order), start=first)
        loss = steps.epoch(training, batches)
        if number == last:
            steps.hook.finish()
            moments["end"] = wiring_measures(network, wiring)
            if untrained is not None:
                _add_verdicts(moments["end"], untrained, training, validation, settings, seed)
        if not math.isfinite(loss):
            raise TrialError("nan", f"the training loss is {loss} in epoch {number} of {settings.epochs}")
        outputs, labels = predict(network, validation, settings.precision)
        known = steps.hook.metrics() | ({"wiring": moments} if any(moments.values()) else {})
        seconds = time.perf_counter() - started
        now = partial(state_of, steps, draws, number, seconds)
        kept = now if number < last and steps.hook.resumable else None
        epoch = Epoch(number, loss, outputs, labels, seconds, known, kept)
        on_epoch(epoch)
        moments = {}
    return epoch


@dataclass(frozen=True)
class Steps:
    """Steps of a network's training.

    Args:
        network: The network.
        criterion: Its loss.
        optimizer: What changes its weights.
        schedule: What changes the learning rate after every step.
        settings: How the network is trained.
        hook: What takes part in every step.
        forward: Computes what the network does.
    """

    network: Network
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    settings: Training
    hook: Hook
    forward: Callable[..., Any]

    def epoch(self, split: Split, batches: Iterable[tuple[int, Tensor]]) -> float:
        """One pass over the split in the given batches, numbered by step; the mean loss of the outputs."""
        self.network.train()
        device = next(self.network.parameters()).device
        total = torch.zeros((), device=device)
        for step, indices in batches:
            total += self.step(step, split.batch(indices).to(device)) * len(indices)
        return total.item() / len(split)

    def step(self, step: int, batch: Batch) -> Tensor:
        """Learn from one batch; the loss of the outputs, what the hooks add to it aside."""
        self.hook.before_step(step)
        batch = self.hook.batch(step, batch)
        outputs = outputs_of(self.forward, batch, self.settings.precision)
        loss = self.criterion(outputs, batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.hook.total_loss(step, loss, batch).backward()
        self.hook.before_update(step, batch)
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        if not self.hook.skips(step):
            self.optimizer.step()
        self.schedule.step()
        self.hook.after_step(step)
        return loss.detach()


def predict(
    network: Network,
    split: Split,
    precision: str = "float32",
    change: Callable[[Batch], Batch] = lambda batch: batch,
) -> tuple[Tensor, Tensor]:
    """Outputs `(N, out_dim)` and labels `(N, …)` of a split, in its order, without dropout.

    Args:
        network: The network.
        split: The split.
        precision: That of the computation; see `nas.experiment.Training`.
        change: What is done to every batch before the network reads it.
    """
    device = next(network.parameters()).device
    outputs, labels = [], []
    network.eval()
    with torch.inference_mode():
        for indices in torch.arange(len(split)).split(PREDICTION_BATCH):
            batch = change(split.batch(indices).to(device))
            outputs.append(outputs_of(network, batch, precision))
            labels.append(batch.labels)
    return torch.cat(outputs), torch.cat(labels)


def _loss(network: Network, criterion: Criterion, split: Split) -> float:
    """The loss on a split without dropout; the network stays in its mode."""
    training = network.training
    outputs, labels = predict(network, split)
    network.train(training)
    return criterion(outputs, labels).item()


def _add_verdicts(
    measures: Measures, untrained: Network, training: Split, validation: Split, settings: Training, seed: int
) -> None:
    """Search the wiring of the untrained network from several starts, and note if the results agree."""
    alone = settings.model_copy(update={"identifiability": False})
    plan = plan_of(settings, len(training))
    stop = max(1, math.ceil(plan.search_steps / plan.steps_per_epoch))

    def search(network: Network, seed: int) -> Epoch:
        return train(network, training, validation, alone, seed, stop=stop)

    for layer, verdict in verdicts(untrained, search, seed).items():
        measures[layer] |= verdict


def plan_of(settings: Training, samples: int) -> Plan:
    """How long a training on so many samples is."""
    steps = math.ceil(samples / settings.batch_size)
    return Plan(steps, settings.epochs, round(settings.search_phase * steps * settings.epochs))


def shuffled(samples: int, size: int, order: torch.Generator) -> Iterator[Tensor]:
    """The indices of an epoch's batches, in an order of their own."""
    return iter(torch.randperm(samples, generator=order).split(size))


def factors(settings: Training, steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at a step: a linear warm-up, then the chosen course."""
    warmup = max(1, round(settings.warmup * steps))

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup)
        if settings.schedule == "constant":
            return rise
        progress = min(1.0, max(0, step - warmup) / max(1, steps - warmup))
        return rise * (1 + math.cos(math.pi * progress)) / 2

    return factor
