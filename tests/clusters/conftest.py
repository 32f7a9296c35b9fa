"""Fixtures: Debian's Slurm and a Ray cluster of two nodes, both on loopback; films, their manifest, and the command."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=30
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=main Nodes={host} Default=YES State=UP
"""


def free_ports(number: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """Start Slurm on loopback and return its configuration file; end it by process id."""
    missing = [name for name in SLURM_PROGRAMS if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        pytest.skip(f"Slurm on loopback needs root and the programs {', '.join(missing or SLURM_PROGRAMS)}")
    # not below pytest's folder, which the user munge may not enter; sockets have short names
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    user = pwd.getpwnam("munge")
    for path in (key, folder / "munge"):
        os.chown(path, user.pw_uid, user.pw_gid)
    (folder / "munge").chmod(0o711)
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2)))
    munge = [f"--{name}={folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    subprocess.run(["munged", "--force", f"--key-file={key}", *munge], check=True, user="munge", group="munge")
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    try:
        for program in ("slurmctld", "slurmd"):
            subprocess.run([program, "-f", configuration], check=True, env=environment)
        _wait(lambda: b" idle " in subprocess.run(["sinfo"], capture_output=True, env=environment, check=False).stdout)
        yield configuration
    finally:
        files = [folder / name for name in ("slurmd.pid", "slurmctld.pid", "munge/pid-file")]
        daemons = [int(file.read_text()) for file in files if file.is_file()]
        for process in daemons:
            os.kill(process, signal.SIGTERM)
        _wait(lambda: not any(Path(f"/proc/{process}").exists() for process in daemons))  # they write until they end
        shutil.rmtree(folder, ignore_errors=True)


def _wait(reached: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.fixture
def wait() -> Callable[..., None]:
    """Return a function that waits until a condition holds."""
    return _wait


@pytest.fixture
def on_slurm(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs a command with its arguments where Slurm and ``xraytransfer`` are found."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "xraytransfer"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xraytransfer "$@"\n')
    program.chmod(0o755)
    logs = tmp_path / "logs"
    logs.mkdir()
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))

    def run(*arguments: object) -> str:
        command = [str(argument) for argument in arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=logs)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def start_again(on_slurm: Callable[..., str]) -> Callable[[str], None]:
    """Return a function that lets a requeued task of an array start now, not after Slurm's pause of two minutes."""

    def start(task: str) -> None:
        _wait(lambda: "PENDING" in on_slurm("squeue", "-h", "-r", "-j", task, "-o", "%T"))
        # slurmd compares whole seconds: it kills, as one of before, a task that starts in the second of its requeue
        time.sleep(1.1)
        on_slurm("scontrol", "update", f"JobId={task}", "StartTime=now")

    return start


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Return a folder of 40 drawn films."""
    rng = np.random.default_rng(5)
    (tmp_path / "films").mkdir()
    for i in range(40):
        Image.fromarray(rng.integers(0, 255, (600, 500), dtype=np.uint8)).save(tmp_path / "films" / f"{i:02d}.png")
    return tmp_path / "films"


@pytest.fixture
def manifest(films: Path, tmp_path: Path) -> Path:
    """Return the manifest of the films."""
    pytest.importorskip("pyarrow", reason="pip install 'xraytransfer[parquet]'")
    from xraytransfer.archives.listing import list_films

    list_films([str(films)], tmp_path / "films.manifest")
    return tmp_path / "films.manifest"


# In a process of its own, because the processes that it starts are never waited for.
TWO_NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1"})
node = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
print(cluster.address, flush=True)
if sys.stdin.readline() == "lose a node\\n":
    cluster.remove_node(node, allow_graceful=False)  # kill -9 of its raylet
    sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Start two nodes of one core each on loopback, and let commands join them; a line on stdin ends one."""
    pytest.importorskip("ray", reason="pip install 'xraytransfer[cluster]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # 127.0.0.1 stays 127.0.0.1
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    with subprocess.Popen(
        [sys.executable, "-c", TWO_NODES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        monkeypatch.setenv("RAY_ADDRESS", cluster.stdout.readline().strip())
        yield cluster
        cluster.communicate("end\n", timeout=60)
