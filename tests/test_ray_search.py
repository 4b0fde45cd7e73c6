"""Searches on Ray by the command: the same as on local workers, whatever ends them."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from searches import (
    DEADLINE_SECONDS,
    alive,
    events,
    held_search,
    results,
    search,
    search_alone,
    wait_until,
    write_search,
)


def descendants(pid: int) -> set[int]:
    """Process ids of all that a process has started, directly or not."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, before = {pid}, set()
    while found != before:
        before, found = found, found | {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def listening(pids: set[int]) -> set[str]:
    """Addresses, in the hexadecimal of /proc/net, at which processes accept connections over TCP."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(handle))
            except FileNotFoundError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(address.partition(":")[0])
    return found


def program(pid: int) -> str:
    """Name of the program that a process runs."""
    return Path(os.readlink(f"/proc/{pid}/exe")).name


def environment(pid: int) -> list[bytes]:
    """What a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


RAY = ("--set", "execution.backend=ray", "--set", "execution.max_concurrent=1")
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_an_interrupted_search_ends_ray_and_goes_on_with_local_workers_as_if_nothing_had_been(
    finished_search, tmp_path
):
    experiment, run = write_search(tmp_path), tmp_path / "run"
    with held_search(experiment, run, *RAY) as process:
        started = descendants(process.pid)
        assert listening(started)
        assert listening(started) <= LOOPBACK
        servers = [pid for pid in started if program(pid) in {"gcs_server", "raylet"}]
        assert servers
        assert all(b"RAY_AUTH_MODE=token" in environment(pid) for pid in servers)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 130, err
        assert "Traceback" not in out + err
        wait_until(lambda: not any(alive(pid) for pid in started), "all of Ray has ended")
    (tmp_path / "gate").unlink()
    again = search(experiment, run, "--resume")
    assert again.returncode == 0, again.stderr
    assert results(run) == results(finished_search / "run")


def test_a_killed_driver_takes_ray_with_it_and_a_resumed_search_on_ray_ends_as_if_nothing_had_been(
    finished_search, tmp_path
):
    experiment, run = write_search(tmp_path), tmp_path / "run"
    options = *RAY, "--set", "execution.checkpoint_every=1"
    with held_search(experiment, run, *options) as process:
        started = descendants(process.pid)
        held = run / "trials" / str(max(event["trial"] for event in events(run)))
        wait_until(
            lambda: list(run.glob(f"tune/*/*/checkpoint_*/{held.name}")), "Tune has the held trial's state"
        )
        [epoch] = (held / "metrics.jsonl").read_text().splitlines()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)
        (tmp_path / "gate").unlink()
        with ThreadPoolExecutor() as pool:  # resumed at once: two agents of Ray's take a minute to end
            resumed = pool.submit(search_alone, experiment, run, "--resume", *options)
            wait_until(lambda: not any(alive(pid) for pid in started), "all of Ray has ended")
    again = resumed.result()
    assert again.returncode == 0, again.stderr
    assert (held / "metrics.jsonl").read_text().startswith(epoch)  # the time too: not trained again
    assert results(run) == results(finished_search / "run")
