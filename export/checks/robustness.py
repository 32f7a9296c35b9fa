"""Robustness: the test films are scored again in the forms in which other hospitals would send them.

Conventions
-----------
Each variant takes a film's grey levels, uint8, and gives what a user would hand over: a DICOM data set, an encoded
picture, or changed grey levels. All pass through the ordinary way: read, windowed, resized, scored. A change is the
absolute difference of the calibrated probability to that of the film as it is, over films and observations. A
variant that only stores the film otherwise should change nothing; one that moves or blurs it changes a little.

The small changes are those variants that another codec, another rounding or another person at the console makes. They
also give the flip widths, and the sensitivity of runs (`scripts/model_sensitivity`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from xraytransfer.classifier import Classifier
from xraytransfer.errors import ExportError
from xraytransfer.export.checks.evaluation import auroc_difference
from xraytransfer.prediction import Prediction
from xraytransfer.radiograph import Film
from xraytransfer.reading.intensity import equalise
from xraytransfer.resize import resize
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import macro_auroc

__all__ = ["SMALL_CHANGES", "VARIANTS", "Scores", "Variant", "measure_robustness", "score_films"]

_SMALLEST_CROPPED = 40


@dataclass(frozen=True)
class Variant:
    """One form in which the same film may be sent.

    Attributes
    ----------
    name, what : str
        Its name for programs, and its description for people.
    make : callable
        Takes the film, uint8 (rows, columns), and a generator; returns what `Classifier.predict` takes.
    """

    name: str
    what: str
    make: Callable[[Film, np.random.Generator], Any]


def _dicom(stored: NDArray[np.unsignedinteger[Any]], bits: int, **attributes: object) -> Dataset:
    """Return stored words as a computed radiograph."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = generate_uid(entropy_srcs=["xraytransfer robustness"])
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "PA"
    film.SamplesPerPixel, film.PixelRepresentation = 1, 0
    film.PhotometricInterpretation = "MONOCHROME2"
    film.Rows, film.Columns = stored.shape
    film.BitsAllocated = 8 * stored.itemsize
    film.BitsStored, film.HighBit = bits, bits - 1
    for keyword, value in attributes.items():
        setattr(film, keyword, value)
    film.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    film["PixelData"].VR = "OW" if stored.itemsize > 1 else "OB"
    return film


def _deep(film: Film, bits: int, generator: np.random.Generator) -> NDArray[np.uint16]:
    """Return a film with more bits, the additional ones drawn at random, as a detector would have stored it."""
    step = 1 << (bits - 8)
    fine = film.astype(np.uint32) * step + generator.integers(0, step, film.shape)
    return fine.astype(np.uint16)


