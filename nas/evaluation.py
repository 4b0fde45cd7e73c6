"""Evaluate one architecture: build it, measure what is cheap, train it, measure the rest."""

import math
import time
import traceback
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.datasets import Batch, Dataset, Split
from nas.datasets.folds import folds
from nas.errors import TrialError
from nas.experiment import Training, Validation, excess
from nas.files import written_whole
from nas.modality import ModalitySpec, Task
from nas.network import Network, build
from nas.objectives import Context
from nas.registry import available, create, get
from nas.seeds import derive
from nas.space import Architecture
from nas.training import Epoch, predict, train
from nas.training.features import FeatureStore, train_on_features
from nas.training.inheritance import Ancestor, inherit
from nas.training.population import Member, UnfitError, obstacle, shape, train_together
from nas.training.precision import products

SHARE_OF_MEMORY = 0.2  # of what is free on a device, for one split

SAMPLES = 64  # that cheap objectives may look at


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        values: Final objectives by name; logged ones included.
        epochs: Metrics of every epoch: `epoch`, `train_loss`, `seconds`, the objectives, in the first one
            `inherited` (see `nas.training.inheritance.inherit`) where there is an ancestor and `population`
            where there was a group (see `Evaluator.together`), and what is known of the wiring; nested
            under `wiring` the measures of `nas.training.Epoch`.
        seconds: Time of the whole evaluation.
        network: The trained network.
    """

    values: Mapping[str, float]
    epochs: list[dict[str, Any]]
    seconds: float
    network: Network

    @property
    def wiring(self) -> dict[str, dict[str, dict[str, float]]]:
        """By `start` and `end` of the training, then by sparse layer: the measures that are one number."""
        moments = [moment for epoch in self.epochs for moment in epoch.get("wiring", {}).items()]
        return {
            moment: {layer: _numbers(measures) for layer, measures in layers.items()}
            for moment, layers in moments
        }


@dataclass(frozen=True)
class Trial:
    """What to evaluate, and whom to tell of it.

    Args:
        architecture: What to evaluate.
        seed: Seed of everything random.
        on_epoch: Called with the metrics of every epoch; a `TrialError` that it raises ends the trial.
        on_measured: Called before the training with the objectives that are known by then.
        ancestor: Folder of the trial from whose weights the training starts; None: from scratch.
        fold: Which fold of the samples to measure on.
        checkpoint: File in which it keeps its state, and from which it goes on if it is there; see
            `Evaluator`. None keeps none.
    """

    architecture: Architecture
    seed: int
    on_epoch: Callable[[dict[str, Any]], None] = lambda metrics: None
    on_measured: Callable[[Mapping[str, float]], None] = lambda cheap: None
    ancestor: Path | None = None
    fold: int = 0
    checkpoint: Path | None = None


class Evaluator:
    """Evaluates architectures on one dataset, on one device.

    Args:
        dataset: The dataset; its splits are moved to the device where they can be and fit.
        objectives: Names of the objectives to measure, beside those that are always logged.
        training: Settings that the architecture does not choose itself.
        constraints: Bounds on cheap objectives, such as `{"parameters": "<= 200000"}`.
        device: Where networks are trained.
        validation: Which samples networks are measured on.
        checkpoint_every: Epochs after which a trial that trains as a whole network keeps its state; 0 for
            never.
        compiles: Whether whole networks that train alone are compiled for it.

    Raises:
        RequestError: The dataset cannot be divided into the folds that are asked for.
    """

    def __init__(
        self,
        dataset: Dataset,
        objectives: list[str],
        training: Training,
        constraints: Mapping[str, str] | None = None,
        device: torch.device | str = "cpu",
        validation: Validation = Validation(),  # noqa: B008 - frozen
        checkpoint_every: int = 0,
        compiles: bool = False,
    ) -> None:
        self.dataset = dataset
        self.training = training
        self.constraints = constraints or {}
        self.device = torch.device(device)
        self.checkpoint_every = checkpoint_every
        self.compiles = compiles
        names = [name for name in available("objective") if getattr(get("objective", name), "logged", False)]
        self.objectives = {
            name: create("objective", name) for name in [*objectives, *names, *self.constraints]
        }
        self.folds = [  # the test split is for retraining alone
            {name: _on(split, self.device) for name, split in fold.items()}
            for fold in folds(dataset, validation.folds, validation.groups)
        ]
        self.splits = self.folds[0]
        self._stores: dict[int, FeatureStore] = {}

    def __call__(
        self,
        architecture: Architecture,
        seed: int,
        on_epoch: Callable[[dict[str, Any]], None] = lambda metrics: None,
        on_measured: Callable[[Mapping[str, float]], None] = lambda cheap: None,
        ancestor: Path | None = None,
        fold: int = 0,
    ) -> Evaluation:
        """Train a network of `architecture` on the training split, measure it on validation.

        Args:
            architecture: What to evaluate.
            seed: Seed of everything random.
            on_epoch: Called with the metrics of every epoch; a `TrialError` that it raises ends the trial.
            on_measured: Called before the training with the objectives that are known by then.
            ancestor: Folder of the trial from whose weights the training starts; None: from scratch.
            fold: Which fold of the samples to measure on.

        Raises:
            TrialError: The training diverges, an objective is no finite number, the memory is not enough, a
                constraint is violated, or a component fails; the kind says which.
        """
        under_way = _UnderWay(
            self, Trial(architecture, seed, on_epoch, on_measured, ancestor, fold), _Clock()
        )
        with _as_trial_errors():
            under_way.begin()
            return under_way.train()

    def together(self, trials: Sequence[Trial]) -> Iterator[tuple[int, Evaluation | TrialError, float]]:
        """Evaluate several trials, those of one shape as a population; each ends as it would alone.

        What cannot train together trains one after another; the metrics of the first epoch say why, and
        how many trained together, under `population`.

        Args:
            trials: What to evaluate.

        Yields:
            The place of a trial among `trials`, what became of it, as soon as it ends, and its share of the
            time: of what it had for itself all, of what was for several an equal part.
        """
        groups: dict[Hashable, dict[int, _UnderWay]] = {}
        clock = _Clock()
        for place, trial in enumerate(trials):
            under_way = _UnderWay(self, trial, clock)
            try:
                with _as_trial_errors():
                    under_way.begin()
            except TrialError as error:
                yield place, error, under_way.seconds
            else:
                key = shape(under_way.network, under_way.settings), trial.fold, under_way.done
                groups.setdefault(key, {})[place] = under_way
        for group in groups.values():
            for place, outcome in self._train_group(group, clock):
                yield place, outcome, group[place].seconds

    def _train_group(
        self, group: Mapping[int, "_UnderWay"], clock: "_Clock"
    ) -> Iterator[tuple[int, Evaluation | TrialError]]:
        """Train networks of one shape together, or else in halves or one after another."""
        obstacles = (obstacle(one.network, one.settings) for one in group.values())
        reason = "no other has its shape" if len(group) == 1 else next(filter(None, obstacles), None)
        if reason is None:
            try:
                yield from self._train_population(group, clock)
                return
            except UnfitError as error:
                clock.charge(group.values())
                reason = str(error)
                halves = _halves(group) if error.memory and len(group) > 2 else ()
            for half in halves:
                yield from self._train_group(half, clock)
            if halves:
                return
        for place, under_way in group.items():
            under_way.first |= {"population": {"size": 1, "reason": reason}}
            try:
                with _as_trial_errors():
                    outcome = under_way.train()
            except TrialError as error:
                yield place, error
            else:
                yield place, outcome

    def _train_population(
        self, group: Mapping[int, "_UnderWay"], clock: "_Clock"
    ) -> Iterator[tuple[int, Evaluation | TrialError]]:
        waiting = dict(group)
        members = [one.member({"population": {"size": len(group)}}) for one in group.values()]
        fold = self.folds[next(iter(group.values())).trial.fold]
        splits = fold["train"], fold["validation"]
        try:
            with products(members[0].settings.precision):
                for index, end in train_together(members, *splits):
                    place = list(group)[index]
                    clock.charge(waiting.values())
                    yield place, waiting.pop(place).outcome(end)
        except UnfitError:
            raise
        except Exception as error:  # of the batch, and so of all that are in it
            clock.charge(waiting.values())
            for place in waiting:
                yield place, _memory_or_error(error)

    def settings(self, architecture: Architecture) -> Training:
        """How a network is trained: what the architecture chooses, and for the rest this evaluator's."""
        return self.training.chosen_by(architecture)

    def build(self, architecture: Architecture, seed: int) -> Network:
        """The untrained network on this evaluator's device."""
        return untrained(architecture, self.dataset.modalities, self.dataset.task, seed).to(self.device)

    def measure(
        self,
        network: Network,
        outputs: Tensor | None = None,
        labels: Tensor | None = None,
        split: Split | None = None,
    ) -> dict[str, float]:
        """The cheap objectives of a network; given outputs `(N, out_dim)` and labels, the others.

        Args:
            network: The network.
            outputs: Its outputs on a split.
            labels: Labels of that split.
            split: That split; the validation split for None.
        """
        sample = self.splits["train"].batch(torch.zeros(1, dtype=torch.long)).to(self.device)
        cheap, dataset = outputs is None, self.dataset
        evaluated = None if cheap else split or self.splits["validation"]
        some = self._some if cheap else None
        context = Context(network, dataset.modalities, dataset.task, sample, outputs, labels, evaluated, some)
        return {
            name: float(objective(context))
            for name, objective in self.objectives.items()
            if objective.cheap == cheap
        }

    @cached_property
    def _some(self) -> Batch:
        """A few training samples, the same for all networks."""
        split = self.splits["train"]
        return split.batch(torch.arange(min(SAMPLES, len(split)))).to(self.device)

    def fit(
        self,
        network: Network,
        trial: Trial,
        settings: Training,
        on_epoch: Callable[[Epoch], None],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Train a network alone, on the samples of its fold; from the beginning, or from a state."""
        fold, splits = trial.fold, self.folds[trial.fold]
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with products(settings.precision):
            if settings.encoders == "joint":
                parts = splits["train"], splits["validation"]
                train(network, *parts, settings, trial.seed, on_epoch, None, state, self.compiles)
                return
            if fold not in self._stores:
                self._stores[fold] = FeatureStore(self.dataset, splits, self.training, self.device)
            selections, dim = trial.architecture.to_data()["encoders"], trial.architecture["dim"]
            store = self._stores[fold]
            train_on_features(network, store, selections, dim, settings, trial.seed, on_epoch)

    def inherit(self, network: Network, ancestor: Path) -> float:
        """Let a network start from a trial's weights; the share of it that it takes over."""
        return inherit(network, Ancestor.load(ancestor), self.dataset.modalities, self.dataset.task)

    def score(self, network: Network, split: Split) -> dict[str, float]:
        """The objectives that a training changes, of a trained network on a split.

        Raises:
            TrialError: One of them fails, or is no finite number there.
        """
        with _as_trial_errors():
            values = self.measure(network, *predict(network, split), split)
            _require_finite(values, f" on the split (samples: {len(split):,})")
            return values

    def check(self, cheap: Mapping[str, float]) -> None:
        """Raise a `TrialError` where a cheap objective violates a constraint."""
        for name, bound in self.constraints.items():
            if not excess(cheap[name], bound) <= 0:
                raise TrialError("constraint", f"{name} = {cheap[name]:g} is not {bound}")


class _Clock:
    """Divides the time that passes among the evaluations that it is spent on."""

    def __init__(self) -> None:
        self._charged = time.perf_counter()

    def charge(self, spenders: Collection["_UnderWay"]) -> None:
        """Count the time since the last call as theirs, in equal parts."""
        now = time.perf_counter()
        for one in spenders:
            one.seconds += (now - self._charged) / len(spenders)
        self._charged = now

    @contextmanager
    def charging(self, spender: "_UnderWay") -> Iterator[None]:
        """Count the time that is spent within as one's own, however it ends."""
        try:
            yield
        finally:
            self.charge([spender])


class _UnderWay:
    """An evaluation between its beginning and its end.

    Args:
        evaluator: What measures.
        trial: What is evaluated.
        clock: What tells its time; the same for all that are evaluated together.

    Attributes:
        first: What the metrics of the first epoch say beside the others.
        seconds: Its share of the time until now.
    """

    network: Network

    def __init__(self, evaluator: Evaluator, trial: Trial, clock: _Clock) -> None:
        self.evaluator = evaluator
        self.trial = trial
        self.clock = clock
        self.seconds = 0.0
        self.settings = evaluator.settings(trial.architecture)
        self.cheap: dict[str, float] = {}
        self.epochs: list[dict[str, Any]] = []
        self.first: dict[str, Any] = {}
        self.kept: Mapping[str, Any] | None = None

    @property
    def done(self) -> int:
        """Epochs that an earlier attempt has left it."""
        return 0 if self.kept is None else int(self.kept["epoch"])

    def begin(self) -> None:
        """Build the network, measure what is cheap, and report again what an earlier attempt has kept."""
        evaluator, trial = self.evaluator, self.trial
        with self.clock.charging(self):
            self.network = evaluator.build(trial.architecture, trial.seed)
            if trial.ancestor:
                self.first["inherited"] = evaluator.inherit(self.network, trial.ancestor)
            self.cheap = evaluator.measure(self.network)
            _require_finite(self.cheap)
            trial.on_measured(self.cheap)
            evaluator.check(self.cheap)
            kept = self._kept()
            self.kept = kept.get("training")
            for metrics in kept.get("epochs", ()):
                self.epochs.append(metrics)
                trial.on_epoch(metrics)  # as the earlier attempt did

    def train(self) -> Evaluation:
        """Train the network alone, from the beginning or from where an earlier attempt was."""

        def on_epoch(epoch: Epoch) -> None:
            self.note(epoch)
            self.report(epoch)

        with self.clock.charging(self):
            self.evaluator.fit(self.network, self.trial, self.settings, on_epoch, self.kept)
        return self.end()

    def member(self, first: Mapping[str, Any]) -> Member:
        """The network as a member of a population; `first` as the attribute."""
        self.first |= first
        own = self.network, self.settings, self.trial.seed
        return Member(*own, self.report, self.note, self.kept)

    def note(self, epoch: Epoch) -> None:
        """Measure an epoch, and keep the state of the trial if it is time."""
        validation = self.evaluator.folds[self.trial.fold]["validation"]
        measured = self.evaluator.measure(self.network, epoch.outputs, epoch.labels, validation)
        self.epochs.append(
            {"epoch": epoch.number, "train_loss": epoch.train_loss, "seconds": epoch.seconds}
            | measured
            | epoch.wiring
            | (self.first if epoch.number == 1 else {})
        )
        self._keep(epoch)

    def report(self, epoch: Epoch) -> None:
        """Report the epoch that was noted last."""
        self.trial.on_epoch(self.epochs[-1])

    def _keep(self, epoch: Epoch) -> None:
        """Keep the state of the trial, if it is time."""
        file, every = self.trial.checkpoint, self.evaluator.checkpoint_every
        if file is None or not every or epoch.number % every or epoch.state is None:
            return
        if self.settings.encoders == "joint":
            state = {"of": self._identity, "epochs": self.epochs, "training": epoch.state()}
            with written_whole(file) as stream:
                torch.save(state, stream)

    def _kept(self) -> dict[str, Any]:
        """What an earlier attempt has kept; nothing where it is of another trial, or damaged."""
        file = self.trial.checkpoint
        if file is None or not file.exists():
            return {}
        try:
            state: dict[str, Any] = torch.load(file, "cpu", weights_only=True)
        except Exception:  # a damaged file raises anything
            return {}
        return state if state["of"] == self._identity else {}

    @property
    def _identity(self) -> list[Any]:
        """What the course of a training depends on."""
        trial = self.trial
        inherits = trial.ancestor and trial.ancestor.name
        return [trial.architecture.id, trial.seed, trial.fold, inherits, self.settings.model_dump()]

    def end(self) -> Evaluation:
        """What was measured in all."""
        known = self.cheap | self.epochs[-1]
        values = {name: known.get(name, float("nan")) for name in self.evaluator.objectives}
        _require_finite(values)
        return Evaluation(values, self.epochs, self.seconds, self.network)

    def outcome(self, end: Epoch | Exception) -> Evaluation | TrialError:
        """What became of the trial, whose training has come to an end."""
        try:
            with _as_trial_errors():
                if isinstance(end, Exception):
                    raise end
                return self.end()
        except TrialError as error:
            return error


@contextmanager
def _as_trial_errors() -> Iterator[None]:
    """Whatever goes wrong ends the trial with a kind and a message."""
    try:
        yield
    except TrialError:
        raise
    except Exception as error:
        found = _memory_or_error(error)
        if found.kind == "out_of_memory":
            traceback.clear_frames(error.__traceback__)  # what they hold is memory that the next one needs
        raise found from error


def _halves(group: Mapping[int, _UnderWay]) -> tuple[dict[int, _UnderWay], dict[int, _UnderWay]]:
    items = list(group.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


def untrained(
    architecture: Architecture, modalities: Mapping[str, ModalitySpec], task: Task, seed: int
) -> Network:
    """The network with which the training of a trial begins, its wiring included.

    Args:
        architecture: Architecture of the trial.
        modalities: The dataset's modalities, by name.
        task: What the network predicts.
        seed: Seed of the trial.
    """
    return build(architecture, modalities, task, derive(seed, "initialisation"))


def _numbers(measures: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in measures.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _require_finite(values: Mapping[str, float], where: str = "") -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            found = "is not a number" if math.isnan(value) else "is infinite"
            raise TrialError("nan", f"the objective {name} {found}{where}")


def _memory_or_error(error: Exception) -> TrialError:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    short = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    return TrialError("out_of_memory" if short else "error", f"{type(error).__name__}: {message}")


def _on(split: Split, device: torch.device) -> Split:
    """The split on the device, where it can be moved and leaves most of the memory to the networks."""
    if device.type == "cpu" or not hasattr(split, "to") or not len(split):
        return split
    needed = len(split) * split.batch(torch.zeros(1, dtype=torch.long)).nbytes
    return split.to(device) if needed <= SHARE_OF_MEMORY * _free_bytes(device) else split


def _free_bytes(device: torch.device) -> float:
    """Memory that is free on a device; infinite where it cannot be told."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else math.inf
