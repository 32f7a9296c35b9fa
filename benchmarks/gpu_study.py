"""Everything about the study that needs a GPU, in one command. After an interruption it measures what is missing.

    python benchmarks/gpu_study.py --out gpu-study                         # the first GPU, everything, about an hour
    python benchmarks/gpu_study.py --out gpu-study --parts resume          # one part
    python benchmarks/gpu_study.py --out tiny --device cpu --tiny          # the same code in minutes, no GPU: a trial

Parts:

speed      images/s of training at 320 px (bfloat16, channels-last, no augmentation) of each of the sixteen, at batch
           16 as published and at the batch that is fastest; of the paper's truncations too. From that, the hours of
           the grid at CheXpert's size: 16 pretrained, 16 random, and the 11 truncations that the paper reports.
together   the same network in several processes on one GPU: what `study run --slots` gains if one process alone cannot
           launch kernels fast enough.
loading    train_throughput.py at 320 px: our cache against ImageFolder and timm's loader (and, with --timm-script,
           timm's own train script).
resume     runs on drawn phantoms: three are undisturbed, one is killed twice with SIGKILL and resumed. On the CPU all
           must end with the same bits; on a GPU the killed run must not differ more than undisturbed runs do.

Writes OUT/<part>.json and OUT/report.md, and prints the report.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import train_throughput
from gpu_resume import measure_resume, resumed_well, show_resume

from xraytransfer.errors import XrayTransferError
from xraytransfer.files import read_json, write_json
from xraytransfer.study.networks.architectures import ARCHITECTURES, find_architecture
from xraytransfer.study.networks.network import build_network
from xraytransfer.study.runs.grid_runs import GridRun
from xraytransfer.study.runs.plan import probe, seconds_needed
from xraytransfer.study.training.presets import PRESETS, Preset
from xraytransfer.study.training.run import resolve_device
from xraytransfer.usable_cores import cpu_limit

FILMS = {"train": 223_414, "validation": 234, "test": 668}
"""CheXpert's own division: rows of train.csv and valid.csv, films of the 500 test examinations."""
TRUNCATIONS = {"efficientnet_b0": (1, 2, 3), "mnasnet_100": (1, 2), "densenet121": (1, 2, 3), "resnet18": (1, 2, 3)}
"""The truncations that the paper reports."""
OUTPUTS = 14


@dataclass(frozen=True)
class Scale:
    """How much is measured; the defaults are for a GPU."""

    device: str
    timm_script: Path | None
    seconds: float = 5.0
    architectures: tuple[str, ...] = tuple(row.name for row in ARCHITECTURES if row.group == "study")
    truncations: tuple[tuple[str, int], ...] = tuple((name, cut) for name, cuts in TRUNCATIONS.items() for cut in cuts)
    batches: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    together: tuple[int, ...] = (1, 2, 4)
    together_of: tuple[str, ...] = ("densenet121", "efficientnet_b0")
    resolution: int = 320
    images: int = 8192
    loading_of: tuple[str, ...] = ("resnet18", "mobilenetv2_100", "mobilenetv3_large_100")
    loading_batch: int = 64
    workers: int = field(default_factory=cpu_limit)
    patients: int = 240
    resumed: str = "resnet18"

    def preset(self, batch: int) -> Preset:
        """Return the paper's settings at a batch size."""
        return replace(PRESETS["paper"], resolution=self.resolution, batch=batch)


TINY: dict[str, Any] = {
    "seconds": 0.1, "resolution": 64, "images": 32, "loading_batch": 8, "workers": 1, "patients": 60,
    "architectures": ("toy_resnet", "toy_efficientnet"), "truncations": (("toy_resnet", 1),), "batches": (4, 8),
    "together": (1, 2), "together_of": ("toy_resnet",), "loading_of": ("toy_resnet",), "resumed": "toy_resnet",
}  # fmt: skip
"""A trial of the code; its numbers mean nothing."""


