"""How often the study's statistics claim what is not there, and how often their intervals hold the truth.

    nice -n 10 python benchmarks/study_claims.py [--studies 1000] [--networks 16 8 5] [--seeds 1 2 3]

Studies on the paper's grid are drawn, with and without effects, with 1 to 3 seeds and 5, 8 or 16 networks, each
pretrained and random, and judged by the functions that the report uses. Printed as Markdown, in percent:

size     "larger models of a family read better (or worse)", where size has no effect (wrong) or has one (seen)
family   "family (or size) matters more", where that is not so (wrong) or is (seen)
rho      "AUROC rises (or falls) with accuracy", where accuracy shares only its family with AUROC, or nothing (wrong)
coverage of the slope, of the family's share where its truth is defined, and of rho

A claim counts once a study, after Holm's correction, in either initialisation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from xraytransfer.study.stats.correlation import correlate, holm
from xraytransfer.study.stats.family_or_size import family_or_size
from xraytransfer.study.stats.slope import size_slope

SIZE = np.array([11.2, 21.3, 23.5, 42.5, 7.0, 12.5, 18.1, 21.8, 41.2, 3.1, 4.0, 6.5, 7.7, 10.7, 2.2, 4.2])
"""Millions of parameters of the paper's sixteen, as `FAMILY` groups them."""

FAMILY = np.repeat(["ResNet", "DenseNet", "Inception", "MNASNet", "EfficientNet", "MobileNet"], [4, 3, 2, 1, 4, 2])

NETWORKS = {16: np.arange(16), 8: np.array([0, 1, 2, 4, 5, 6, 14, 15]), 5: np.array([0, 1, 4, 5, 10])}

TRUTHS = {
    "nothing": (0.0, 0.0, 0.0),
    "family only": (0.010, 0.0, 0.0),
    "size only": (0.0, 0.0, 0.004),
    "own level of each size": (0.0, 0.010, 0.0),
    "both": (0.010, 0.003, 0.004),
    "nothing, noise shared by size": (0.0, 0.0, 0.0),
}
"""SD between families, SD of each network within its family, AUROC for each doubling of the parameters."""

PATIENTS, SEED = 0.002, 0.003
"""SD of the patients' noise, and of the chance of training."""

SHARED = "nothing, noise shared by size"
"""The truth in which networks of like size err on the same patients; elsewhere each network's noise is its own."""


@dataclass
class Tally:
    """What was claimed and covered in the studies of one row."""

    size: list[bool] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    rho: list[bool] = field(default_factory=list)
    slope_covered: list[bool] = field(default_factory=list)
    share_covered: list[bool] = field(default_factory=list)
    rho_covered: list[bool] = field(default_factory=list)


def draw_study(networks: int, seeds: int, truth: str, rng: np.random.Generator, tally: Tally) -> None:
    """Draw one study of both initialisations, judge it, and add the result to the tally."""
    rows = NETWORKS[networks]
    family, size = FAMILY[rows], SIZE[rows]
    of_families, of_networks, slope = TRUTHS[truth]
    names, index = np.unique(family, return_inverse=True)
    # accuracy on ImageNet, of which 80 % of the variance is the family's, and none has to do with AUROC
    accuracy = np.sqrt(0.8) * rng.normal(size=len(names))[index] + np.sqrt(0.2) * rng.normal(size=networks)
    noise = PATIENTS * noise_factor(size, shared=truth == SHARED).T
    slopes, rhos, verdicts = [], [], set()
    for _ in range(2):
        level = of_families * rng.normal(size=len(names))[index] + of_networks * rng.normal(size=networks)
        measured = level + slope * np.log2(size) + rng.normal(size=networks) @ noise
        runs = np.repeat(measured, seeds) + SEED * rng.normal(size=networks * seeds)
        mean = runs.reshape(networks, seeds).mean(axis=1)
        patients = mean + rng.normal(size=(200, networks)) @ noise
        slopes.append(size_slope(mean, size, family.tolist(), patients))
        rhos.append(correlate(accuracy, mean, family.tolist(), patients))
        split = family_or_size(
            runs, np.repeat(family, seeds).tolist(), np.repeat(rows, seeds).astype(str).tolist(),
            np.repeat(size, seeds), rng, patients=np.repeat(patients, seeds, axis=1), tests=2, replicates=300,
        )  # fmt: skip
        verdicts.add(split.verdict)
        if not slope and of_families + of_networks and not np.isnan(split.split.lower):
            share = of_families**2 / (of_families**2 + of_networks**2)
            tally.share_covered.append(bool(split.split.lower <= share <= split.split.upper))
    tally.slope_covered += [bool(one.lower <= slope <= one.upper) for one in slopes if not np.isnan(one.p)]
    tally.size.append(bool((holm([one.p for one in slopes]) < 0.05).any()))
    tally.rho_covered += [bool(one.lower <= 0 <= one.upper) for one in rhos if not np.isnan(one.p)]
    tally.rho.append(bool((holm([one.p for one in rhos]) < 0.05).any()))
    tally.split.append("family" if "family" in verdicts else "size" if "size" in verdicts else "none")


