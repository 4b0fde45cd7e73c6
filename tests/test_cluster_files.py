"""The files of `docs/cluster.md` that start clusters hold, as far as that shows without a cluster."""

import os
import stat
import subprocess

import pytest
import yaml
from test_docs import ROOT, blocks

GUIDE = ROOT / "docs" / "cluster.md"
STUBS = {
    "scontrol": 'printf "node1\\nnode2\\n"',
    "srun": 'echo "srun $*" >> "$LOG"; case "$*" in *hostname*) echo 10.0.0.1;; esac',
    "nas": 'echo "nas $*" >> "$LOG"; stat -c %a "$RAY_AUTH_TOKEN_PATH" >> "$LOG"',
    "sleep": ":",
}


def block(first_line):
    """The block that begins so, its comment aside."""
    [found] = [text for text in blocks(GUIDE, r"\w+") if first_line in text.partition("\nset")[0]]
    return found


def test_ray_accepts_the_description_of_its_cluster():
    pytest.importorskip("jsonschema")
    from ray.autoscaler._private import util

    config = yaml.safe_load(block("# cluster.yaml"))
    filled = util.fillout_defaults(config)
    util.validate_config(filled | {"cluster_synced_files": []})
    assert filled["available_node_types"].keys() == {"head", "gpu"}
    started = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in started if "ray start" in line)


def test_the_job_of_slurm_starts_a_cluster_and_leaves_no_token(tmp_path):
    script = tmp_path / "search.sbatch"
    script.write_text(block("# search.sbatch"))
    for name, body in STUBS.items():
        stub = tmp_path / name
        stub.write_text(f"#!/bin/bash\n{body}\n")
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
    }
    for resumed in ("", " --resume"):
        (tmp_path / "log").unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", script], cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "log").read_text().splitlines()
        search = "nas search experiments/cluster.yaml --run-dir runs/cluster"
        assert f"{search}{resumed} --set execution.address=10.0.0.1:6379" in lines
        assert "600" in lines  # nobody else reads the token
        head = "ray start --head --node-ip-address=10.0.0.1 --port=6379 --block"
        assert f"srun --nodes=1 --ntasks=1 -w node1 {head}" in lines
        assert "srun --nodes=1 --ntasks=1 --exclude=node1 ray start --address=10.0.0.1:6379 --block" in lines
        assert not list(tmp_path.glob(".ray_token*"))
        (tmp_path / "runs/cluster").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs/cluster/experiment.yaml").touch()


def test_the_job_of_kubernetes_is_a_ray_job_whose_entrypoint_is_a_command():
    job = yaml.safe_load(block("# search.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert container["image"]
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    subprocess.run(["bash", "-n", "-c", job["spec"]["entrypoint"]], check=True)
    assert cluster["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("text", blocks(GUIDE, "bash"))
def test_every_command_is_one_that_bash_can_read(text):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