def _encoded(film: Film, form: str = "PNG", **options: Any) -> bytes:
    """Return a film as the bytes of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, format=form, **options)
    return buffer.getvalue()


def _windowed(film: Film, generator: np.random.Generator, share: float, shift: float) -> Dataset:
    """Return a film of 12 bits with a window of its own: `share` of the range, moved by `shift` of it."""
    return _dicom(_deep(film, 12, generator), 12, WindowCenter=2048 + 4096 * shift, WindowWidth=4096 * share)


def _rotated(film: Film, degrees: float) -> bytes:
    """Return a film that lies turned in a picture of the same size, black in the corners."""
    return _encoded(np.asarray(Image.fromarray(film).rotate(degrees, Image.Resampling.BICUBIC)))


def _shifted(film: Film, share: float) -> bytes:
    rows, columns = (round(share * side) for side in film.shape)
    moved = np.zeros_like(film)
    moved[rows:, columns:] = film[: film.shape[0] - rows, : film.shape[1] - columns]
    return _encoded(moved)


def _one_lower(film: Film) -> bytes:
    """Return a film whose grey levels were rounded down where they had been rounded up."""
    return _encoded(np.where(film > 0, film - 1, 0).astype(np.uint8))


def _cropped(film: Film, share: float) -> bytes:
    """Return a film without `share` of its rows and columns, half of them on each side.

    A film under `_SMALLEST_CROPPED` stays whole: the reader takes none under 32 pixels.
    """
    if min(film.shape) < _SMALLEST_CROPPED:
        return _encoded(film)
    rows, columns = (max(1, round(share * side / 2)) for side in film.shape)
    return _encoded(film[rows:-rows, columns:-columns])


def _marked(film: Film) -> bytes:
    image = Image.fromarray(film)
    side = min(film.shape)
    ImageDraw.Draw(image).text((0.03 * side, 0.03 * side), "L  PORTABLE", fill=255)
    return _encoded(np.asarray(image))


def _half(film: Film) -> bytes:
    return _encoded(resize(film, (max(16, film.shape[0] // 2), max(16, film.shape[1] // 2))))


SMALL_CHANGES: tuple[Variant, ...] = (
    Variant("jpeg-90", "JPEG picture of quality 90", lambda film, _: _encoded(film, "JPEG", quality=90)),
    Variant("one-lower", "every grey level one lower", lambda film, _: _one_lower(film)),
    Variant("cropped", "1 % of the sides cut off", lambda film, _: _cropped(film, 0.01)),
    Variant("turned-2", "turned by 2 degrees", lambda film, _: _rotated(film, 2)),
)
"""Changes after which nobody would call it another film. Model files hold flip widths of these four, and the card names
them; before they change, files have to say of which changes their widths are."""
VARIANTS: tuple[Variant, ...] = (
    Variant("jpeg-80", "JPEG picture of quality 80", lambda film, _: _encoded(film, "JPEG", quality=80)),
    Variant("dicom-8", "DICOM, 8 bit", lambda film, _: _dicom(film, 8)),
    Variant("dicom-12", "DICOM, 12 bit, no window", lambda film, g: _dicom(_deep(film, 12, g), 12)),
    Variant("dicom-16", "DICOM, 16 bit, no window", lambda film, g: _dicom(_deep(film, 16, g), 16)),
    Variant(
        "monochrome1",
        "DICOM, 12 bit, stored as MONOCHROME1",
        lambda film, g: _dicom(4095 - _deep(film, 12, g), 12, PhotometricInterpretation="MONOCHROME1"),
    ),
    Variant("narrow-window", "DICOM, window of 80 % of the range", lambda film, g: _windowed(film, g, 0.8, 0.0)),
    Variant("wide-window", "DICOM, window of 125 % of the range", lambda film, g: _windowed(film, g, 1.25, 0.0)),
    Variant("dark-window", "DICOM, window moved by 10 %: darker", lambda film, g: _windowed(film, g, 1.0, 0.1)),
    Variant(
        "equalised",
        "histogram equalised, as CheXpert's and MIMIC's pictures are",
        lambda film, _: _encoded(equalise(film)),
    ),
    Variant("half-size", "half the rows and columns", lambda film, _: _half(film)),
    Variant("shifted", "moved by 5 % to the lower right", lambda film, _: _shifted(film, 0.05)),
    Variant("rotated", "turned by 5 degrees", lambda film, _: _rotated(film, 5)),
    Variant("marker", "a marker burned in", lambda film, _: _marked(film)),
    *SMALL_CHANGES,
)


def measure_robustness(
    classifier: Classifier,
    paths: Sequence[Path],
    films: Predictions,
    *,
    log: Callable[[str], None] = lambda _: None,
    variants: Sequence[Variant] = VARIANTS,
) -> list[dict[str, Any]]:
    """Score films in every variant.

    Parameters
    ----------
    classifier : Classifier
        The finished model.
    paths : sequence of Path
        The films' files, in the order of `films`.
    films : Predictions
        Their labels and patients.
    log : callable
        Takes a line for each variant.
    variants : sequence of Variant
        Which.

    Returns
    -------
    list of dict
        For each variant, the film as it is first: ``macro_auroc``; ``auroc_difference`` with its 95 % interval,
        paired by patient; ``mean_change`` and ``largest_change`` of a probability; ``relative_change``, the mean of
        its change as a share of itself; ``decisions_changed``, a share;
        ``refused``: how many the model's quality gate would refuse; ``films``.
    """
    reference = score_films(classifier, (str(path) for path in paths))
    rows: list[dict[str, Any]] = [
        {"variant": "as-is", "what": "the film as it is", "films": len(paths), "refused": reference.refused,
         "macro_auroc": macro_auroc(films.label, reference.probability)}
    ]  # fmt: skip
    for index, variant in enumerate(variants):
        generator = np.random.default_rng([0, index])
        sources = (variant.make(classifier.read(str(path)).pixels, generator) for path in paths)
        row = _compare(films, variant, score_films(classifier, sources), reference)
        rows.append(row)
        log(
            f"{variant.name}: AUROC {row['auroc_difference']:+.4f} [{row['lower']:+.4f}, {row['upper']:+.4f}], a "
            f"probability moves by {row['mean_change']:.4f} on average, {row['largest_change']:.3f} at most; "
            f"{row['refused']} refused"
        )
    return rows


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of films: probabilities and decisions [films, 6], and how many its quality gate refuses."""

    probability: NDArray[np.float64]
    decision: NDArray[np.bool_]
    refused: int


def _compare(films: Predictions, variant: Variant, scores: Scores, reference: Scores) -> dict[str, Any]:
    """Return a variant's row."""
    change = np.abs(scores.probability - reference.probability)
    difference = auroc_difference(films, scores.probability, reference.probability, np.random.default_rng(0))
    largest = np.unravel_index(int(change.argmax()), change.shape)
    return {
        "variant": variant.name,
        "what": variant.what,
        "films": len(films.image),
        "refused": scores.refused,
        "macro_auroc": macro_auroc(films.label, scores.probability),
        "auroc_difference": difference.value,
        "lower": difference.lower,
        "upper": difference.upper,
        "mean_change": float(change.mean()),
        "relative_change": float((change / reference.probability).mean()),
        "largest_change": float(change.max()),
        "largest_change_observation": str(films.observations[int(largest[1])]),
        "decisions_changed": float((scores.decision != reference.decision).mean()),
    }


def score_films(classifier: Classifier, sources: Iterator[Any]) -> Scores:
    """Score films of any form, also those that the quality gate refuses.

    Raises
    ------
    ExportError
        A film cannot be read.
    """
    probability, decisions, refused = [], [], 0
    for outcome in classifier.predict_many(sources, any_film=True):
        if not isinstance(outcome, Prediction):
            raise ExportError(f"a film of the data set is refused: {outcome.message}")
        probability.append(outcome.probability.astype(np.float64))
        decisions.append([bool(decision) for decision in outcome.decision])
        refused += outcome.acceptance is not None and not outcome.acceptance.accepted
    return Scores(np.stack(probability), np.array(decisions), refused)
