"""Everything about the study that needs a GPU, in one command; interrupted, it goes on with what is not measured.

    python benchmarks/gpu_study.py --out gpu-study                         # the first GPU, everything, about an hour
    python benchmarks/gpu_study.py --out gpu-study --parts resume          # one part
    python benchmarks/gpu_study.py --out tiny --device cpu --tiny          # the same code in minutes, no GPU: a trial

Parts:

speed      images/s of training at 320 px (bfloat16, channels-last, no augmentation) of each of the sixteen, at batch
           16 as published and at the batch that is fastest; of the paper's truncations too. From that, the hours of
           the grid at CheXpert's size: 16 pretrained, 16 random, and the 11 truncations that the paper reports.
together   the same network in several processes on one GPU: what `study run --slots` gains where one alone waits for
           its own launches.
loading    train_throughput.py at 320 px: our cache against ImageFolder and timm's loader (and, with --timm-script,
           timm's own train script).
resume     runs on drawn phantoms: three undisturbed, one killed twice with SIGKILL and resumed. On the CPU all must
           end with the same bits; on a GPU the killed one must not differ more than undisturbed ones do.

Writes OUT/<part>.json and OUT/report.md, and prints the latter.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
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

FILMS = {"train": 223_414, "validation": 234, "test": 668}
"""CheXpert's own division: rows of train.csv and valid.csv, films of the 500 test examinations."""
TRUNCATIONS = {"efficientnet_b0": (1, 2, 3), "mnasnet_100": (1, 2), "densenet121": (1, 2, 3), "resnet18": (1, 2, 3)}
"""The cuts that the paper reports."""
OUTPUTS = 14
BATCHES = (16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    device: str
    seconds: float
    architectures: tuple[str, ...]
    truncations: dict[str, tuple[int, ...]]
    batches: tuple[int, ...]
    together: tuple[int, ...]
    together_of: tuple[str, ...]
    resolution: int
    images: int
    loading_of: tuple[str, ...]
    loading_batch: int
    workers: int
    patients: int
    resumed: str
    timm_script: Path | None

    def preset(self, batch: int) -> Preset:
        """Return the paper's settings at a batch size."""
        return replace(PRESETS["paper"], resolution=self.resolution, batch=batch)


def full(device: str, timm_script: Path | None) -> Scale:
    """Return what a GPU is asked."""
    return Scale(
        device=device,
        seconds=5.0,
        architectures=tuple(row.name for row in ARCHITECTURES if row.group == "study"),
        truncations=TRUNCATIONS,
        batches=BATCHES,
        together=(1, 2, 4),
        together_of=("densenet121", "efficientnet_b0"),
        resolution=320,
        images=8192,
        loading_of=("resnet18", "mobilenetv2_100", "mobilenetv3_large_100"),
        loading_batch=64,
        workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        patients=240,
        resumed="resnet18",
        timm_script=timm_script,
    )


def tiny(device: str, timm_script: Path | None) -> Scale:
    """Return the same in small: that the code runs, no number worth keeping."""
    return replace(
        full(device, timm_script),
        seconds=0.1,
        architectures=("toy_resnet", "toy_efficientnet"),
        truncations={"toy_resnet": (1,)},
        batches=(4, 8),
        together=(1, 2),
        together_of=("toy_resnet",),
        resolution=64,
        images=32,
        loading_of=("toy_resnet",),
        loading_batch=8,
        workers=1,
        patients=60,
        resumed="toy_resnet",
    )


def measure_speed(scale: Scale) -> dict[str, Any]:
    """Return rates of every network, and hours."""
    rows = []
    wanted = [(name, 0) for name in scale.architectures]
    wanted += [(name, cut) for name, cuts in scale.truncations.items() for cut in cuts]
    for name, truncation in wanted:
        run = GridRun(find_architecture(name), "random", truncation, 0)
        rates: dict[int, tuple[float, float]] = {}
        for batch in scale.batches:
            try:
                rates[batch] = probe(run, scale.preset(batch), OUTPUTS, scale.device, scale.seconds)
            except torch.OutOfMemoryError:
                break
            finally:
                if scale.device != "cpu":
                    torch.cuda.empty_cache()
            best = max(rates, key=lambda one: rates[one][0])
            if batch >= 4 * best:  # twice doubled without a gain
                break
        if not rates:
            raise SystemExit(f"{name}: batch {scale.batches[0]} does not fit into memory")
        first, best = scale.batches[0], max(rates, key=lambda one: rates[one][0])
        runs = 1 if truncation else 2  # whole: pretrained and random
        hours = {b: runs * seconds_needed(scale.preset(b), FILMS, *rates[b]) / 3600 for b in (first, best)}
        network = build_network(run.architecture, outputs=OUTPUTS, truncation=truncation, initialisation="random")
        rows.append(
            {
                "architecture": name,
                "truncation": truncation,
                "parameters": network.parameter_count(),
                "batch": first,
                "rate": rates[first][0],
                "best_batch": best,
                "best_rate": rates[best][0],
                "evaluation_rate": rates[first][1],
                "runs": runs,
                "hours": hours[first],
                "best_hours": hours[best],
            }
        )
        print(f"{name} -{truncation}: {rates[first][0]:.0f}/s at {first}, {rates[best][0]:.0f}/s at {best}", flush=True)
    return {"resolution": scale.resolution, "rows": rows}


def show_speed(found: dict[str, Any]) -> str:
    """Return Markdown."""
    rows = found["rows"]
    lines = [
        f"Training, images/s at {found['resolution']} px; hours at CheXpert's size ({FILMS['train']:,} training films, "
        "3 epochs, an evaluation every 8,192), one run at a time.",
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
    for key, what in (
        ("hours", f"batch {rows[0]['batch']}, as published"),
        ("best_hours", "each at its fastest batch"),
    ):
        whole = sum(row[key] for row in rows if not row["truncation"])
        cut = sum(row[key] for row in rows if row["truncation"])
        runs = sum(row["runs"] for row in rows)
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
                jobs = [
                    pool.submit(_probe_together, name, scale.preset(batch), scale.device, 4 * scale.seconds)
                    for _ in range(count)
                ]
                rate = sum(job.result() for job in jobs)
            rows.append({"architecture": name, "processes": count, "batch": batch, "rate": rate})
            print(f"{name}: {count} side by side, {rate:.0f}/s together", flush=True)
    return {"rows": rows}


def show_together(found: dict[str, Any]) -> str:
    """Return Markdown."""
    lines = ["| network | runs side by side on one device | images/s of all, batch 16 |", "| --- | ---: | ---: |"]
    lines[0] = lines[0].replace("batch 16", f"batch {found['rows'][0]['batch']}")
    lines += [f"| {row['architecture']} | {row['processes']} | {row['rate']:.0f} |" for row in found["rows"]]
    return "\n".join(lines)


def measure_loading(scale: Scale) -> dict[str, Any]:
    """Return `train_throughput`'s tables."""
    tables = []
    for name in scale.loading_of:
        setting = train_throughput.Setting(
            architecture=find_architecture(name),
            preset=scale.preset(scale.loading_batch),
            images=scale.images,
            rounds=3,
            device=scale.device,
            threads=1 if scale.device == "cpu" else scale.workers,
            workers=scale.workers,
            timm_script=scale.timm_script,
        )
        tables.append(train_throughput.table(setting, train_throughput.compare(setting)))
        print(tables[-1], flush=True)
    return {"tables": tables}


def show_loading(found: dict[str, Any]) -> str:
    """Return Markdown."""
    return "\n\n".join(f"```\n{table}\n```" for table in found["tables"])


def describe(device: str) -> str:
    """Return what was measured on, without the machine's name."""
    if device == "cpu":
        return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads; torch {torch.__version__}"
    gpu = torch.cuda.get_device_properties(torch.device(device))
    return f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB; torch {torch.__version__}, CUDA {torch.version.cuda}"


def write_report(
    out: Path, where: str, shown: Sequence[tuple[str, Callable[[dict[str, Any]], str]]], trial: bool
) -> str:
    """Write OUT/report.md from the parts that are there; return it."""
    lines = [f"# The study on {where}"]
    if trial:
        lines += ["", "A trial at toy size: the numbers mean nothing."]
    for name, show in shown:
        if (out / f"{name}.json").is_file():
            lines += ["", f"## {name.capitalize()}", "", show(read_json(out / f"{name}.json"))]
    text = "\n".join(lines) + "\n"
    (out / "report.md").write_text(text, encoding="utf-8")
    return text


def main() -> int:
    """Measure what is asked and not there yet; exit code 1 if the resumed run differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("speed", "together", "loading", "resume")
    parser.add_argument("--out", type=Path, required=True, help="folder of results; parts that are there are kept")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a trial")
    parser.add_argument("--tiny", action="store_true", help="toy networks: that the code runs, no number to keep")
    parser.add_argument("--timm-script", type=Path, help="train.py of timm's repository, at the installed timm's tag")
    given = parser.parse_args()
    if given.device == "auto":
        parser.error("--device auto would hide that there is no GPU: name cuda, cuda:N or cpu")
    try:
        device = resolve_device(given.device)
    except XrayTransferError as error:
        parser.error(f"{error} (on a CPU only with --tiny is this a matter of minutes)")
    scale = (tiny if given.tiny else full)(device, given.timm_script)
    given.out.mkdir(parents=True, exist_ok=True)
    note = given.out / "setting.json"
    setting = {"device": describe(device), "tiny": given.tiny}
    if note.is_file() and read_json(note) != setting:
        parser.error(f"{given.out} holds what was measured on {read_json(note)}, not on {setting}: take another folder")
    write_json(note, setting)
    measure: dict[str, Callable[[], dict[str, Any]]] = {
        "speed": lambda: measure_speed(scale),
        "together": lambda: measure_together(scale),
        "loading": lambda: measure_loading(scale),
        "resume": lambda: measure_resume(given.out.resolve(), device, scale.resumed, scale.patients),
    }
    for name in parts:
        if name in given.parts and not (given.out / f"{name}.json").is_file():
            write_json(given.out / f"{name}.json", json.loads(json.dumps(measure[name]())))
    show = {"speed": show_speed, "together": show_together, "loading": show_loading, "resume": show_resume}
    print(write_report(given.out, setting["device"], list(show.items()), given.tiny))
    resume = given.out / "resume.json"
    return 1 if resume.is_file() and not resumed_well(read_json(resume)) else 0


if __name__ == "__main__":
    sys.exit(main())
