"""The answer on one page: each published claim beside what these runs say, with a verdict.

Conventions
-----------
Only claims with a source are listed. *agrees* and *disagrees* need an interval or a corrected p on one side; all else
is *cannot be told*, with the reason. A verdict is about these runs: other films, other training and few networks may
explain a disagreement as well as the claim's being wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xraytransfer.plural import counted
from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.question_size import families, family_sizes
from xraytransfer.study.analysis.question_truncation import MARGIN, largest_cuts, series
from xraytransfer.study.analysis.relations import correlations, pairs, patient_replicates
from xraytransfer.study.analysis.table import Column, Row, Table, interval_text, number_text, p_sentence
from xraytransfer.study.stats.bootstrap import Interval, paired_interval
from xraytransfer.study.stats.family_or_size import FamilyOrSize
from xraytransfer.study.stats.slope import mean_over_families

__all__ = ["claims_table", "summary_sentences"]

AGREES, DISAGREES, OPEN = "agrees", "disagrees", "cannot be told"

THREAD = "the authors' thread"
ABSTRACT = "the paper's abstract"
BATCH = "The Batch"


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim: the number, the verdict, and the reason."""

    here: str
    verdict: str
    why: str


def claims_table(scores: Scores, margin: float = MARGIN) -> Table:
    """Return one row per published claim.

    Parameters
    ----------
    scores : Scores
        All cells.
    margin : float
        AUROC that counts as no loss.
    """
    found = [
        ("ImageNet accuracy and AUROC are unrelated, pretrained", f"rho .06 ({THREAD}); .082 ({BATCH})",
         _unrelated(scores, "pretrained")),
        ("ImageNet accuracy and AUROC are unrelated, random weights", f"rho .08 ({THREAD}); .059 ({BATCH})",
         _unrelated(scores, "random")),
        ("Pretraining raises AUROC", f"significant ({ABSTRACT}); +.016 on average ({BATCH})", _boost(scores)),
        ("The boost is larger in smaller networks", f"rho \N{MINUS SIGN}.72 with parameters ({THREAD})",
         _boost_by_size(scores)),
        ("Without pretraining, family matters more than size", f"stated ({ABSTRACT})", _family(scores, "random")),
        ("With pretraining, families differ much more than their sizes", "Fig. 1, its caption",
         _family(scores, "pretrained")),
        ("MobileNet differs little over its sizes, random weights", f"by .005 ({BATCH})", _mobilenet(scores)),
        ("InceptionV3 and MobileNetV2 differ, random weights", f"by .052 ({BATCH})", _inception(scores)),
        ("Older designs read better than searched ones", "stated (Synced, quoting the paper)", _older(scores)),
        ("Removing one block does no harm", f"stated ({BATCH})", _cuts(scores, 1, 1, margin)),
        ("Removing more than one block hurts", f"stated ({BATCH})", _cuts(scores, 2, 99, margin)),
        ("Cut networks are smaller without a significant loss", f"3.25 times on average ({ABSTRACT})",
         _efficiency(scores, margin)),
    ]  # fmt: skip
    rows: list[Row] = [
        {"claim": claim, "published": published, "here": one.here, "verdict": one.verdict, "why": one.why}
        for claim, published, one in found
    ]
    columns = [Column(title, title.lower(), "words") for title in ("Claim", "Verdict", "Published", "Here", "Why")]
    note = (
        "Published: as read at the source in brackets; the thread and The Batch disagree on which rho is which. "
        "Differences between these runs and the paper stand in the table below it."
    )
    return Table("claims", "Each claim of the paper, and these runs", columns, rows, note)


def summary_sentences(table: Table) -> tuple[str, ...]:
    """Return one sentence that counts the verdicts."""
    counts = {kind: sum(row["verdict"] == kind for row in table.rows) for kind in (AGREES, DISAGREES, OPEN)}
    return (
        f"Of {len(table.rows)} published claims, these runs agree with {counts[AGREES]} and disagree with "
        f"{counts[DISAGREES]}; {counts[OPEN]} cannot be told from them.",
    )


def _unrelated(scores: Scores, initialisation: str) -> Finding:
    one = correlations(scores)[initialisation]
    found = one.correlation
    if math.isnan(found.p):
        return Finding(_rho(found.rho), OPEN, f"too few: networks {found.n}, families {found.families}")
    here = f"{_rho(found.rho)} ({interval_text(found.lower, found.upper, 2)}), {p_sentence(one.p_holm)}"
    if one.shown:
        return Finding(here, DISAGREES, "a relationship is shown")
    least = "not even the strongest is seen" if math.isnan(one.detectable) else f"|rho| below {one.detectable:.2f} is"
    least += "" if math.isnan(one.detectable) else " seen less than 8 times in 10"
    return Finding(here, OPEN, f"none is shown, which does not show that there is none: {least}")


