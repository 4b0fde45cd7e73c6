"""What the study asks for next: never the same network twice, except on purpose."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from nas.errors import RequestError
from nas.results.belonging import belonging
from nas.results.records import RUNNING, TUNED, Candidate, History, Origin, Record
from nas.search.groups import Groups
from nas.search.growing import Grown
from nas.search.samplers._variation import neighbour
from nas.seeds import derive
from nas.space import Architecture, SearchSpace
from nas.space.domains import Domain, Value

Seen: TypeAlias = dict[str, list[Architecture]]
Scouted: TypeAlias = tuple[Architecture, Mapping[str, float]]
ATTEMPTS = 4
SAMPLES = 200
ENUMERABLE = 1_000_000
MOST_DOUBT = 0.25  # p (1 - p) at its largest
FIRST_RACE = 16  # trials before replicates are spent on the front
SCOUTS_PER_TRIAL = 8  # so that no trial waits long for networks that are slow to build
BURST = 4  # of one network's races, where replicates train together


@dataclass(frozen=True)
class Proposal:
    """What to evaluate next, and where it comes from."""

    architecture: Architecture
    origin: Origin


class Proposals:
    """Decides between a new network, a variant of the last one, and one more training of a known one.

    Every decision follows from the history, the seed and the number of the trial alone.

    Args:
        space: The search space.
        sampler: Proposes new architectures.
        seed: Seed of the study.
        identify: From an architecture to an id that equal networks share, as
            `nas.network.identity`; the architecture's own id for None.
        seeds: Trainings of every architecture, each with its own seed.
        racing: Share of the trials that repeat networks whose place on the front is in doubt.
        inheritance: Share of the children of a member of the front that start from its weights.
        folds: Into how many folds the samples are divided.
        frozen: Whether trials train with frozen encoders, unless their architecture says otherwise.
        groups: Which trials train together. Where they are to fill, a new network is followed by siblings
            that differ from it in fusible values alone, and the races of a network come in bursts.
        outline: From an architecture to what equal networks share, where that is known sooner than
            their id, as `nas.network.outline`; only networks of one outline are compared by their ids.
        exact: From an architecture to those objectives that are exact before a training and need no
            device; empty for one that cannot be built.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: Any,
        seed: int,
        identify: Callable[[Architecture], str] | None = None,
        seeds: int = 1,
        racing: float = 0.0,
        inheritance: float = 0.0,
        folds: int = 1,
        frozen: bool = False,
        groups: Groups | None = None,
        outline: Callable[[Architecture], str] | None = None,
        exact: Callable[[Architecture], Mapping[str, float]] = lambda architecture: {},
    ) -> None:
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self.seeds = seeds
        self.racing = racing
        self.inheritance = inheritance
        self.folds = folds
        self._encoders = "frozen" if frozen else "joint"
        self.groups = groups or Groups()
        self._identify = identify or (lambda architecture: architecture.id)
        self._ids: dict[Architecture, str] = {}
        self._outline = outline or self.identity
        self._outlines = Grown(self._outline)
        self.exact = exact
        self._scouted = Grown(self._scout)

    def next(self, history: History) -> Proposal | None:
        """The next proposal; None when every network of the space has had its trainings.

        Of a trial that has not finished, its architecture counts and nothing else: what else is known
        of it depends on the moment, and no replay could repeat that.
        """
        history = replace(history, records=[r if r.finished else unfinished(r) for r in history.records])
        return self._joining(history) or self._raced(history) or self._new(history)

    def joins(self, history: History) -> bool:
        """Whether the next proposal may train together with the last trial."""
        if not history.records or not self.groups.suit(self.space, history.records[-1].architecture):
            return False
        return self._joining(history) is not None

    def _joining(self, history: History) -> Proposal | None:
        """What belongs with the last trial: a replicate of it, or a sibling."""
        return self._planned(history) or self._racing_on(history) or self._sibling(history)

    def last(self, history: History) -> Proposal | None:
        """What remains to be done once no network is searched for any more; None for nothing.

        A member of the front that was trained with frozen encoders is trained on as a whole network,
        from its own weights. It counts as another architecture, whose encoders are trained `joint`.
        """
        known = {record.architecture for record in history.records}
        for member in sorted(history.front(), key=lambda member: member.number):
            tree = member.architecture.to_data()
            settings = tree.get("training", {})
            whole = Architecture(tree | {"training": settings | {"encoders": "joint"}})
            if settings.get("encoders", self._encoders) == "frozen" and whole not in known:
                return Proposal(whole, Origin(TUNED, (member.number,), inherits=member.number))
        return None

    def fold(self, architecture: Architecture, records: Sequence[Record]) -> int:
        """The fold that the next trial of an architecture is measured on.

        The first trainings of all networks share a fold, and further ones take the others in turn. One
        network in four has its second training on the first fold as well: what the seed does can be
        told from what the split does.
        """
        if self.folds == 1:
            return 0
        earlier = sum(record.architecture == architecture for record in records)
        stays = earlier == 1 and int(architecture.id, 16) % 4 == 0
        return 0 if stays else earlier % self.folds

    def _planned(self, history: History) -> Proposal | None:
        """Another of the trainings that every architecture is to have."""
        if self.seeds == 1 or not history.records:
            return None
        last = history.records[-1].architecture
        same = [record for record in history.records if record.architecture == last]
        done = same[0].failure or same[0].origin.operator == TUNED or len(same) >= self.seeds
        return None if done else _replicate(same[0])

    def _racing_on(self, history: History) -> Proposal | None:
        """Another race of the network of the last trial, until its burst is over."""
        if not history.records or history.records[-1].origin.operator != "race":
            return None
        last = history.records[-1]
        others = (n for n, r in enumerate(reversed(history.records)) if r.origin != last.origin)
        raced = next(others, len(history.records))
        return Proposal(last.architecture, last.origin) if raced % self._burst else None

    @property
    def _burst(self) -> int:
        return min(BURST, self.groups.size) if self.groups.fills else 1

    def _sibling(self, history: History) -> Proposal | None:
        """A variant of the last network with which it can train, until their group is full."""
        lead = self._lead(history) if self.groups.fills else None
        if lead is None:
            return None
        seen = self._seen(history)
        for attempt in range(ATTEMPTS):
            role = ("sibling", str(attempt))
            rng = np.random.default_rng(derive(self.seed, len(history.records), *role))
            variant = self._vary(lead.architecture, rng)
            if self._is_new(variant, seen):
                return Proposal(variant, Origin("sibling", (lead.number,)))
        return None

    def _lead(self, history: History) -> Record | None:
        """The first trial of the last group, if the trainings of one more network fit into it."""
        if not history.records or history.records[-1].origin.operator in ("race", TUNED):
            return None
        lead = history.records[-1]
        for operator in ("replicate", "sibling"):
            if lead.origin.operator == operator:
                lead = history.records[lead.origin.parents[0]]
        room = self.groups.size - (len(history.records) - lead.number)
        fits = room >= self.seeds and self.groups.suit(self.space, lead.architecture)
        return lead if fits and lead.architecture in self.space else None

    def _vary(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """The architecture with its fusible values near the old ones, or drawn anew."""
        near = rng.random() < 0.5
        decisions = self.space.decisions(architecture)

        def choose(path: str, domain: Domain) -> Value:
            value = decisions[path][1]
            if not domain.fusible:
                return value
            return neighbour(domain, value, rng) if near else domain.sample(rng)

        return self.space.draw(choose)

    def _raced(self, history: History) -> Proposal | None:
        """One more training of the candidate about whose place on the front it says most."""
        if not self.racing:
            return None
        extra = sum(record.origin.operator == "race" for record in history.records)
        burst = self._burst
        if extra + burst - 1 >= self.racing * (len(history.records) + burst - FIRST_RACE):
            return None
        candidates = [c for c in history.candidates if c.records[0].origin.operator != TUNED]
        if not candidates:
            return None
        asked = Counter(record.architecture for record in history.records)
        odds = belonging(history, derive(self.seed, len(history.records), "race"))
        front = {member.number for member in history.front()}

        def doubt(candidate: Candidate) -> float:
            # Whatever stands on the front by one training may have come there by luck, and hide others;
            # and the doubt about a mean falls with the trainings, those under way and failed ones included.
            odd, trainings = odds[candidate.number], asked[candidate.architecture]
            luck = MOST_DOUBT / trainings if candidate.number in front else 0.0
            return (odd * (1 - odd) + 1e-3 * odd + luck) / trainings

        most = max(candidates, key=lambda candidate: (doubt(candidate), -candidate.number))
        return _replicate(most.records[0], "race")

    def _new(self, history: History) -> Proposal | None:
        seen = self._seen(history)
        number = len(history.records)
        scouts = min(getattr(self.sampler, "scouts", 0), SCOUTS_PER_TRIAL * number)
        history = replace(history, scouted=dict(self._scouted(range(scouts))))
        for attempt in range(ATTEMPTS):
            proposal = self._propose(history, self.proposal_seed(number, attempt))
            if self._is_new(proposal.architecture, seen):
                return replace(proposal, origin=self._inheriting(proposal.origin, history))
        rng = np.random.default_rng(derive(self.seed, number, "unseen"))
        unseen = self._sample_unseen(seen, rng) or self._pick_unseen(seen, rng)
        return None if unseen is None else Proposal(unseen, Origin())

    def _inheriting(self, origin: Origin, history: History) -> Origin:
        """The origin with the parent whose weights it inherits, by lot; none that has no weights any more."""
        lot = np.random.default_rng(derive(self.seed, len(history.records), "inheritance")).random()
        if not origin.parents or lot >= self.inheritance:
            return origin
        parent = origin.parents[0]
        kept = {candidate.number for candidate in history.front()}
        return replace(origin, inherits=parent) if parent in kept else origin

    def _scout(self, number: int) -> Scouted:
        """A network of the space, and what is exact of it."""
        architecture = self.space.sample(np.random.default_rng(derive(self.seed, number, "scout")))
        return architecture, self.exact(architecture)

    def _propose(self, history: History, seed: int) -> Proposal:
        if hasattr(self.sampler, "breed"):
            return Proposal(*self.sampler.breed(self.space, history, seed))
        architecture = self.sampler.propose(self.space, history, seed)
        if not isinstance(architecture, Architecture):
            raise RequestError(
                f"{type(self.sampler).__name__}.propose gave {architecture!r}; a sampler returns an "
                "architecture of the space, as space.sample(rng) does"
            )
        return Proposal(architecture, Origin())

    def _sample_unseen(self, seen: Seen, rng: np.random.Generator) -> Architecture | None:
        samples = (self.space.sample(rng) for _ in range(SAMPLES))
        return next((point for point in samples if self._is_new(point, seen)), None)

    def _pick_unseen(self, seen: Seen, rng: np.random.Generator) -> Architecture | None:
        """One of what is left of a small space; None where nothing is, or the space has no end."""
        if self.space.size > ENUMERABLE:
            return None
        left = [point for point in self.space.points() if self._is_new(point, seen)]
        return left[int(rng.integers(len(left)))] if left else None

    def _seen(self, history: History) -> Seen:
        """All networks that have been trials, by their outlines."""
        architectures = [record.architecture for record in history.records]
        seen: Seen = defaultdict(list)
        for outline, architecture in zip(self._outlines(architectures), architectures, strict=True):
            seen[outline].append(architecture)
        return seen

    def _is_new(self, architecture: Architecture, seen: Seen) -> bool:
        alike = seen.get(self._outline(architecture), ())
        return not alike or self.identity(architecture) not in map(self.identity, alike)

    def proposal_seed(self, number: int, attempt: int = 0) -> int:
        """Seed of the sampler for a trial; each further attempt has its own."""
        roles = ("proposal",) if attempt == 0 else ("proposal", str(attempt))
        return derive(self.seed, number, *roles)

    def identity(self, architecture: Architecture) -> str:
        """The id that equal networks share."""
        known = self._ids.get(architecture)
        if known is None:
            known = self._ids[architecture] = self._identify(architecture)
        return known


def unfinished(record: Record) -> Record:
    """A trial as it was when it was asked for."""
    asked = record.number, record.seed, record.architecture, RUNNING, record.asked_after, record.origin
    return Record(*asked, fold=record.fold)


def _replicate(first: Record, operator: str = "replicate") -> Proposal:
    return Proposal(first.architecture, Origin(operator, (first.number,)))
