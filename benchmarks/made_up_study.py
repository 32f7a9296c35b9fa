"""A study of the paper's grid with drawn predictions, to read its report with known truth.

    python benchmarks/made_up_study.py RESULTS [--seeds 1]
    xraytransfer study report --results RESULTS --no-measure

43 cells: the paper's sixteen architectures pretrained and random, and eleven truncations of four. Families differ,
size has no effect inside a family, pretraining adds more to small networks, the first cut costs nothing and later
ones do. 668 films of 500 patients. Nothing is trained: the numbers say nothing about patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import Predictions, write_predictions
from xraytransfer.study.networks.architectures import Architecture, find_architecture

FAMILY = {
    "ResNet": 0.03,
    "DenseNet": 0.06,
    "Inception": 0.05,
    "MNASNet": -0.04,
    "EfficientNet": 0.0,
    "MobileNet": -0.05,
}
CUTS = {"densenet121": 3, "mnasnet_100": 2, "resnet18": 3, "efficientnet_b0": 3}
LOSS = (0.0, 0.0, 0.12, 0.35)
MILLIONS = dict(zip(
    ("resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "densenet169", "densenet201", "inception_v3",
     "inception_v4", "mnasnet_100", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
     "mobilenetv2_100", "mobilenetv3_large_100"),
    (11.18, 21.288, 23.52, 42.512, 6.96, 12.494, 18.104, 21.798, 41.152, 3.11, 4.015, 6.521, 7.709, 10.705,
     2.232, 4.21),
    strict=True,
))  # fmt: skip
TIMES_SMALLER = {
    "densenet121": (1, 1.63, 5.34, 20.0), "mnasnet_100": (1, 1.49, 6.57), "resnet18": (1, 4.2, 17.1, 73.8),
    "efficientnet_b0": (1, 1.4, 4.72, 13.0),
}  # fmt: skip


def main() -> None:
    """Write the run folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    rows = {name: find_architecture(name) for name in MILLIONS}
    for name, initialisation, truncation in grid():
        for seed in range(arguments.seeds):
            write_run(arguments.results, rows[name], initialisation, truncation, seed)


def grid() -> Iterator[tuple[str, str, int]]:
    """Yield architecture, initialisation and truncation of each cell."""
    for name in MILLIONS:
        yield name, "pretrained", 0
        yield name, "random", 0
    for name, most in CUTS.items():
        for truncation in range(1, most + 1):
            yield name, "pretrained", truncation


def skill(row: Architecture, initialisation: str, truncation: int, generator: np.random.Generator) -> float:
    """Return how far the logits of positives lie from those of negatives."""
    boost = 0.16 - 0.03 * np.log2(MILLIONS[row.name]) if initialisation == "pretrained" else 0.0
    return float(1.5 + FAMILY[row.family] + boost - LOSS[truncation] + 0.012 * generator.normal())


def write_run(results: Path, row: Architecture, initialisation: str, truncation: int, seed: int) -> None:
    """Write one finished run."""
    film, chance = (
        np.random.default_rng(1),
        np.random.default_rng([seed, truncation, len(initialisation), *row.name.encode()]),
    )
    names = [one.identifier for one in OBSERVATIONS]
    patient = np.sort(np.concatenate([np.arange(500), film.integers(0, 500, 168)]))
    label = (film.random((668, 6)) < 0.2).astype(np.float32)
    ease = film.normal(size=(668, 6))
    logit = (
        skill(row, initialisation, truncation, chance) * label + 0.9 * ease + 0.43 * chance.normal(size=(668, 6)) - 2
    )
    members = logit[:, None] + 0.2 * chance.normal(size=(668, 10, 6))
    folder = results / "runs" / f"{row.name}-{initialisation}-t{truncation}-s{seed}"
    (folder / "predictions").mkdir(parents=True)
    write_predictions(
        folder / "predictions" / "test.npz",
        Predictions(
            image=np.array([f"film{i:04d}.png" for i in range(668)]),
            patient=np.array([f"p{i:04d}" for i in patient]),
            examination=np.array([f"e{i:04d}" for i in patient]),
            view=np.where(np.arange(668) % 3 == 0, "AP", "PA"),
            sex=np.where(patient % 2 == 0, "F", "M"),
            age=np.full(668, 60, np.float32),
            observations=np.array(names),
            label=label,
            probability=(1 / (1 + np.exp(-members))).astype(np.float32),
            checkpoint_steps=np.arange(10, 0, -1),
            soup=None,
        ),
    )
    config = {
        "architecture": row.name, "timm": row.timm, "family": row.family, "row": row.to_dict(),
        "initialisation": initialisation, "truncation": truncation, "seed": seed, "outputs": names,
        "resolution": [320, 320], "preset": {"name": "paper"}, "label_policy": "u_ignore",
        "data": {"name": "made up", "folder": "nowhere", "views": "all", "refused": {}},
        "split": {"method": "drawn", "test": {"images": 668, "patients": 500}},
    }  # fmt: skip
    parameters = int(MILLIONS[row.name] * 1e6 / TIMES_SMALLER.get(row.name, (1,))[truncation])
    done = {"parameters": parameters, "validation_auroc": {"macro": 0.8}, "device": "none"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "done.json").write_text(json.dumps(done))
    (folder / "metrics.csv").write_text("step,examples,validation_auroc\n1,16,0.8\n")


if __name__ == "__main__":
    main()