def noise_factor(size: np.ndarray, *, shared: bool) -> np.ndarray:
    """Return the Cholesky factor of the noise's correlation: where shared, .37 at twice the size, and less beyond."""
    distance = np.abs(np.subtract.outer(np.log2(size), np.log2(size)))
    return np.linalg.cholesky(np.exp(-distance)) if shared else np.eye(len(size))


def table(studies: int, seed: int, grids: Sequence[int], repeats: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table."""
    for networks in grids:
        for seeds in repeats:
            for number, truth in enumerate(TRUTHS):
                tally, rng = Tally(), np.random.default_rng([seed, networks, seeds, number])
                for _ in range(studies):
                    draw_study(networks, seeds, truth, rng, tally)
                yield str(networks), str(seeds), truth, *cells(tally, truth)


def wrong_claims(tally: Tally, truth: str) -> dict[str, float]:
    """Return the shares of studies with a wrong claim, by kind; a claim that is right is left out."""
    of_families, of_networks, slope = TRUTHS[truth]
    wrong = {"rho": float(np.mean(tally.rho))}
    if not slope:
        wrong["size"] = float(np.mean(tally.size))
    claims = np.array(tally.split)
    if not of_families:
        wrong["family"] = float(np.mean(claims == "family"))
    if not of_networks and not slope:
        wrong["size over family"] = float(np.mean(claims == "size"))
    return wrong


def cells(tally: Tally, truth: str) -> tuple[str, ...]:
    """Return the cells of one row after its first three."""
    _, _, slope = TRUTHS[truth]
    wrong = wrong_claims(tally, truth)
    claims = np.array(tally.split)

    def percent(share: float) -> str:
        return f"{100 * share:.1f}"

    def covered(found: list[bool]) -> str:
        return percent(float(np.mean(found))) if found else "none given"

    return (
        f"{percent(float(np.mean(tally.size)))} {'seen' if slope else 'wrong'}",
        f"{percent(float(np.mean(claims == 'family')))} {'wrong' if 'family' in wrong else 'seen'}",
        f"{percent(float(np.mean(claims == 'size')))} {'wrong' if 'size over family' in wrong else 'seen'}",
        percent(wrong["rho"]),
        covered(tally.slope_covered),
        covered(tally.share_covered),
        covered(tally.rho_covered),
    )


HEAD = (
    "networks", "seeds", "truth", "size", "family more", "size more", "rho, wrong", "slope covered", "share covered",
    "rho covered",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", choices=(1, 2, 3), default=[1, 2, 3])
    arguments = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |")
    print("| " + " | ".join("---" for _ in HEAD) + " |")
    for row in table(arguments.studies, arguments.seed, arguments.networks, arguments.seeds):
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
