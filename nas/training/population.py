"""Population training: candidates of one shape train as one batched network, each as if it were alone.

Every member has its own order of the batches, its own dropout, loss, learning rate, weight decay,
schedule and bound on the gradient; its gradients are those of separate training. What cannot be
batched is found out before the first step (`UnfitError`), so that it can be trained separately instead.
"""

import copy
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from nas.datasets import Batch, Split
from nas.errors import TrialError
from nas.experiment import Training
from nas.network import Network
from nas.seeds import derive
from nas.training.checkpoint import restore, state_of
from nas.training.criterion import criterion
from nas.training.dropout import Call, Noted
from nas.training.hooks import Hooks
from nas.training.loop import PREDICTION_BATCH, Epoch, Steps, factors, plan_of, shuffled
from nas.training.measures import wiring_measures
from nas.training.precision import outputs_of
from nas.training.stacked import Stacked, tensors
from nas.training.wiring import Wiring, parameter_groups, sparse_layers

DECAY, DECAY_OF_SQUARES, EPSILON = 0.9, 0.999, 1e-8  # AdamW's, as in torch
MATRIX = 2  # axes of a weight; those of convolutions have more
CPU_WORK = 2**21  # samples of a batch times parameters
TOLERANCE = {
    "float32": 1e-3,
    "tf32": 1e-2,
    "bfloat16": 1e-1,
}  # of a member's outputs and of its gradient, in units of the largest


class UnfitError(Exception):
    """Networks cannot train as a population; the message says why.

    Args:
        message: The reason.
        memory: Whether fewer of them might.
    """

    def __init__(self, message: str, memory: bool = False) -> None:
        super().__init__(message)
        self.memory = memory


@dataclass(frozen=True)
class Member:
    """One network of a population.

    Args:
        network: The network, on the device where it shall be trained; at the end of every epoch it has
            the weights that it would have alone.
        settings: How it is trained.
        seed: Seed of the batches' order and of dropout.
        on_epoch: Called after every epoch; what it raises ends the training of this member alone.
        note: Called before the `on_epoch` of any member, so that states which are kept are of one epoch.
        state: `Epoch.state` of the same training, alone or in a population, to go on from there; that of
            every member is of the same epoch. None begins.
    """

    network: Network
    settings: Training
    seed: int
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    note: Callable[[Epoch], None] = lambda epoch: None
    state: Mapping[str, Any] | None = None


def obstacle(network: Network, settings: Training) -> str | None:
    """Why a network can be in no population; None where nothing is known to be in the way."""
    if settings.encoders != "joint":
        return f"its encoders are {settings.encoders}"
    if settings.add_ons:
        return f"its training has {' and '.join(settings.add_ons)}"
    for name, layer in sparse_layers(network):
        if layer.searching:
            return f"the wiring of {name} is learnable"
        if layer.rewiring is not None and not getattr(layer.rewiring, "static", False):
            return f"{name} is rewired in training"
    return None


def shape(network: Network, settings: Training) -> Hashable:
    """What the members of a population share: names, sizes and types of all tensors, steps, precision."""
    named = [*network.named_parameters(), *network.named_buffers()]
    sizes = tuple((name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad) for name, tensor in named)
    return sizes, settings.epochs, settings.batch_size, settings.precision, settings.encoders


def pays(network: Network, settings: Training) -> bool:
    """Whether a population of such networks is faster than separate training on a CPU, by a fixed rule.

    It is where the overhead of calls outweighs the arithmetic: in small networks without convolutions,
    whose batched kernels are slower than the single ones. Read off `benchmarks/population.py --rule`.
    """
    if any(parameter.dim() > MATRIX for parameter in network.parameters()):
        return False
    work = settings.batch_size * sum(parameter.numel() for parameter in network.parameters())
    return work <= CPU_WORK


