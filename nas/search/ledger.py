"""The ledger: the records of a study, with account kept of what a driver asks all the time."""

from collections.abc import Iterable, Mapping

from nas.experiment import Direction
from nas.results.records import COMPLETE, Record, Standing


class Ledger:
    """Records by number; each costs the same, however many there are.

    Args:
        records: Those that there are already.
        objectives: Direction by objective.
    """

    def __init__(self, records: Iterable[Record], objectives: Mapping[str, Direction]) -> None:
        self.records: list[Record] = []
        self.unfinished: dict[int, Record] = {}
        self.counted = 0  # those that use up one of the trials that a search may have
        self.standing = Standing(objectives)
        for record in records:
            self.put(record)

    @property
    def finished(self) -> int:
        """How many trials will not change any more."""
        return len(self.records) - len(self.unfinished)

    def put(self, record: Record) -> None:
        """Add the next record, or put another in the place of one; what has finished stays as it is."""
        if record.number == len(self.records):
            self.records.append(record)
        elif self.records[record.number].finished:
            return
        else:
            self.counted -= self.records[record.number].counts
            self.records[record.number] = record
        self.counted += record.counts
        if not record.finished:
            self.unfinished[record.number] = record
            return
        self.unfinished.pop(record.number, None)
        if record.state == COMPLETE:
            self.standing.add(record)
