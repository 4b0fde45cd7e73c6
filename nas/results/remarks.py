"""What a person should know before believing a front."""

import math

from nas.results.belonging import noise
from nas.results.failures import poisoned
from nas.results.lineage import gains
from nas.results.records import TUNED, History
from nas.results.spread import Spread, spreads

ENOUGH = 10  # networks before a correlation says anything


def remarks(history: History) -> list[str]:
    """Sentences about a search: components that fail, the noise of trainings, the bias of inheritance."""
    found = [f"Warning: {region}." for region in poisoned(history)]
    repeated = [candidate for candidate in history.candidates if len(candidate.records) > 1]
    if repeated:
        figures = zip(history.objectives, noise(history), strict=True)
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures if value > 0)
        found.append(
            f"Networks trained more than once: {len(repeated)}; the standard deviation between "
            f"trainings of one network: {told or 'none'}. The front stands on means."
        )
        found += [_explained(spread, history) for spread in spreads(history)]
    if foretold := _foretold(history):
        found.append(foretold)
    if tuned := [record for record in history.records if record.origin.operator == TUNED]:
        found.append(
            f"Members of the front trained on as whole networks: {len(tuned)}; the others stand with what "
            "they reach on frozen encoders."
        )
    if any(r.origin.inherits is not None and r.origin.operator != TUNED for r in history.records):
        found.append(f"Inheritance, {gains(history)}")
    return found


def _foretold(history: History) -> str | None:
    """How well what is known before a training tells the order of what it gives."""
    from scipy.stats import spearmanr  # takes a second

    objective = next((name for name in history.objectives if _is_trained(history, name)), None)
    candidates = history.candidates
    if objective is None or len(candidates) < ENOUGH:
        return None
    ends = [candidate.values[objective] for candidate in candidates]
    found = []
    for name in sorted({name for c in candidates for name in c.records[0].cheap}):
        known = [candidate.values.get(name, math.nan) for candidate in candidates]
        if all(map(math.isfinite, known)) and len(set(known)) > 1 and len(set(ends)) > 1:
            found.append(f"{name} {spearmanr(known, ends).statistic:+.2f}")
    if not found:
        return None
    return f"Rank correlation with {objective} over {len(candidates)} networks: {', '.join(found)}."


def _is_trained(history: History, name: str) -> bool:
    return any(name in epoch for record in history.records for epoch in record.metrics)


def _explained(spread: Spread, history: History) -> str:
    if any(record.fold for record in history.records):
        return f"{spread}."
    return f"{spread}. All were measured on one split; what another would say is not known."