def train_together(
    members: Sequence[Member], training: Split, validation: Split
) -> Iterator[tuple[int, Epoch | Exception]]:
    """Train networks of one `shape` together; yields the place and the end of each as soon as it ends.

    The seconds of an epoch are a member's share of the time. The end is the last epoch, or what went
    wrong: a loss that is not finite (a `TrialError` of kind `nan`), or what `on_epoch` has raised. The
    member leaves the batch then, and the others go on.

    Args:
        members: At least one network.
        training: Samples to learn from.
        validation: Samples to predict after every epoch.

    Raises:
        UnfitError: The networks cannot be batched; nothing has been changed then.
    """
    if not len(training):
        raise ValueError("the training split is empty")
    courses = [_Course(place, member, training) for place, member in enumerate(members)]
    population = _Population(courses, training)
    counted = time.perf_counter()
    for number in range(courses[0].done + 1, courses[0].settings.epochs + 1):
        losses = population.epoch(number, training)
        outputs, labels = population.predict(validation)
        now = time.perf_counter()
        share, counted = (now - counted) / len(courses), now
        reached = [
            course.end_epoch(number, loss, own, labels, share, partial(population.state, row))
            for row, (course, loss, own) in enumerate(zip(courses, losses, outputs, strict=True))
        ]
        for course, epoch in zip(tuple(courses), reached, strict=True):
            end = course.report(epoch)
            if end is not None:
                courses.remove(course)
                yield course.place, end
        population.keep(courses)
        if not courses:
            return


class _Course:
    """What a member has for itself in its training.

    Args:
        place: Its place among the members.
        member: The member.
        training: Samples to learn from.

    Attributes:
        dropouts: Probability of each call of dropout, in their order.
        done: Epochs that it has behind it.
        seconds: Its share of the time that they took.
    """

    dropouts: tuple[float, ...] = ()

    def __init__(self, place: int, member: Member, training: Split) -> None:
        self.place = place
        self.network, self.settings = member.network, member.settings
        self.on_epoch, self.note = member.on_epoch, member.note
        device = next(self.network.parameters()).device
        self.order = torch.Generator().manual_seed(derive(member.seed, "batches"))
        self.generator = torch.Generator(device).manual_seed(derive(member.seed, "dropout"))
        plan = plan_of(self.settings, len(training))
        self.steps_per_epoch = plan.steps_per_epoch
        self.factor = factors(self.settings, plan.steps)
        self.rates = [self.settings.learning_rate * self.factor(step) for step in range(plan.steps)]
        self.criterion = criterion(self.network.task, self.settings, training, device)
        self.moments: dict[str, Any] = {"start": wiring_measures(self.network)}
        groups = parameter_groups(self.network, self.settings.learning_rate, self.settings.weight_decay)
        self.optimizer = torch.optim.AdamW(groups)  # holds the moments of a state, but makes no step
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.factor)
        self.wiring = Wiring(self.network, self.optimizer, plan, member.seed)
        self.done, self.seconds = 0, 0.0
        if member.state is not None:
            restore(self._steps, self._draws, member.state)
            self.done, self.seconds, self.moments = member.state["epoch"], member.state["seconds"], {}

    @property
    def _steps(self) -> Steps:
        parts = self.network, self.criterion, self.optimizer, self.schedule, self.settings
        return Steps(*parts, Hooks([self.wiring]), self.network)

    @property
    def _draws(self) -> dict[str, torch.Generator]:
        return {"order": self.order, self.generator.device.type: self.generator}

    def state(self, moments: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
        """What `nas.training.train` needs to go on from here, too.

        Args:
            moments: By name of a parameter what AdamW knows of it.
        """
        parameters = dict(self.network.named_parameters())
        self.optimizer.state.update({parameters[name]: known for name, known in moments.items()})
        step = self.done * self.steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.factor, step - 1)
        state = state_of(self._steps, self._draws, self.done, self.seconds)
        self.optimizer.state.clear()  # the moments are those of the population
        return state

    def end_epoch(
        self,
        number: int,
        loss: float,
        outputs: Tensor,
        labels: Tensor,
        share: float,
        state: Callable[[], dict[str, Any]],
    ) -> Epoch | Exception:
        """Note an epoch, in which it had a share of the seconds; what went wrong if something did."""
        self.done, self.seconds = number, self.seconds + share
        epochs = self.settings.epochs
        if number == epochs:
            self.wiring.finish()
            self.moments["end"] = wiring_measures(self.network, self.wiring)
        if not math.isfinite(loss):
            return TrialError("nan", f"the training loss is {loss} in epoch {number} of {epochs}")
        measures = {"wiring": self.moments} if any(self.moments.values()) else {}
        known = self.wiring.metrics() | measures
        kept = state if number < epochs and self.wiring.resumable else None
        epoch = Epoch(number, loss, outputs, labels, self.seconds, known, kept)
        self.moments = {}
        try:
            self.note(epoch)
        except Exception as error:
            return error
        return epoch

    def report(self, epoch: Epoch | Exception) -> Epoch | Exception | None:
        """Report an epoch; the end of the training if it was the last one or has failed."""
        if isinstance(epoch, Exception):
            return epoch
        try:
            self.on_epoch(epoch)
        except Exception as error:
            return error
        return epoch if epoch.number == self.settings.epochs else None


