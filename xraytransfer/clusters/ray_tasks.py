"""Ray: places work as tasks of the cluster in which this process was started.

Conventions
-----------
Tasks, not actors: a task that loses its machine is started again elsewhere, while an actor that is tied to a lost
machine waits for ever. Every piece of work may be done twice without harm, because a worker may outlive the node that
Ray counts as lost. If this process ends, its tasks end; what they finished stands, and the same command goes on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from xraytransfer.clusters.demand import Demand
from xraytransfer.errors import MissingExtraError, XrayTransferError

__all__ = ["cluster", "run_tasks"]

Piece = TypeVar("Piece")

IN_FLIGHT_FOR_EACH_SLOT = 3
"""Tasks that are submitted for each one that can run: what an autoscaler looks at, and what keeps slots busy."""


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError("cluster", "ray") from error
    return ray


@contextmanager
def cluster() -> Iterator[Any]:
    """Join the cluster that ``RAY_ADDRESS`` names, as in ``ray job submit``; without it, start one on this machine.

    A cluster that is started here listens on 127.0.0.1 alone and ends with the block.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    XrayTransferError
        The cluster does not answer.
    """
    # Ray lowers the priority of its workers (15) unless told otherwise: pieces of work are what the machine is for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray = _ray()
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _see_that_it_answers(address)
    alone = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="warning", **alone)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise XrayTransferError(f"Ray at {address or 'this machine'} does not answer: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _see_that_it_answers(address: str) -> None:
    """Refuse an address of which nothing answers: Ray itself would end the process, after a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return  # such as "auto": Ray finds the cluster by itself
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise XrayTransferError(f"RAY_ADDRESS: Ray at {address} does not answer: {error}") from error


def run_tasks(
    work: Callable[[Piece], Any],
    pieces: Sequence[Piece],
    demand: Demand,
    *,
    finished: Callable[[Piece, Any], None],
    failed: Callable[[Piece, Exception], None],
    log: Callable[[str], None],
    lost_machines: int = 10,
) -> None:
    """Do every piece of work in a task of its own; to be called inside `cluster`.

    Parameters
    ----------
    work : callable
        Called in a worker with one piece; function, piece and result must be picklable.
    pieces : sequence
        Whatever `work` takes.
    demand : Demand
        What one piece needs.
    finished : callable
        Called here with a piece and its result, in the order of finishing.
    failed : callable
        Called here with a piece and the exception that `work` raised. Others go on.
    log : callable
        Called with a line for the user if no machine of the cluster could ever take a piece, as long as no larger
        machine joins.
    lost_machines : int
        How often a piece is started again after its worker or machine was lost.

    Raises
    ------
    XrayTransferError
        The cluster is this machine alone, and a piece needs more than it has.
    """
    ray = _ray()
    _see_that_it_fits(ray, demand, log)
    memory = {} if demand.memory_gb is None else {"memory": int(demand.memory_gb * 1e9)}
    task = ray.remote(num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=lost_machines, **memory)(work)
    waiting = iter(pieces)
    running: dict[Any, Piece] = {}
    while True:
        while len(running) < _in_flight(ray, demand) and (piece := next(waiting, None)) is not None:
            running[task.remote(piece)] = piece
        if not running:
            return
        for done in ray.wait(list(running), num_returns=1)[0]:
            piece = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                failed(piece, error.cause if isinstance(error.cause, Exception) else error)
            except ray.exceptions.RayError as error:  # the machine was lost too often
                failed(piece, error)
            else:
                finished(piece, result)


def _see_that_it_fits(ray: Any, demand: Demand, log: Callable[[str], None]) -> None:
    """Say so if no machine is large enough for one piece: Ray would wait without a word, on one machine for ever."""
    needed = {"CPU": demand.cpus, "GPU": demand.gpus, "memory": int((demand.memory_gb or 0) * 1e9)}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(machine.get(name, 0) >= amount for name, amount in needed.items()) for machine in machines):
        return
    found = "; ".join(sorted({_resources(machine) for machine in machines})) or "none"
    message = f"no machine of the Ray cluster has what one piece needs, {_resources(needed)} (machines: {found})"
    if not os.environ.get("RAY_ADDRESS"):
        raise XrayTransferError(f"{message}; ask for less with --cpus, --gpus or --memory-gb")
    log(f"{message}; waiting for one to join")


def _resources(amounts: Mapping[str, float]) -> str:
    """Return cores, GPUs and memory in words."""
    parts = [f"{amounts.get(name, 0):g} {name}s" for name in ("CPU", "GPU") if amounts.get(name)]
    return ", ".join([*parts, f"{amounts['memory'] / 1e9:.1f} GB"] if amounts.get("memory") else parts)


def _in_flight(ray: Any, demand: Demand) -> int:
    """Return how many tasks to have submitted; the cluster may grow and shrink."""
    resources = ray.cluster_resources()
    slots = int(resources.get("CPU", 0) // demand.cpus)
    if demand.gpus:
        slots = min(slots, int(resources.get("GPU", 0) / demand.gpus))
    wanted = IN_FLIGHT_FOR_EACH_SLOT * max(slots, 1)
    return wanted if demand.at_once is None else min(wanted, demand.at_once)
