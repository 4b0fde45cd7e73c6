"""A disk that is full ends a search, and loses nothing."""

import errno
import os
import subprocess

import pytest
from searches import TRIALS, results, search, write_search

from nas.errors import TrialError, disk_is_full

DISK_BYTES = 32 * 2**20
ROOM_BYTES = 700_000  # for about half of the trials that the search shall have


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of DISK_BYTES."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "nas", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs the right to mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_a_search_on_a_full_disk_ends_resumable_and_goes_on_as_if_nothing_had_been(
    finished_search, small_disk, tmp_path, backend
):
    experiment, run = write_search(tmp_path), small_disk / "run"
    (small_disk / "filler").write_bytes(bytes(DISK_BYTES - ROOM_BYTES))
    full = search(experiment, run, "--set", f"execution.backend={backend}", "--set", "execution.workers=1")
    assert full.returncode == 130
    assert f"The disk of {run}, or of a worker, is full; nothing that had finished is lost" in full.stderr
    assert "Traceback" not in full.stderr
    assert 0 < full.stdout.count("\n") < TRIALS
    (small_disk / "filler").unlink()
    again = search(experiment, run, "--resume")
    assert again.returncode == 0, again.stderr
    assert results(run) == results(finished_search / "run")


def test_a_full_disk_is_known_by_what_an_error_came_from():
    full = OSError(errno.ENOSPC, "no space left")
    assert disk_is_full(full)
    with pytest.raises(TrialError) as caught:
        raise TrialError("error", "it failed") from full
    assert disk_is_full(caught.value)
    assert not disk_is_full(OSError(errno.ENOENT, "no such file"))