def _rho(rho: float) -> str:
    return "" if math.isnan(rho) else f"rho {number_text(rho, 2)}"


def _difference(interval: Interval) -> str:
    return f"{number_text(interval.value, signed=True)} ({interval_text(interval.lower, interval.upper, signed=True)})"


def _mean_difference(ones: list[Cell], others: list[Cell]) -> Interval:
    """Return the mean of some cells less the mean of others, paired by patient."""
    value = float(np.mean([c.macro.value for c in ones]) - np.mean([c.macro.value for c in others]))
    first, second = ([c.macro_replicates for c in cells] for cells in (ones, others))
    return paired_interval(value, np.mean(first, axis=0), np.mean(second, axis=0))


def _over_networks(ones: list[Cell], others: list[Cell]) -> tuple[Interval, str]:
    """Return the mean difference of pairs of cells and what its interval holds for.

    From three families on it holds for other families, and the scatter of their means has the chance of training in it.
    """
    family = [cell.family for cell in ones]
    differences = [one.macro.value - other.macro.value for one, other in zip(ones, others, strict=True)]
    drawn = patient_replicates(ones) - patient_replicates(others)
    mean, lower, upper, _ = mean_over_families(differences, family, drawn)
    if math.isnan(lower):
        networks = len({cell.architecture for cell in ones})
        return _mean_difference(ones, others), f"for {counted(networks, 'network')} only"
    return Interval(mean, lower, upper, len(drawn), 0), f"mean of {len(set(family))} families"


def _chance_unknown(scores: Scores, why: str) -> bool:
    """Return whether an interval lacks the chance of training: one seed each, and no scatter of families in it."""
    return scores.seed_sd[1] < 1 and not why.endswith("families")


ONE_NETWORK = "1 network only, and the claim is one on average"
ONE_SEED = "one seed each: the interval lacks the chance of training"


def _side(scores: Scores, interval: Interval, why: str) -> Finding:
    """Return the verdict on a claim that a difference is above 0."""
    if _chance_unknown(scores, why):
        return Finding(_difference(interval), OPEN, f"{why}; {ONE_SEED}")
    verdict = AGREES if interval.lower > 0 else DISAGREES if interval.upper < 0 else OPEN
    return Finding(_difference(interval), verdict, f"{why}; the interval holds 0" if verdict == OPEN else why)


def _boost(scores: Scores) -> Finding:
    both = pairs(scores)
    if not both:
        return Finding("", OPEN, "no network was trained both ways")
    interval, why = _over_networks([one for one, _ in both], [two for _, two in both])
    if len(both) == 1:
        return Finding(_difference(interval), OPEN, ONE_NETWORK)
    found = _side(scores, interval, why)
    if found.verdict == OPEN:
        alone = _mean_difference([one for one, _ in both], [two for _, two in both])
        return Finding(found.here, OPEN, f"{found.why}; for these networks alone {_difference(alone)}")
    size = "holds .016" if interval.lower <= 0.016 <= interval.upper else "does not hold .016"
    return Finding(found.here, found.verdict, f"{found.why}; the interval {size}")


def _boost_by_size(scores: Scores) -> Finding:
    one = correlations(scores)["boost"]
    found = one.correlation
    if math.isnan(found.p):
        return Finding(_rho(found.rho), OPEN, f"{counted(found.n, 'network')} trained both ways: too few")
    here = f"{_rho(found.rho)} ({interval_text(found.lower, found.upper, 2)}), {p_sentence(one.p_holm)}"
    if not one.shown:
        return Finding(here, OPEN, "the interval holds 0" if found.lower < 0 < found.upper else "not after Holm")
    return Finding(here, AGREES if found.rho < 0 else DISAGREES, "shown after Holm's correction")


def _family(scores: Scores, initialisation: str) -> Finding:
    one = family_sizes(scores).get(initialisation)
    if one is None or one.verdict == "too few":
        return Finding("", OPEN, "too few families with several sizes")
    if one.verdict == "one seed":
        return Finding("", OPEN, "one seed each: chance and size cannot be told apart")
    split = one.split
    here = f"{100 * split.share:.0f} % of the variance ({100 * split.lower:.0f} to {100 * split.upper:.0f} %)"
    if math.isnan(split.share):
        here = "neither beyond chance"
    verdict = {"family": AGREES, "size": DISAGREES, "undecided": OPEN}[one.verdict]
    why = f"{split.families} families"
    return Finding(here, verdict, f"{why}: {_undecided(one)}" if verdict == OPEN else why)


