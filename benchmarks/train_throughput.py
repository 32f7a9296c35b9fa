"""Training throughput: our cache and loop against decoding each epoch, as ImageFolder and as timm do it.

Same pictures (made-up JPEGs of CheXpert-small's size), network, batch, precision, device and threads; only the
way of the pictures to the network differs. The rounds alternate, so that other load falls on all alike;
read the ratios.

    python benchmarks/train_throughput.py --architecture tf_efficientnet_lite0 --resolution 128
    python benchmarks/train_throughput.py --device cuda --resolution 320 --batch 64 --workers 8 --images 4096

``loading`` is the same without a network: what each way could feed at most.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm.data
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from xraytransfer.study.architectures import find_architecture
from xraytransfer.study.augment import augment
from xraytransfer.study.cache import build_cache
from xraytransfer.study.film_table import FilmTable, build_table
from xraytransfer.study.network import build_network
from xraytransfer.study.presets import PRESETS, Preset
from xraytransfer.study.train import make_optimizer, masked_loss, resolve_precision

Batches = Iterator[tuple[Tensor, Tensor]]


def make_films(folder: Path, count: int) -> FilmTable:
    """Write smooth pictures with noise, 390 x 320, as JPEG, in one class folder; return their table."""
    random = np.random.default_rng(0)
    (folder / "a").mkdir(parents=True)
    rows = []
    for index in range(count):
        low = Image.fromarray(random.integers(0, 256, (12, 10), dtype=np.uint8)).resize(
            (320, 390), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(low, np.int16) + random.integers(-9, 10, (390, 320))
        path = folder / "a" / f"{index:06d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        rows.append({"image": path.name, "path": path, "patient": str(index), "label": [float(index % 2)] * 6})
    return build_table("made", [f"observation_{k}" for k in range(6)], rows)


def ours(pixels: np.ndarray, label: np.ndarray, preset: Preset, device: str) -> Batches:
    """One epoch as `train.train` takes it."""
    order = np.random.default_rng(0).permutation(len(pixels))
    for start in range(0, len(order) - preset.batch + 1, preset.batch):
        chosen = order[start : start + preset.batch]
        x = torch.from_numpy(pixels[chosen])[:, None].to(device, non_blocking=True).float()
        yield augment(x, preset, torch.Generator().manual_seed(start)), torch.from_numpy(label[chosen]).to(device)


def image_folder(folder: Path, preset: Preset, device: str, workers: int) -> Batches:
    """One epoch of torchvision's ImageFolder with a DataLoader; grey, resized, no augmentation."""
    side = preset.resolution
    steps = transforms.Compose([transforms.Grayscale(), transforms.Resize((side, side)), transforms.PILToTensor()])
    loader = DataLoader(
        ImageFolder(str(folder), steps),
        preset.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device != "cpu",
    )
    for x, y in loader:
        yield x.to(device, non_blocking=True).float(), y.to(device)[:, None].expand(-1, 6).float()


def timm_loader(folder: Path, preset: Preset, device: str, workers: int) -> Batches:
    """One epoch of the loader of timm's train script, grey, its augmentation off as ours is."""
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


def epoch(batches: Batches, step: Callable[[Tensor, Tensor], None], device: str) -> float:
    """Return images per second."""
    count, start = 0, time.perf_counter()
    for x, y in batches:
        step(x, y)
        count += len(x)
    if device != "cpu":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def training_step(network: nn.Module, preset: Preset, dtype: torch.dtype) -> Callable[[Tensor, Tensor], None]:
    """Return one optimiser step."""
    optimizer = make_optimizer(network, preset)  # type: ignore[arg-type]

    def step(x: Tensor, y: Tensor) -> None:
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = network(x.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad(set_to_none=True)
        masked_loss(logits, y, None).backward()
        optimizer.step()

    return step


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
    parser.add_argument("--workers", type=int, default=0, help="of the two that decode each epoch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    preset = replace(PRESETS["paper"], resolution=given.resolution, batch=given.batch)
    row = find_architecture(given.architecture)
    with tempfile.TemporaryDirectory() as scratch:
        table = make_films(Path(scratch) / "films", given.images)
        start = time.perf_counter()
        cache = build_cache(Path(scratch) / "cache", table, (given.resolution, given.resolution))
        print(f"cache of {given.images} films built once in {time.perf_counter() - start:.1f} s")
        network = (
            build_network(row, initialisation="random").to(given.device).to(memory_format=torch.channels_last).train()
        )
        step = training_step(network, preset, resolve_precision(preset, row.family, torch.device(given.device)))
        ways: dict[str, Callable[[], Batches]] = {
            "ours": lambda: ours(cache.pixels, table.label, preset, given.device),
            "ImageFolder": lambda: image_folder(table.path[0].parents[1], preset, given.device, given.workers),
            "timm": lambda: timm_loader(table.path[0].parents[1], preset, given.device, given.workers),
        }
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(given.rounds + 1):
            for name, batches in ways.items():
                pair = epoch(batches(), lambda x, y: None, given.device), epoch(batches(), step, given.device)
                if turn:  # the first warms up
                    rates[name].append(pair)
    where = f"{given.device}, {given.threads} threads"
    print(f"{row.name}, {given.resolution} px, batch {given.batch}, {where}, images/s (median)")
    print(f"{'':12} {'loading':>9} {'training':>9}  ours / it: loading, training")
    for name, pairs in rates.items():
        ratio = [statistics.median(a[k] / b[k] for a, b in zip(rates["ours"], pairs, strict=True)) for k in (0, 1)]
        middle = [statistics.median(pair[k] for pair in pairs) for k in (0, 1)]
        print(f"{name:12} {middle[0]:9.0f} {middle[1]:9.1f}  {ratio[0]:.1f}, {ratio[1]:.2f}")


if __name__ == "__main__":
    main()
