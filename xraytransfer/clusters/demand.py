"""What one piece of work needs of a machine, and the options of the command line that say so."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from xraytransfer.errors import MissingExtraError, XrayTransferError

__all__ = ["CLUSTER_OPTIONS", "Demand", "Place", "cluster_options", "read_place"]

Command = TypeVar("Command", bound=Callable[..., Any])

CLUSTER_OPTIONS = ("on", "print_script", "cpus", "gpus", "memory_gb", "time_limit", "at_once")
"""The names of the options that `cluster_options` adds."""


@dataclass(frozen=True)
class Demand:
    """What one piece of work needs.

    Attributes
    ----------
    cpus : int
        Cores.
    gpus : float
        GPUs; with Ray also a part of one, such as 0.25.
    memory_gb : float or None
        Memory in GB; None leaves it to the cluster.
    time_limit : str or None
        Longest time, as Slurm writes it, such as ``12:00:00``; None leaves it to the cluster.
    at_once : int or None
        Most pieces at the same time; None for as many as fit.
    """

    cpus: int = 1
    gpus: float = 0
    memory_gb: float | None = None
    time_limit: str | None = None
    at_once: int | None = None


@dataclass(frozen=True)
class Place:
    """Where work is done.

    Attributes
    ----------
    on : {'slurm', 'ray'} or None
        None for this machine.
    print_script : bool
        Print the batch script of Slurm, and submit nothing.
    demand : Demand
    """

    on: str | None
    print_script: bool
    demand: Demand

    def check(self) -> None:
        """See that what the place needs is here, before any long work.

        Raises
        ------
        MissingExtraError
            Ray is not installed.
        XrayTransferError
            This machine cannot submit to Slurm.
        """
        if self.on == "ray" and importlib.util.find_spec("ray") is None:
            raise MissingExtraError("cluster", "ray")
        if self.on == "slurm" and not self.print_script and shutil.which("sbatch") is None:
            raise XrayTransferError("sbatch is not on this machine: log in to a node of the cluster, or see --print")


def read_place(*, on: str | None, print_script: bool, **demand: Any) -> Place:
    """Return the place that the options of `cluster_options` name.

    Raises
    ------
    XrayTransferError
        ``--print`` without Slurm, or a demand that nothing would heed. Memory may be heeded on this machine, too.
    """
    if print_script and on != "slurm":
        raise XrayTransferError("--print goes with --on slurm")
    if demand["time_limit"] is not None and on != "slurm":
        raise XrayTransferError("--time-limit goes with --on slurm")
    for name in ("cpus", "gpus", "at_once"):
        if on is None and demand[name] != getattr(Demand(), name):
            raise XrayTransferError(f"--{name.replace('_', '-')} goes with --on slurm or --on ray")
    return Place(on, print_script, Demand(**demand))


def cluster_options(command: Command) -> Command:
    """Add the options that place work on a cluster."""
    for option in reversed(
        (
            click.option("--on", type=click.Choice(("slurm", "ray")), help="Run the work on a cluster."),
            click.option(
                "--print", "print_script", is_flag=True, help="With --on slurm: print the batch script, submit nothing."
            ),
            click.option(
                "--cpus", type=click.IntRange(1), default=1, show_default=True, help="Cores for each piece of work."
            ),
            click.option(
                "--gpus",
                type=click.FloatRange(0),
                default=0,
                show_default=True,
                help="GPUs for each piece; with Ray, fractions too.",
            ),
            click.option("--memory-gb", type=click.FloatRange(0, min_open=True), help="Memory for each piece, in GB."),
            click.option("--time-limit", metavar="TIME", help="Longest time for each piece, such as 12:00:00 (Slurm)."),
            click.option("--at-once", type=click.IntRange(1), help="Largest number of pieces at the same time."),
        )
    ):
        command = option(command)
    return command