def measure_batches(run: GridRun, scale: Scale) -> dict[int, tuple[float, float]]:
    """Return batch size -> rates of training and of evaluation, up to two doublings that gain nothing."""
    rates: dict[int, tuple[float, float]] = {}
    for batch in scale.batches:
        try:
            rates[batch] = probe(run, scale.preset(batch), OUTPUTS, scale.device, scale.seconds)
        except torch.OutOfMemoryError:
            break
        finally:
            if scale.device != "cpu":
                torch.cuda.empty_cache()
        if batch >= 4 * fastest(rates):
            break
    if not rates:
        raise SystemExit(f"{run.architecture.name}: batch {scale.batches[0]} does not fit into memory")
    return rates


def fastest(rates: Mapping[int, tuple[float, float]]) -> int:
    """Return the batch size at which training is fastest."""
    return max(rates, key=lambda batch: rates[batch][0])


def measure_speed(scale: Scale) -> dict[str, Any]:
    """Return the rates of every network, and the hours of its runs."""
    rows = []
    for name, truncation in (*((name, 0) for name in scale.architectures), *scale.truncations):
        run = GridRun(find_architecture(name), "random", truncation, 0)
        rates = measure_batches(run, scale)
        first, best = scale.batches[0], fastest(rates)
        runs = 1 if truncation else 2  # whole networks run twice: pretrained and random
        hours = {b: runs * seconds_needed(scale.preset(b), FILMS, *rates[b]) / 3600 for b in (first, best)}
        network = build_network(run.architecture, outputs=OUTPUTS, truncation=truncation, initialisation="random")
        row = {"architecture": name, "truncation": truncation, "parameters": network.parameter_count(), "runs": runs}
        row |= {"batch": first, "rate": rates[first][0], "hours": hours[first], "evaluation_rate": rates[first][1]}
        rows.append(row | {"best_batch": best, "best_rate": rates[best][0], "best_hours": hours[best]})
        print(f"{name} -{truncation}: {rates[first][0]:.0f}/s at {first}, {rates[best][0]:.0f}/s at {best}", flush=True)
    return {"resolution": scale.resolution, "rows": rows}


def show_speed(result: dict[str, Any]) -> str:
    """Return Markdown."""
    rows = result["rows"]
    lines = [
        f"Training, images/s at {result['resolution']} px; hours at CheXpert's size ({FILMS['train']:,} training "
        "films, 3 epochs, an evaluation every 8,192), one run at a time.",
        "",
        f"| network | removed | parameters, M | batch {rows[0]['batch']} | best | at batch | evaluation | runs "
        f"| hours, batch {rows[0]['batch']} | hours, best |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['architecture']} | {row['truncation']} | {row['parameters'] / 1e6:.2f} | {row['rate']:.0f} "
            f"| {row['best_rate']:.0f} | {row['best_batch']} | {row['evaluation_rate']:.0f} | {row['runs']} "
            f"| {row['hours']:.2f} | {row['best_hours']:.2f} |"
        )
    runs = sum(row["runs"] for row in rows)
    published = f"batch {rows[0]['batch']}, as published"
    for key, what in (("hours", published), ("best_hours", "each at its fastest batch")):
        whole = sum(row[key] for row in rows if not row["truncation"])
        cut = sum(row[key] for row in rows if row["truncation"])
        lines += ["", f"{what}: {whole:.1f} h whole + {cut:.1f} h truncated = **{whole + cut:.1f} h** for {runs} runs."]
    slowest = sorted(rows, key=lambda row: -row["best_hours"])[:4]
    lines += ["", "Most of it: " + ", ".join(f"{r['architecture']} ({r['best_hours']:.1f} h)" for r in slowest) + "."]
    lines += ["", "Another batch is another recipe: the published one is 16."]
    return "\n".join(lines)


def _probe_together(name: str, preset: Preset, device: str, seconds: float) -> float:
    torch.set_num_threads(1)
    return probe(GridRun(find_architecture(name), "random", 0, 0), preset, OUTPUTS, device, seconds)[0]


def measure_together(scale: Scale) -> dict[str, Any]:
    """Return the sum of the rates of several processes on one device."""
    rows, batch = [], scale.batches[0]
    for name in scale.together_of:
        for count in scale.together:
            with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
                # long enough that they overlap, although one starts before another
                probed = (_probe_together, name, scale.preset(batch), scale.device, 4 * scale.seconds)
                jobs = [pool.submit(*probed) for _ in range(count)]
                rate = sum(job.result() for job in jobs)
            rows.append({"architecture": name, "processes": count, "batch": batch, "rate": rate})
            print(f"{name}: {count} side by side, {rate:.0f}/s together", flush=True)
    return {"rows": rows}