class _Population:
    """The networks of some courses as one.

    Args:
        courses: What trains; the first batch shows whether it can be batched.
        training: Samples to learn from.

    Raises:
        UnfitError: The networks cannot be batched.
    """

    def __init__(self, courses: Sequence[_Course], training: Split) -> None:
        self.courses = list(courses)
        self.device = next(courses[0].network.parameters()).device
        size = min(courses[0].settings.batch_size, len(training))
        self._sample = training.batch(torch.arange(size)).to(self.device)
        self.precision = courses[0].settings.precision
        self._calls: dict[int, list[Call]] = {}
        try:
            with torch.random.fork_rng(devices=[]):
                networks = [course.network for course in courses]
                self.stacked = Stacked(networks, self._learned(), self.precision)
                self._prove()
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            message = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            raise UnfitError(message, isinstance(error, torch.OutOfMemoryError)) from error
        rates = torch.tensor([course.rates for course in courses], dtype=torch.float64)
        self.rates = rates.t().to(self.device)
        settings = [course.settings for course in courses]
        self.optimizer = _AdamW(
            self._moments("exp_avg"),
            self._moments("exp_avg_sq"),
            rates.new_tensor([one.weight_decay for one in settings]).to(self.device),
            self.stacked.weights.new_tensor([one.gradient_clip or math.inf for one in settings]),
            courses[0].done * courses[0].steps_per_epoch,
        )

    def epoch(self, number: int, training: Split) -> list[float]:
        """One pass over the split, each member in its own order; the mean loss of each."""
        orders = [shuffled(len(training), one.settings.batch_size, one.order) for one in self.courses]
        total = torch.zeros(len(self.courses), device=self.device)
        first = (number - 1) * self.courses[0].steps_per_epoch
        for step, indices in enumerate(zip(*orders, strict=True), start=first):
            batch = _divided(training.batch(torch.cat(indices)).to(self.device), len(indices))
            _, loss, gradient = self._gradient(batch, self._noise(len(indices[0])))
            self.optimizer.step(self.stacked.weights, gradient, self.rates[step])
            total += loss * len(indices[0])
        self.stacked.hand_back([course.network for course in self.courses])
        return [value / len(training) for value in total.tolist()]

    def predict(self, split: Split) -> tuple[Tensor, Tensor]:
        """Outputs `(P, N, out_dim)` and labels `(N, …)` of a split, in its order, without dropout."""
        outputs, labels = [], []
        with torch.no_grad():
            leaves = self.stacked.leaves()
            for indices in torch.arange(len(split)).split(math.ceil(PREDICTION_BATCH / len(self.courses))):
                batch = split.batch(indices).to(self.device)
                outputs.append(self.stacked.outputs(leaves, batch, shared=True))
                labels.append(batch.labels)
        return torch.cat(outputs, 1), torch.cat(labels)

    def state(self, row: int) -> dict[str, Any]:
        """The state of a course, while nothing has gone on."""
        means, squares = self.stacked.parts(self.optimizer.mean), self.stacked.parts(self.optimizer.square)
        known = {
            name: {
                "step": torch.tensor(float(self.optimizer.steps)),  # one each: torch counts it up in place
                "exp_avg": mean[row].clone(),
                "exp_avg_sq": squares[name][row].clone(),
            }
            for name, mean in means.items()
        }
        return self.courses[row].state(known)

    def keep(self, courses: Sequence[_Course]) -> None:
        """Go on with some of the courses."""
        if len(courses) == len(self.courses):
            return
        kept = [row for row, course in enumerate(self.courses) if course in courses]
        rows = torch.tensor(kept, dtype=torch.long, device=self.device)
        self.courses = list(courses)
        self.rates = self.rates[:, rows]
        self.stacked.keep(rows)
        self.optimizer.keep(rows)

    def _moments(self, kind: str) -> Tensor:
        """What the optimiser of every course knows of its weights, `(P, N)`; zero where that is nothing."""
        rows = []
        for course in self.courses:
            parameters = dict(course.network.named_parameters())
            learned = [parameters[name].detach() for name in self.stacked.learned]
            known = [course.optimizer.state.get(parameters[name], {}) for name in self.stacked.learned]
            parts = [one.get(kind, torch.zeros_like(own)) for one, own in zip(known, learned, strict=True)]
            rows.append(torch.cat([part.flatten() for part in parts]))
        return torch.stack(rows)

    def _gradient(self, batch: Batch, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs `(P, B, out_dim)` and loss `(P,)` on a batch, and the gradient by the weights `(P, N)`."""
        leaves = self.stacked.leaves()
        outputs = self.stacked.outputs(leaves, batch, noise)
        loss = self._loss(outputs, batch.labels)
        gradients = torch.autograd.grad(loss.sum(), list(leaves.values()))
        return outputs.detach(), loss.detach(), torch.cat([part.flatten(1) for part in gradients], 1)

    def _loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of every member, `(P,)`; at once for all that have the same criterion."""
        groups: dict[Any, list[int]] = {}
        for row, course in enumerate(self.courses):
            settings = course.settings
            groups.setdefault((settings.label_smoothing, settings.class_weights), []).append(row)
        losses = [
            torch.vmap(self.courses[rows[0]].criterion)(outputs[rows], labels[rows])
            for rows in groups.values()
        ]
        order = torch.tensor([row for rows in groups.values() for row in rows], device=self.device)
        return torch.cat(losses)[order.argsort()]

    def _noise(self, size: int) -> list[Tensor]:
        """What the dropouts of all members multiply by in a step, each from its member's generator."""
        if size not in self._calls:
            self._calls[size] = self._noted(self.courses[0], size).calls
        return [
            torch.stack([call.noise(course.dropouts[place], course.generator) for course in self.courses])
            for place, call in enumerate(self._calls[size])
        ]

    @torch.no_grad()
    def _noted(self, course: _Course, size: int) -> Noted:
        """The dropouts of a member alone for a batch of some size, from a generator of their own."""
        noted = Noted(torch.Generator(self.device).manual_seed(0))
        self._alone(course.network, _copied(course.network), size, noted)
        return noted

    def _alone(self, network: Network, own: dict[str, Tensor], size: int, noted: Noted) -> Tensor:
        """Outputs of a network in training with tensors of its own; it stays as it is."""
        batch = _reshaped(self._sample, lambda values: values[:size])
        training = network.training
        network.train()
        try:
            with noted:
                return outputs_of(lambda *given: functional_call(network, own, given), batch, self.precision)
        finally:
            network.train(training)

    def _learned(self) -> list[str]:
        """Names of the parameters that get a gradient; the optimiser leaves the others as they are."""
        network = self.courses[0].network
        copied = _copied(network)
        names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        leaves = [copied[name].requires_grad_() for name in names]
        sample = self._sample
        with Noted(torch.Generator(self.device)):
            outputs = functional_call(network, copied, (sample.inputs, sample.masks, sample.present))
        gradients = torch.autograd.grad(outputs.sum(), leaves, allow_unused=True)
        return [name for name, gradient in zip(names, gradients, strict=True) if gradient is not None]

    def _prove(self) -> None:
        """Compare outputs and gradient of every member with those of its row, dropout included."""
        size = len(self._sample.labels)
        alone, noise = [], []
        for course in self.courses:
            noted = Noted(torch.Generator(self.device).manual_seed(0))
            alone.append(self._outputs_and_gradient(course, size, noted))
            course.dropouts = tuple(call.p for call in noted.calls)
            noise.append(noted.noise)
        if len({len(course.dropouts) for course in self.courses}) > 1:
            raise UnfitError("they differ in where they drop units")
        count = len(self.courses)
        sample = _reshaped(self._sample, lambda values: values.expand(count, *values.shape))
        played = [torch.stack(own) for own in zip(*noise, strict=True)]
        constants = copy.deepcopy(self.stacked.constants)  # the network may change them
        outputs, _, gradient = self._gradient(sample, played)
        self.stacked.constants = constants
        for row, (own_outputs, own_gradient) in enumerate(alone):
            if not _alike(own_outputs, outputs[row], TOLERANCE[self.precision]):
                raise UnfitError("batched, they compute something else than alone")
            if not _alike(own_gradient, gradient[row], TOLERANCE[self.precision]):
                raise UnfitError("batched, they learn something else than alone")

    def _outputs_and_gradient(self, course: _Course, size: int, noted: Noted) -> tuple[Tensor, Tensor]:
        """Outputs of a member alone on the sample, and the gradient of its loss by what it learns, `(N,)`."""
        own = _copied(course.network)
        leaves = [own[name].requires_grad_() for name in self.stacked.learned]
        outputs = self._alone(course.network, own, size, noted)
        gradients = torch.autograd.grad(course.criterion(outputs, self._sample.labels), leaves)
        return outputs.detach(), torch.cat([part.flatten() for part in gradients])


class _AdamW:
    """AdamW with settings of its own for every row (Loshchilov and Hutter, arXiv 1711.05101).

    Args:
        mean: Running mean of the gradients, `(P, N)`.
        square: Running mean of their squares, `(P, N)`.
        weight_decay: `(P,)`, float64.
        gradient_clip: Largest norm of a gradient, infinite for none, `(P,)`.
        steps: Steps that were made before.
    """

    def __init__(
        self, mean: Tensor, square: Tensor, weight_decay: Tensor, gradient_clip: Tensor, steps: int
    ) -> None:
        self.mean = mean
        self.square = square
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.steps = steps

    @torch.no_grad()
    def step(self, weights: Tensor, gradient: Tensor, rates: Tensor) -> None:
        """Change weights `(P, N)` by their gradient, at the learning rates `(P,)`, float64."""
        self.steps += 1
        factor = (self.gradient_clip / (gradient.norm(dim=1) + 1e-6)).clamp(max=1)
        gradient = gradient * factor[:, None]
        self.mean.lerp_(gradient, 1 - DECAY)
        self.square.mul_(DECAY_OF_SQUARES).addcmul_(gradient, gradient, value=1 - DECAY_OF_SQUARES)
        root = self.square.sqrt().div_((1 - DECAY_OF_SQUARES**self.steps) ** 0.5).add_(EPSILON)
        length = (rates / (1 - DECAY**self.steps)).to(weights)
        weights.mul_((1 - rates * self.weight_decay).to(weights)[:, None])
        weights.sub_((self.mean / root).mul_(length[:, None]))

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows."""
        self.mean, self.square = self.mean[rows], self.square[rows]
        self.weight_decay, self.gradient_clip = self.weight_decay[rows], self.gradient_clip[rows]


def _copied(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors(network).items()}


def _alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    scale = float(one.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(one, other, tolerance, tolerance * scale, equal_nan=True)


def _divided(batch: Batch, parts: int) -> Batch:
    """A batch `(P · B, …)` as `(P, B, …)`."""
    return _reshaped(batch, lambda values: values.unflatten(0, (parts, -1)))


def _reshaped(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """A batch with every tensor changed alike."""
    return Batch(
        {name: change(values) for name, values in batch.inputs.items()},
        change(batch.labels),
        {name: change(mask) for name, mask in batch.masks.items()},
        None if batch.present is None else change(batch.present),
    )
