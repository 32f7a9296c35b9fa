"""Training throughput: our cache against loaders that decode every picture in each epoch, ImageFolder's and timm's.

Pictures (made-up JPEGs of CheXpert-small's size), network, batch, precision, device and threads are the same; only the
loading differs. The rounds alternate, so that other load on the machine affects all loaders alike; the ratios are what
counts.

    python benchmarks/train_throughput.py --architecture tf_efficientnet_lite0 --resolution 128
    python benchmarks/train_throughput.py --device cuda --resolution 320 --batch 64 --workers 8 --images 4096

``loading`` is the same without a network: the most that a loader can feed. timm's own train script is not part of its
package: with ``--timm-script train.py``, from timm's repository at the tag of the installed timm, the benchmark runs it
too, as a process of its own, and reads the images/s from its log.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from xraytransfer.study.data.cache import build_cache
from xraytransfer.study.data.film_table import FilmTable, build_table
from xraytransfer.study.networks.architectures import Architecture, find_architecture
from xraytransfer.study.networks.network import build_network
from xraytransfer.study.training.presets import PRESETS, Preset
from xraytransfer.study.training.run import prepare_device, resolve_device
from xraytransfer.study.training.step import TrainingStep

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Setting:
    """The network, the settings and the device of a comparison."""

    architecture: Architecture
    preset: Preset
    images: int
    rounds: int
    device: str
    threads: int
    workers: int
    timm_script: Path | None = None


def make_films(folder: Path, count: int) -> FilmTable:
    """Write smooth pictures with noise, 390 x 320, as JPEG, in one class folder; return their table."""
    random = np.random.default_rng(0)
    (folder / "a").mkdir(parents=True)
    rows = []
    for index in range(count):
        low = Image.fromarray(random.integers(0, 256, (12, 10), dtype=np.uint8))
        smooth = np.asarray(low.resize((320, 390), Image.Resampling.BICUBIC), np.int16)
        pixels = smooth + random.integers(-9, 10, (390, 320))
        path = folder / "a" / f"{index:06d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        rows.append({"image": path.name, "path": path, "patient": str(index), "label": [float(index % 2)] * 6})
    return build_table("made", [f"observation_{k}" for k in range(6)], rows)


def ours(training: TrainingStep, pixels: np.ndarray, label: np.ndarray, batch: int) -> Batches:
    """Yield the batches of one epoch as `train.train` takes them."""
    order = np.random.default_rng(0).permutation(len(pixels))
    for start in range(0, len(order) - batch + 1, batch):
        chosen = order[start : start + batch]
        yield training.make_batch(pixels[chosen], start), torch.from_numpy(label[chosen]).to(training.device)


def image_folder(folder: Path, preset: Preset, device: str, workers: int) -> Batches:
    """Yield one epoch of torchvision's ImageFolder with a DataLoader: grey, resized, without augmentation."""
    side = preset.resolution
    steps = transforms.Compose([transforms.Grayscale(), transforms.Resize((side, side)), transforms.PILToTensor()])
    films, pin = ImageFolder(str(folder), steps), device != "cpu"
    for x, y in DataLoader(films, preset.batch, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pin):
        yield x.to(device, non_blocking=True).float(), y.to(device)[:, None].expand(-1, 6).float()


def timm_loader(folder: Path, preset: Preset, device: str, workers: int) -> Batches:
    """Yield one epoch of the loader of timm's train script: grey, without augmentation, as ours is."""
    loader = timm.data.create_loader(
        timm.data.create_dataset("", str(folder), input_img_mode="L"),
        input_size=(1, preset.resolution, preset.resolution),
        batch_size=preset.batch,
        is_training=True,
        no_aug=True,
        mean=(0.0,),
        std=(1.0,),
        interpolation="bilinear",
        num_workers=workers,
        use_prefetcher=device != "cpu",
        device=torch.device(device),
    )
    for x, y in loader:
        yield x.to(device) * 255, y.to(device)[:, None].expand(-1, 6).float()


