"""The adapter that lets Optuna's samplers propose from our history."""

import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.checks import check_whole
from nas.experiment import Direction
from nas.results.records import COMPLETE, FAILED, PRUNED, REJECTED, RUNNING, WAITING, History, Record
from nas.space import Architecture, Choice, Domain, Float, Int, SearchSpace
from nas.space.domains import Plain, Value, from_plain, plain_domains, to_plain

STATES = {
    COMPLETE: TrialState.COMPLETE,
    FAILED: TrialState.FAIL,
    PRUNED: TrialState.PRUNED,
    REJECTED: TrialState.PRUNED,
    RUNNING: TrialState.RUNNING,
    WAITING: TrialState.RUNNING,
}


def distribution(domain: Plain) -> BaseDistribution:
    """A domain as Optuna writes it."""
    match domain:
        case Int(low, high, log, step):
            return IntDistribution(low, high, log=log, step=step)
        case Float(low, high, log):
            return FloatDistribution(low, high, log=log)
        case Choice(options):
            return CategoricalDistribution(options)


def parameters(
    space: SearchSpace,
    architecture: Architecture,
    called: Callable[[str, Domain], str] = lambda path, domain: path,
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The decisions behind an architecture as Optuna's parameters and distributions.

    Args:
        space: The search space.
        architecture: A point of it.
        called: From a decision's path and domain to the name that it has for Optuna.
    """
    values: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for path, (domain, value) in space.decisions(architecture).items():
        path = called(path, domain)
        values |= to_plain(path, domain, value)
        distributions |= {name: distribution(part) for name, part in plain_domains(path, domain).items()}
    return values, distributions


def note_constraints(study: optuna.Study, trial_id: int, excesses: Mapping[str, float]) -> None:
    """Write by how much a trial exceeds its constraints where Optuna looks for it."""
    for name, value in excesses.items():
        optuna.Trial(study, trial_id).set_constraint(name, value)


class OptunaSampler:
    """A sampler of Optuna over an in-memory mirror of the history.

    For every proposal a fresh sampler is made from the proposal's seed, so that nothing but the
    history carries over. The mirror receives what was asked and told in the order in which it
    happened: genetic samplers number generations by it. Architectures that lie outside the space,
    because the space has changed, take no part.

    Optuna's samplers slow down as a study grows, so that they see a part of a long history: see `Part`.

    Args:
        make: From a seed to the sampler.
        history: Most recent trials that it sees, beside the front of those before.
    """

    def __init__(self, make: Callable[[int], BaseSampler], history: int) -> None:
        check_whole("history", history, 2)
        self._make = make
        self._part = Part(history)
        self._mirror: _Mirror | None = None
        self._new(0)  # a wrong option is refused here, before anything is asked or written

    def propose(self, space: SearchSpace, history: History, seed: int) -> Architecture:
        """The sampler's next suggestion, as a point of the space."""
        sampler = self._new(seed)
        history = self._part(history)
        if self._mirror is None or not self._mirror.leads_to(space, history):
            self._mirror = _Mirror(space, history.objectives, lambda: self._new(0))
        self._mirror.follow(history)
        return self._mirror.draw(sampler)

    def _new(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._make(seed)


class Part:
    """The part of a history that a slow sampler sees: the most recent trials, and the front before them.

    It moves on by steps of half its size, so that most proposals find the part of the one before
    with a trial more, and it follows from the history alone.

    Args:
        size: Most recent trials in it at most.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._before: tuple[list[Record], list[Record]] = ([], [])

    def __call__(self, history: History) -> History:
        """The part, its trials numbered and ordered anew."""
        step = self.size // 2
        start = max(0, -(-(len(history.records) - self.size) // step) * step)
        if not start:
            return history
        kept = [*self._front(history, list(history.records[:start])), *history.records[start:]]
        told = sorted(record.told for record in kept if record.told is not None)
        place = {position: index for index, position in enumerate(told)}
        records = [
            replace(
                record,
                number=number,
                asked_after=bisect_left(told, record.asked_after),
                told=None if record.told is None else place[record.told],
            )
            for number, record in enumerate(kept)
        ]
        return History(records, history.objectives, history.constraints)

    def _front(self, history: History, before: list[Record]) -> list[Record]:
        if before != self._before[0]:
            members = History(before, history.objectives, history.constraints).front()
            kept = [record for member in members for record in member.records]
            self._before = before, sorted(kept, key=lambda record: record.number)
        return self._before[1]


class _Mirror:
    """A history as a study of Optuna in memory, which grows as the history does."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Mapping[str, Direction],
        generations: Callable[[], BaseSampler],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # gp warns of every conditional decision
        self._space = space
        self._domains = dict(space.domains())
        self._objectives = dict(objectives)
        self._generations = generations
        self._genetic = isinstance(generations(), BaseGASampler)
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, directions=list(objectives.values()))
        self._asked: list[tuple[Record, int | None]] = []  # with the trial's number in the mirror
        self._told: list[Record] = []

    def leads_to(self, space: SearchSpace, history: History) -> bool:
        """Whether the history goes on from what is mirrored."""
        same = space is self._space and dict(history.objectives) == self._objectives
        if not same or len(history.records) < len(self._asked):
            return False
        records = history.records
        asked = (_question(record) == _question(records[record.number]) for record, _ in self._asked)
        return all(asked) and all(record == records[record.number] for record in self._told)

    def follow(self, history: History) -> None:
        """Add what has happened since, in the order in which it happened."""
        by_told = sorted((r for r in history.records if r.told is not None), key=lambda r: r.told or 0)
        for record in history.records[len(self._asked) :]:
            self._tell(by_told[len(self._told) : record.asked_after], history)
            self._asked.append((record, self._ask(record)))
        self._tell(by_told[len(self._told) :], history)

    def draw(self, sampler: BaseSampler) -> Architecture:
        """What a sampler suggests.

        The trial that it is asked through is closed as failed, which samplers pass over: a proposal
        enters by `follow` as any other record, and not with what a sampler has noted on its trial.
        """
        self._study.sampler = sampler
        trial = self._study.ask()
        architecture = self._space.draw(
            lambda path, domain: _suggest(trial, self._name(path, domain), domain)
        )
        self._study.tell(trial, state=TrialState.FAIL)
        return architecture

    def _name(self, path: str, domain: Domain) -> str:
        """What Optuna knows a decision by: a choice from which others have taken options has its own name.

        It expects the same options of a parameter every time.
        """
        if isinstance(domain, Choice) and domain != self._domains[path]:
            return f"{path} of {domain}"
        return path

    def _ask(self, record: Record) -> int | None:
        if record.architecture not in self._space:
            return None
        values, distributions = parameters(self._space, record.architecture, self._name)
        template = create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)
        trial_id = self._storage.create_new_trial(self._study._study_id, template)
        trial = self._storage.get_trial(trial_id)
        if self._genetic:
            self._place_in_generation(trial)
        return trial.number

    def _place_in_generation(self, trial: FrozenTrial) -> None:
        sampler: Any = self._generations()  # a new one: what it draws must not depend on what it drew before
        sampler.get_parent_population(self._study, sampler.get_trial_generation(self._study, trial))

    def _tell(self, records: list[Record], history: History) -> None:
        for record in records:
            number = self._asked[record.number][1]
            if number is not None:
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(
                    self._study._study_id, number
                )
                note_constraints(self._study, trial_id, history.excesses(record.cheap))
                values = [record.values[name] for name in self._objectives] if record.values else None
                state = STATES[record.state]
                if record.state == REJECTED:
                    values, state = self._worst(record), TrialState.COMPLETE
                self._study.tell(number, values, state=state)
            self._told.append(record)

    def _worst(self, rejected: Record) -> list[float]:
        """Values of a trial that a constraint rejected: what is unknown is as bad as any so far.

        Genetic samplers and Gaussian processes learn of constraints from complete trials alone.
        """
        told = [record.values for record in self._told if record.values]

        def worst(name: str, direction: Direction) -> float:
            values = [known[name] for known in told] or [0.0]
            return min(values) if direction == "maximize" else max(values)

        return [rejected.cheap.get(name, worst(name, way)) for name, way in self._objectives.items()]


def _question(record: Record) -> tuple[Architecture, int]:
    return record.architecture, record.asked_after


def _suggest(trial: optuna.Trial, path: str, domain: Domain) -> Value:
    plain = {name: _suggest_plain(trial, name, part) for name, part in plain_domains(path, domain).items()}
    return from_plain(path, domain, plain)


def _suggest_plain(trial: optuna.Trial, path: str, domain: Plain) -> Any:
    match domain:
        case Int(low, high, log, step):
            return trial.suggest_int(path, low, high, log=log, step=step)
        case Float(low, high, log):
            return trial.suggest_float(path, low, high, log=log)
        case Choice(options):
            return trial.suggest_categorical(path, options)
