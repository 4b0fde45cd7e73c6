"""What a person should know before believing a front."""

from nas.results.belonging import belonging, noise
from nas.results.failures import poisoned
from nas.results.lineage import gains
from nas.results.records import History
from nas.seeds import derive


def remarks(history: History) -> list[str]:
    """Sentences about a search: components that fail, the noise of trainings, the bias of inheritance."""
    found = [f"Warning: {region}." for region in poisoned(history)]
    repeated = [candidate for candidate in history.candidates if len(candidate.records) > 1]
    if repeated:
        figures = zip(history.objectives, noise(history), strict=True)
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures if value > 0)
        found.append(
            f"{len(repeated)} networks were trained more than once; the standard deviation between "
            f"trainings of one network: {told or 'none'}. The front stands on means."
        )
    if any(record.origin.inherits is not None for record in history.records):
        found.append(f"Inheritance, {gains(history)}")
    return found


def certainty(history: History) -> dict[int, float]:
    """Probability of each candidate to be on the front, by its number; the same on every call."""
    return belonging(history, derive("certainty", len(history.records)))