def show_together(result: dict[str, Any]) -> str:
    """Return Markdown."""
    batch = result["rows"][0]["batch"]
    lines = [f"| network | runs side by side on one device | images/s of all, batch {batch} |", "| --- | ---: | ---: |"]
    lines += [f"| {row['architecture']} | {row['processes']} | {row['rate']:.0f} |" for row in result["rows"]]
    return "\n".join(lines)


def measure_loading(scale: Scale) -> dict[str, Any]:
    """Return `train_throughput`'s tables."""
    tables = []
    threads = 1 if scale.device == "cpu" else scale.workers
    for name in scale.loading_of:
        setting = train_throughput.Setting(
            find_architecture(name), scale.preset(scale.loading_batch), images=scale.images, rounds=3,
            device=scale.device, threads=threads, workers=scale.workers, timm_script=scale.timm_script,
        )  # fmt: skip
        tables.append(train_throughput.compare(setting))
        print(tables[-1], flush=True)
    return {"tables": tables}


def show_loading(result: dict[str, Any]) -> str:
    """Return Markdown."""
    return "\n\n".join(f"```\n{table}\n```" for table in result["tables"])


def describe(device: str) -> str:
    """Return a description of the device, without the name of the machine."""
    if device == "cpu":
        return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads; torch {torch.__version__}"
    gpu = torch.cuda.get_device_properties(torch.device(device))
    return f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB; torch {torch.__version__}, CUDA {torch.version.cuda}"


def write_report(out: Path, device: str, trial: bool) -> str:
    """Write OUT/report.md from the parts that have been measured; return it."""
    lines = [f"# The study on {device}"]
    if trial:
        lines += ["", "A trial at toy size: the numbers mean nothing."]
    for name, (_, show) in PARTS.items():
        if (out / f"{name}.json").is_file():
            lines += ["", f"## {name.capitalize()}", "", show(read_json(out / f"{name}.json"))]
    text = "\n".join(lines) + "\n"
    (out / "report.md").write_text(text, encoding="utf-8")
    return text


PARTS: dict[str, tuple[Callable[[Scale, Path], dict[str, Any]], Callable[[dict[str, Any]], str]]] = {
    "speed": (lambda scale, out: measure_speed(scale), show_speed),
    "together": (lambda scale, out: measure_together(scale), show_together),
    "loading": (lambda scale, out: measure_loading(scale), show_loading),
    "resume": (lambda scale, out: measure_resume(out, scale.device, scale.resumed, scale.patients), show_resume),
}
"""Name of a part -> the function that measures it, and the one that writes its section of the report."""


def main() -> int:
    """Measure the parts that are asked for and missing; exit code 1 if the resumed run differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results; parts that are there are kept")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a trial")
    parser.add_argument("--tiny", action="store_true", help="toy networks: a trial of the code, no number to keep")
    parser.add_argument("--timm-script", type=Path, help="train.py of timm's repository, at the installed timm's tag")
    given = parser.parse_args()
    if given.device == "auto":
        parser.error("--device auto would hide that there is no GPU: name cuda, cuda:N or cpu")
    try:
        device = resolve_device(given.device)
    except XrayTransferError as error:
        parser.error(f"{error} (on a CPU only with --tiny is this a matter of minutes)")
    scale = Scale(device, given.timm_script, **(TINY if given.tiny else {}))
    given.out.mkdir(parents=True, exist_ok=True)
    note = given.out / "setting.json"
    setting = {"device": describe(device), "tiny": given.tiny}
    if note.is_file() and read_json(note) != setting:
        parser.error(f"{given.out} holds what was measured on {read_json(note)}, not on {setting}: take another folder")
    write_json(note, setting)
    for name, (measure, _) in PARTS.items():
        if name in given.parts and not (given.out / f"{name}.json").is_file():
            write_json(given.out / f"{name}.json", measure(scale, given.out.resolve()))
    print(write_report(given.out, setting["device"], given.tiny))
    resume = given.out / "resume.json"
    return 1 if resume.is_file() and not resumed_well(read_json(resume)) else 0


if __name__ == "__main__":
    sys.exit(main())
