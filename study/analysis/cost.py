"""The cost of a network: milliseconds for one film, and the size of its activation map.

Costs are measured once per architecture and truncation, with random weights, which cost the same as trained ones.
They are stored as ``costs.csv`` in the results folder, so that a report remains a function of files.
"""

from __future__ import annotations

import csv
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from xraytransfer.errors import StudyError
from xraytransfer.files import write_with
from xraytransfer.study.analysis.results_folder import Results
from xraytransfer.study.data.film_table import read_csv
from xraytransfer.study.networks.architectures import Architecture

__all__ = ["Cost", "measure_costs", "read_costs"]

REPEATS = 25
"""Films per measurement. The note of the table ``truncation`` names this number."""


@dataclass(frozen=True)
class Cost:
    """One row of ``costs.csv``.

    Attributes
    ----------
    architecture : str
        Its name in the table of architectures.
    truncation : int
        Final stages removed.
    resolution : int
        Side of the film in pixels.
    latency_ms : float
        Time of the network alone for one film, with one CPU thread, in float32. The fastest of `REPEATS` films
        counts, because what other work on the machine adds is no property of the network.
    map_rows, map_columns : int
        Size of the activation map.
    processor : str
        Name of the processor that measured; empty where it was not noted.
    """

    architecture: str
    truncation: int
    resolution: int
    latency_ms: float
    map_rows: int
    map_columns: int
    processor: str = ""


COLUMNS = tuple(field.name for field in fields(Cost))
"""Of ``costs.csv``; version 0.1 did not write the last one."""


def read_costs(results: Results) -> dict[tuple[str, int], Cost]:
    """Return the costs stored for the runs' resolution, by architecture and truncation; empty without a file.

    Raises
    ------
    StudyError
        The file is damaged.
    """
    side = int(results.config("resolution")[0])
    rows = _stored(results.folder / "costs.csv")
    return {(row.architecture, row.truncation): row for row in rows if row.resolution == side}


def _stored(path: Path) -> list[Cost]:
    """Return every row of ``costs.csv``, of any resolution."""
    if not path.is_file():
        return []
    rows = read_csv(path, COLUMNS[:-1])
    try:
        return [
            Cost(
                row["architecture"],
                int(row["truncation"]),
                int(row["resolution"]),
                float(row["latency_ms"]),
                int(row["map_rows"]),
                int(row["map_columns"]),
                row.get("processor") or "",
            )
            for row in rows
        ]
    except ValueError as error:
        raise StudyError(f"{path}: is damaged ({error}); delete it, and the costs are measured again") from error


def measure_costs(results: Results) -> dict[tuple[str, int], Cost]:
    """Measure and store the costs that are not stored yet, and return all costs.

    Parameters
    ----------
    results : Results
        From `read_results`.

    Returns
    -------
    dict
        `Cost` by architecture and truncation.

    Raises
    ------
    ImportError
        torch or timm is not installed.
    StudyError
        The file is damaged.
    OSError
        The file cannot be written.
    """
    costs = read_costs(results)
    path, side = results.folder / "costs.csv", int(results.config("resolution")[0])
    others = [row for row in _stored(path) if row.resolution != side]
    configs = {(run.cell[0], run.cell[2]): run.config for run in results.runs}
    missing = sorted(set(configs) - set(costs))
    if not missing:
        return costs
    for name, truncation in missing:
        config = configs[name, truncation]
        row = Architecture.from_dict(config["row"])
        costs[name, truncation] = measure_cost(row, truncation, len(config["outputs"]), side)
    write_with(path, lambda temporary: _write(temporary, [*others, *costs.values()]))
    return costs


def _write(path: Path, costs: Sequence[Cost]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, costs))


def measure_cost(architecture: Architecture, truncation: int, outputs: int, side: int) -> Cost:
    """Measure one network on one CPU thread.

    Parameters
    ----------
    architecture : Architecture
        Its row.
    truncation : int
        Final stages removed.
    outputs : int
        Number of observations.
    side : int
        Resolution in pixels.
    """
    import torch

    from xraytransfer.study.networks.network import build_network

    network = build_network(architecture, outputs=outputs, truncation=truncation, initialisation="random").eval()
    film = torch.full((1, 1, side, side), 128.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            _, activation = network.forward_with_map(film)
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                network(film)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    rows, columns = activation.shape[-2:]
    return Cost(
        architecture.name, truncation, side, round(min(times) * 1e3, 2), int(rows), int(columns), processor_name()
    )


def processor_name() -> str:
    """Return the name of this machine's processor, as far as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
