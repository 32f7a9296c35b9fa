"""An unrelated task to pretrain toy networks on, so that the demo has pretraining without ImageNet.

The pictures are drawn shapes of eight classes, with random position, size, rotation, contrast and noise. The demo
uses a network's accuracy on them where a study uses ImageNet top-1 accuracy, and the report says so.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch.nn import functional

from xraytransfer.study.networks.architectures import Architecture

__all__ = ["CLASSES", "draw_shapes", "pretrain"]

CLASSES = ("disc", "ring", "square", "triangle", "cross", "stripes", "dots", "arc")
BATCH = 16


def draw_shapes(number: int, size: int, generator: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw pictures of shapes.

    Parameters
    ----------
    number : int
        How many pictures.
    size : int
        Side in pixels.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    tuple of ndarray
        uint8, shape (number, size, size), and class numbers, int64, shape (number,).
    """
    label = generator.integers(0, len(CLASSES), number)
    pictures = np.empty((number, size, size), np.uint8)
    for index, kind in enumerate(label):
        pictures[index] = _shape(CLASSES[kind], size, generator)
    return pictures, label


def _shape(kind: str, size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one picture: uint8, shape (size, size)."""
    ground = int(generator.integers(60, 190))
    ink = int(np.clip(ground + generator.choice((-1, 1)) * generator.integers(60, 120), 0, 255))
    side = 2 * size
    picture = Image.new("L", (side, side), ground)
    pen = ImageDraw.Draw(picture)
    half = side * generator.uniform(0.22, 0.34)
    x, y = generator.uniform(half, side - half, 2)
    box = (x - half, y - half, x + half, y + half)
    width = max(2, int(half * 0.3))
    if kind == "disc":
        pen.ellipse(box, fill=ink)
    elif kind == "ring":
        pen.ellipse(box, outline=ink, width=width)
    elif kind == "arc":
        start = generator.uniform(0, 360)
        pen.arc(box, start, start + 150, fill=ink, width=width)
    elif kind == "cross":
        pen.rectangle((x - half, y - width / 2, x + half, y + width / 2), fill=ink)
        pen.rectangle((x - width / 2, y - half, x + width / 2, y + half), fill=ink)
    elif kind in ("stripes", "dots"):
        step = half / 2
        for row in range(-2, 3):
            if kind == "stripes":
                pen.line((x - half, y + row * step, x + half, y + row * step), fill=ink, width=max(1, int(step / 3)))
            for column in range(-2, 3) if kind == "dots" else ():
                cx, cy = x + column * step, y + row * step
                pen.ellipse((cx - step / 4, cy - step / 4, cx + step / 4, cy + step / 4), fill=ink)
    else:
        corners = 4 if kind == "square" else 3
        turns = [2 * math.pi * (corner + 0.5) / corners for corner in range(corners)]
        pen.polygon([(x + half * math.cos(t), y + half * math.sin(t)) for t in turns], fill=ink)
    turned = picture.rotate(float(generator.uniform(-25, 25)), fillcolor=ground, resample=Image.Resampling.BILINEAR)
    small = np.asarray(turned.resize((size, size), Image.Resampling.BOX), float)
    noisy = small + generator.normal(0, generator.uniform(2, 8), small.shape)
    pixels: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def pretrain(architecture: Architecture, file: Path, *, pictures: int, size: int, seed: int = 0) -> float:
    """Train a timm model on shapes, save its weights, and return its accuracy on new shapes.

    Parameters
    ----------
    architecture : Architecture
        The row; its normalisation is used, as in a study.
    file : Path
        A safetensors file in timm's layout, without the classifier.
    pictures : int
        Number of training pictures, each seen once; the accuracy is measured on 512 others.
    size : int
        Side in pixels.
    seed : int
        Seed of weights and shapes.

    Returns
    -------
    float
        Accuracy in percent.
    """
    generator = np.random.default_rng([seed, 77])
    torch.manual_seed(seed)
    model = timm.create_model(architecture.timm.split(".")[0], num_classes=len(CLASSES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    steps = max(1, pictures // BATCH)
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (architecture.mean, architecture.std))

    def normalise(grey: NDArray[np.uint8]) -> torch.Tensor:
        return (torch.from_numpy(grey)[:, None].float() / 255 - mean) / std

    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        grey, label = draw_shapes(BATCH, size, generator)
        loss = functional.cross_entropy(model(normalise(grey)), torch.from_numpy(label))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    grey, label = draw_shapes(512, size, np.random.default_rng([seed, 78]))
    with torch.inference_mode():
        predicted = torch.cat([model(normalise(part)).argmax(1) for part in np.array_split(grey, 8)])
    state = model.state_dict().items()
    weights = {name: value.contiguous() for name, value in state if not name.startswith(("fc.", "classifier."))}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file)
    return float((predicted.numpy() == label).mean() * 100)