def timm_script(folder: Path, setting: Setting, dtype: torch.dtype, scratch: Path) -> float:
    """Return images/s of the second epoch, from the log of timm's train script."""
    preset, side = setting.preset, str(setting.preset.resolution)
    command = [sys.executable, str(setting.timm_script), "--data-dir", str(folder), "--val-split", ""]
    command += ["--model", setting.architecture.timm.split(".")[0], "--num-classes", "6", "--in-chans", "1"]
    command += ["--input-img-mode", "L", "--input-size", "1", side, side, "--mean", "0.5", "--std", "0.5", "--no-aug"]
    command += ["--interpolation", "bilinear", "--batch-size", str(preset.batch), "--opt", "adam", "--lr", "1e-4"]
    command += ["--epochs", "2", "--warmup-epochs", "0", "--workers", str(setting.workers), "--channels-last"]
    command += ["--device", setting.device, "--output", str(scratch), "--log-interval", "1000000"]
    command += ["--no-prefetcher"] if setting.device == "cpu" else []
    if dtype != torch.float32:
        command += ["--amp", "--amp-dtype", str(dtype).removeprefix("torch.")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    # "Train: 1 [   7/8 (100%)]  Loss: ...  Time: 0.1s, 160.00/s  (0.1s, 158.00/s)  LR: ..."
    rates = re.findall(r"Train: 1 .*\(\s*[\d.]+s,\s*([\d.]+)/s\)", done.stdout + done.stderr)
    if done.returncode or not rates:
        raise SystemExit(f"{setting.timm_script} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(rates[-1])


def epoch(batches: Batches, step: Callable[[Tensor, Tensor], None], device: str) -> float:
    """Return images per second."""
    count, start = 0, time.perf_counter()
    for x, y in batches:
        step(x, y)
        count += len(x)
    if device != "cpu":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def compare(setting: Setting) -> str:
    """Measure loading alone and training; return a table of medians and ratios."""
    preset, device = setting.preset, torch.device(setting.device)
    torch.set_num_threads(setting.threads)
    prepare_device(device)
    with tempfile.TemporaryDirectory() as scratch:
        films = make_films(Path(scratch) / "films", setting.images)
        folder = films.path[0].parents[1]
        start = time.perf_counter()
        cache = build_cache(Path(scratch) / "cache", films, (preset.resolution,) * 2, workers=max(1, setting.workers))
        print(f"cache of {setting.images} films built once in {time.perf_counter() - start:.1f} s")
        network = build_network(setting.architecture, initialisation="random").to(device)
        network = network.to(memory_format=torch.channels_last)
        training = TrainingStep(network, preset, setting.architecture.family, device)

        def learn(x: Tensor, y: Tensor) -> None:
            training.learn(x.contiguous(memory_format=torch.channels_last), y, preset.learning_rate)

        loaders: dict[str, Callable[[], Batches]] = {
            "ours": lambda: ours(training, cache.pixels, films.label, preset.batch),
            "ImageFolder": lambda: image_folder(folder, preset, setting.device, setting.workers),
            "timm's loader": lambda: timm_loader(folder, preset, setting.device, setting.workers),
        }
        # one pair of loading and training for each round
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
        for turn in range(setting.rounds + 1):
            for name, batches in loaders.items():
                pair = epoch(batches(), lambda x, y: None, setting.device), epoch(batches(), learn, setting.device)
                if turn:  # the first round warms up
                    rates[name].append(pair)
            if turn and setting.timm_script is not None:
                script = timm_script(folder, setting, training.dtype, Path(scratch) / "timm")
                rates.setdefault("timm's script", []).append((float("nan"), script))
    return table(setting, training.dtype, rates)


def table(setting: Setting, dtype: torch.dtype, rates: dict[str, list[tuple[float, float]]]) -> str:
    """Return the medians, the time of an epoch, and the medians of the ratios."""
    preset, where = setting.preset, f"{setting.device}, {setting.threads} threads, {setting.workers} workers"
    lines = [
        f"{setting.architecture.name}, {preset.resolution} px, batch {preset.batch}, {dtype}, {where}",
        f"medians of {setting.rounds} rounds; an epoch is {setting.images} images",
        f"{'':14} {'loading/s':>9} {'training/s':>10} {'epoch, s':>9}  ours / it: loading, training",
    ]
    for name, pairs in rates.items():
        ratio = [statistics.median(a[k] / b[k] for a, b in zip(rates["ours"], pairs, strict=True)) for k in (0, 1)]
        loading, training = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
        line = f"{name:14} {loading:9.0f} {training:10.1f} {setting.images / training:9.1f}"
        lines.append(f"{line}  {ratio[0]:.1f}, {ratio[1]:.2f}".replace("nan", "  -"))
    return "\n".join(lines)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes of the loaders that decode each epoch")
    parser.add_argument("--timm-script", type=Path, help="train.py of timm's repository, at the installed timm's tag")
    given = vars(parser.parse_args())
    preset = replace(PRESETS["paper"], resolution=given.pop("resolution"), batch=given.pop("batch"))
    architecture, device = find_architecture(given.pop("architecture")), resolve_device(given.pop("device"))
    print(compare(Setting(architecture=architecture, preset=preset, device=device, **given)))


if __name__ == "__main__":
    main()
