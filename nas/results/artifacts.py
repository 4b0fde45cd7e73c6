"""What the dashboard shows beside a trial: its architecture, and a picture of its wiring.

The entries are written when a trial is asked for and cost next to nothing; the picture is drawn by the
dashboard, when somebody looks at the trial.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from nas.registry import require_plugins
from nas.results.run_directory import RunDirectory, write_atomically

ARCHITECTURE, WIRING = "a", "b"  # the dashboard takes ids of hexadecimal digits and dashes alone
FILES = {ARCHITECTURE: ("architecture.json", "application/json"), WIRING: ("wiring.png", "image/png")}
PREFIX = "artifacts:"  # where Optuna keeps them, among the system attributes of a trial


def identifier(number: int, kind: str) -> str:
    """The id of one of a trial's artifacts."""
    return f"{number:08x}-{kind}"


def entries(number: int) -> dict[str, str]:
    """The system attributes of a trial by which the dashboard knows of its artifacts."""
    found = {}
    for kind, (name, mimetype) in FILES.items():
        own = identifier(number, kind)
        entry = {"artifact_id": own, "filename": name, "mimetype": mimetype, "encoding": None}
        found[PREFIX + own] = json.dumps(entry)
    return found


class RunArtifacts:
    """An artifact store over the files of a run; the pictures in it are drawn when they are opened.

    Args:
        run: The run.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._makers: Mapping[str, Callable[[int], bytes]] = {
            ARCHITECTURE: self._architecture,
            WIRING: self._wiring,
        }

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """One artifact.

        Raises:
            ArtifactNotFound: There is none of that id.
        """
        number, _, kind = artifact_id.rpartition("-")
        try:
            return io.BytesIO(self._makers[kind](int(number, 16)))
        except (KeyError, ValueError, IndexError, FileNotFoundError) as error:
            raise ArtifactNotFound(f"there is no artifact {artifact_id}") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refuse: what a run holds is what the search has left."""
        raise PermissionError("the artifacts of a run are not to be changed")

    def remove(self, artifact_id: str) -> None:
        """Refuse, as `write`."""
        raise PermissionError("the artifacts of a run are not to be removed")

    def _architecture(self, number: int) -> bytes:
        return (self.run.trial(number) / "architecture.json").read_bytes()

    def _wiring(self, number: int) -> bytes:
        """The picture; kept once it shows the trained network."""
        from nas.results.plots import png, wiring_picture
        from nas.results.stored import read_history
        from nas.results.wiring import wirings

        file = self.run.trial(number) / "wiring.png"
        if file.exists():
            return file.read_bytes()
        require_plugins(self.run.experiment().plugins)
        trained = self.run.weights(number).exists()
        record = read_history(self.run).records[number]
        state = "after training" if trained else "before training: its weights are not kept"
        picture = png(wiring_picture(wirings(self.run, record), f"trial {number}, {state}"), 80, small=True)
        if trained and record.finished:
            write_atomically(file, picture)
        return picture