def _undecided(one: FamilyOrSize) -> str:
    """Return why it is undecided whether family or size matters more."""
    split = one.split
    if math.isnan(split.share):
        return "neither explains more than chance"
    if split.lower <= 0.5 <= split.upper:
        return "the interval is too wide"
    if split.lower > 0.5 >= one.adjusted_lower:
        return "a slope on size could explain as much"
    p = max(split.p, one.adjusted_p) if split.lower > 0.5 else split.p_size
    return f"chance could explain as much, {p_sentence(p)} before correction"


def _mobilenet(scores: Scores) -> Finding:
    members = families(scores.whole("random")).get("MobileNet", [])
    if len(members) < 2:
        return Finding("", OPEN, f"{counted(len(members), 'MobileNet')} with random weights, 2 are needed")
    interval = members[-1].minus(members[0])
    why = "largest minus smallest"
    if _chance_unknown(scores, why):
        return Finding(_difference(interval), OPEN, f"{why}; {ONE_SEED}")
    if max(abs(interval.lower), abs(interval.upper)) < 0.02:
        return Finding(_difference(interval), AGREES, f"{why}; surely below .02")
    if interval.lower > 0.005 or interval.upper < -0.005:
        return Finding(_difference(interval), DISAGREES, f"{why}; surely above .005")
    return Finding(_difference(interval), OPEN, f"{why}; the interval is too wide")


def _inception(scores: Scores) -> Finding:
    one, two = (scores.find(name, "random") for name in ("inception_v3", "mobilenetv2_100"))
    if one is None or two is None:
        return Finding("", OPEN, "inception_v3 and mobilenetv2_100 with random weights are needed")
    interval = one.minus(two)
    holds = "holds .052" if interval.lower <= 0.052 <= interval.upper else "does not hold .052"
    return _side(scores, interval, f"the interval {holds}")


SEARCHED = ("EfficientNet", "MNASNet", "MobileNet")
OLDER = ("ResNet", "DenseNet", "Inception")


def _older(scores: Scores) -> Finding:
    older = [c for c in scores.whole("pretrained") if c.family in OLDER]
    searched = [c for c in scores.whole("pretrained") if c.family in SEARCHED]
    if not older or not searched:
        return Finding("", OPEN, f"{len(older)} older, {len(searched)} searched networks, pretrained")
    why = f"{len(older)} ResNet, DenseNet, Inception less {len(searched)} EfficientNet, MNASNet, MobileNet, pretrained"
    why += f"; for these {len(older) + len(searched)} networks only"
    return _side(scores, _mean_difference(older, searched), why)


def _cuts(scores: Scores, least: int, most: int, margin: float) -> Finding:
    """Return the verdict on the mean over the networks that were cut by so many stages: no harm, or harm."""
    chosen = [(cut, cells[0]) for cells in series(scores) for cut in cells[1:] if least <= cut.truncation <= most]
    if not chosen:
        return Finding("", OPEN, "no such cut was trained")
    interval, why = _over_networks([cut for cut, _ in chosen], [whole for _, whole in chosen])
    if len({cut.architecture for cut, _ in chosen}) == 1:
        return Finding(_difference(interval), OPEN, ONE_NETWORK)
    if _chance_unknown(scores, why):
        return Finding(_difference(interval), OPEN, f"{why}; {ONE_SEED}")
    if least > 1:
        verdict = AGREES if interval.upper < 0 else DISAGREES if interval.lower > -margin else OPEN
        return Finding(_difference(interval), verdict, why)
    verdict = AGREES if interval.lower > -margin else DISAGREES if interval.upper < 0 else OPEN
    return Finding(_difference(interval), verdict, f"{why}; no harm is a loss below {margin:g}")


def _efficiency(scores: Scores, margin: float) -> Finding:
    rows = [row for row in largest_cuts(scores, margin) if row["initialisation"] == "pretrained"]
    if not rows:
        return Finding("", OPEN, "no pretrained network was cut")
    significant, shown = (
        float(np.mean([row[key] for row in rows])) for key in ("times_smaller", "within_times_smaller")
    )
    here = f"{significant:.2f} times not significantly worse; {shown:.2f} times within {margin:g}"
    if _chance_unknown(scores, ""):
        return Finding(here, OPEN, ONE_SEED)
    why = f"{counted(len(rows), 'network')}; not significant is no proof of no loss"
    return Finding(here, AGREES if shown > 1.05 else OPEN if significant > 1.05 else DISAGREES, why)
