"""The adapter that lets Optuna's samplers propose from our history."""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.results.records import COMPLETE, FAILED, PRUNED, REJECTED, RUNNING, WAITING, History, Record
from nas.space import Architecture, Choice, Domain, Float, Int, SearchSpace

STATES = {
    COMPLETE: TrialState.COMPLETE,
    FAILED: TrialState.FAIL,
    PRUNED: TrialState.PRUNED,
    REJECTED: TrialState.PRUNED,
    RUNNING: TrialState.RUNNING,
    WAITING: TrialState.RUNNING,
}


def distribution(domain: Domain) -> BaseDistribution:
    """A domain as Optuna writes it."""
    match domain:
        case Int(low, high, log, step):
            return IntDistribution(low, high, log=log, step=step)
        case Float(low, high, log):
            return FloatDistribution(low, high, log=log)
        case Choice(options):
            return CategoricalDistribution(options)


def parameters(
    space: SearchSpace, architecture: Architecture
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The decisions behind an architecture as Optuna's parameters and distributions."""
    decisions = space.decisions(architecture)
    return (
        {path: value for path, (_, value) in decisions.items()},
        {path: distribution(domain) for path, (domain, _) in decisions.items()},
    )


class OptunaSampler:
    """A sampler of Optuna over an in-memory mirror of the history.

    For every proposal a fresh sampler is made from the proposal's seed, so that nothing but the
    history carries over. The mirror receives what was asked and told in the order in which it
    happened: genetic samplers number generations by it. Architectures that lie outside the space,
    because the space has changed, take no part.

    Args:
        make: From a seed to the sampler.
    """

    def __init__(self, make: Callable[[int], BaseSampler]) -> None:
        self._make = make
        self._study: optuna.Study | None = None
        self._asked: list[int | None] = []
        self._told = 0
        self._proposed: tuple[int, Architecture] | None = None

    def propose(self, space: SearchSpace, history: History, seed: int) -> Architecture:
        """The sampler's next suggestion, as a point of the space."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = self._mirror(space, history)
            study.sampler = self._make(seed)
            trial = study.ask()
            architecture = space.draw(lambda path, domain: _suggest(trial, path, domain))
        self._proposed = (trial.number, architecture)
        return architecture

    def _mirror(self, space: SearchSpace, history: History) -> optuna.Study:
        """The study with everything of the history in it, in the order in which it happened."""
        if self._study is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._study = optuna.create_study(directions=list(history.objectives.values()))
        by_told = sorted((r for r in history.records if r.told is not None), key=lambda r: r.told or 0)
        for record in history.records[len(self._asked) :]:
            self._tell(by_told[self._told : record.asked_after], history)
            self._asked.append(self._ask(space, record))
        self._tell(by_told[self._told :], history)
        return self._study

    def _ask(self, space: SearchSpace, record: Record) -> int | None:
        """Add a trial as it was asked for; the one just proposed is in the mirror already."""
        assert self._study is not None
        proposed, self._proposed = self._proposed, None
        if proposed is not None:
            if proposed[1] == record.architecture:
                return proposed[0]
            self._study.tell(proposed[0], state=TrialState.FAIL)
        if record.architecture not in space:
            return None
        values, distributions = parameters(space, record.architecture)
        number = len(self._study.get_trials(deepcopy=False))
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)
        )
        self._place_in_generation(self._study.get_trials(deepcopy=False)[number])
        return number

    def _place_in_generation(self, trial: FrozenTrial) -> None:
        sampler = self._make(0)
        if isinstance(sampler, optuna.samplers.NSGAIISampler | optuna.samplers.NSGAIIISampler):
            assert self._study is not None
            sampler.get_parent_population(self._study, sampler.get_trial_generation(self._study, trial))

    def _tell(self, records: list[Record], history: History) -> None:
        assert self._study is not None
        for record in records:
            number = self._asked[record.number]
            self._told += 1
            if number is not None:
                values = [record.values[name] for name in history.objectives] if record.values else None
                self._study.tell(number, values, state=STATES[record.state])


def _suggest(trial: optuna.Trial, path: str, domain: Domain) -> Any:
    match domain:
        case Int(low, high, log, step):
            return trial.suggest_int(path, low, high, log=log, step=step)
        case Float(low, high, log):
            return trial.suggest_float(path, low, high, log=log)
        case Choice(options):
            return trial.suggest_categorical(path, options)
