"""The secondary capture: a prediction as one colour picture, for archives and viewers that show nothing else.

Conventions
-----------
One RGB picture: the film, then one panel per observation with its activation map over the film, its probability
and its decision, between two banners with the research notice. Everything is burned in. The maps explain a
probability; they do not locate findings, and the picture says so.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from xraytransfer.observations import OBSERVATIONS
from xraytransfer.overlay import overlay
from xraytransfer.plural import counted
from xraytransfer.reading.patient import ANIMAL, UNDER_18
from xraytransfer.serve.dicom_results.equipment import BANNER, MANUFACTURER, complete, parameters
from xraytransfer.serve.dicom_results.identity import Identity, identify
from xraytransfer.serve.dicom_results.uids import instance_uid, kind_of_result, series_uid

if TYPE_CHECKING:
    from xraytransfer.prediction import Prediction

__all__ = ["SERIES_NUMBER", "picture", "secondary_capture"]

SERIES_NUMBER = 9802
_PANEL = 512  # longest side of a panel in pixels: seven fit on a reading screen
_COLUMNS = 4
_CAPTION, _BANNER, _GAP = 44, 40, 8
_Style: TypeAlias = tuple[int, tuple[int, int, int]]  # size in pixels, colour
_BLACK, _WHITE, _AMBER, _GREY = (0, 0, 0), (255, 255, 255), (255, 190, 60), (185, 185, 185)


def secondary_capture(dataset: Dataset, pixels: NDArray[np.uint8], prediction: Prediction) -> Dataset:
    """Return a prediction as a DICOM Secondary Capture in the film's examination.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The film; pixels are not needed. Patient and examination are copied from it.
    pixels : ndarray
        uint8, shape (rows, columns), MONOCHROME2 sense: the film as it was read for the model.
    prediction : Prediction
        The model's prediction for it.

    Returns
    -------
    pydicom.Dataset
        A Secondary Capture Image with file meta information, RGB, Explicit VR Little Endian, uncompressed.
        The same film and model give the same object, byte for byte.

    Raises
    ------
    ServeError
        The film lacks a valid UID of its own, its class, its series or its examination.

    References
    ----------
    PS3.3 A.8.1, C.8.6.1 (conversion type), C.7.6.1 (derivation).
    """
    identity = identify(dataset)
    model = prediction.model
    capture = SCImage.from_ref_dataset(
        ref_dataset=identity.evidence(),
        pixel_array=np.asarray(picture(pixels, prediction)),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        series_instance_uid=series_uid(identity.study_uid, "SC", model),
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance_uid(
            identity.study_uid, identity.sop_instance_uid, kind_of_result("SC", prediction), model
        ),
        instance_number=identity.instance_number,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    complete(capture, identity, model, "Activation maps")
    _describe(capture, dataset, identity, prediction)
    return capture


def _describe(capture: Dataset, film: Dataset, identity: Identity, prediction: Prediction) -> None:
    """Write the attributes that describe the picture and its source."""
    capture.ConversionType = "WSD"  # workstation
    capture.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    capture.BodyPartExamined = "CHEST"
    capture.PatientOrientation = None  # a montage has none
    capture.BurnedInAnnotation = "YES"
    capture.RecognizableVisualFeatures = "NO"
    capture.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    capture.SecondaryCaptureDeviceManufacturerModelName = prediction.model.name[:64]
    maps = f"{BANNER}. Maps explain a probability; they do not locate findings."
    capture.ImageComments = " ".join((*prediction.cautions, maps))
    derivation = f"Class activation maps over the film; model {prediction.model.name} {prediction.model.version}; "
    capture.DerivationDescription = (derivation + "; ".join(parameters(prediction)))[:1024]
    source = Dataset()
    source.ReferencedSOPClassUID = identity.sop_class_uid
    source.ReferencedSOPInstanceUID = identity.sop_instance_uid
    purpose = Dataset()
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code.value, "DCM", code.meaning
    source.PurposeOfReferenceCodeSequence = [purpose]
    capture.SourceImageSequence = [source]
    # once lossy, always lossy: PS3.3 C.7.6.1.1.5
    if str(film.get("LossyImageCompression", "")).strip() == "01":
        capture.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if film.get(keyword):
                setattr(capture, keyword, film[keyword].value)


def picture(pixels: NDArray[np.uint8], prediction: Prediction) -> Image.Image:
    """Return the picture: RGB, film and six panels in two rows, captions and banners burned in.

    Parameters
    ----------
    pixels : ndarray
        uint8, shape (rows, columns), MONOCHROME2 sense.
    prediction : Prediction
    """
    brightest = prediction.full_scale  # one scale for all six: weak evidence looks weak
    scale = _PANEL / max(pixels.shape)
    width, height = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    film = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    cell = max(width, 300)  # a caption needs room beside a narrow film too
    rows = -(-(len(OBSERVATIONS) + 2) // _COLUMNS)
    size = (
        _COLUMNS * (cell + _GAP) + _GAP,
        2 * _BANNER + rows * (height + _CAPTION + _GAP) + _GAP,
    )
    canvas = Image.new("RGB", size, _BLACK)
    draw = ImageDraw.Draw(canvas)
    for position in range(len(OBSERVATIONS) + 2):
        row, column = divmod(position, _COLUMNS)
        left = _GAP + column * (cell + _GAP)
        top = _BANNER + _GAP + row * (height + _CAPTION + _GAP)
        if position == len(OBSERVATIONS) + 1:
            _legend(draw, (left, top + _CAPTION), cell, prediction)
            continue
        panel = (
            film
            if position == 0
            else overlay(film, prediction.activation_map[position - 1], size=None, full_scale=brightest)
        )
        canvas.paste(Image.fromarray(np.asarray(panel)).convert("RGB"), (left, top + _CAPTION))
        _caption(draw, (left, top), cell, position - 1, prediction)
    _banner(draw, (0, 0, size[0], _BANNER), ". ".join((BANNER, *_warnings(prediction))))
    _banner(draw, (0, size[1] - _BANNER, size[0], size[1]), BANNER)
    return canvas


def _warnings(prediction: Prediction) -> list[str]:
    """Return what the upper banner says beside the research notice."""
    words = {UNDER_18: "Patient under 18: outside the intended use", ANIMAL: "Animal: outside the intended use"}
    refused = [] if prediction.doubt is None else ["Film refused, scored on demand"]
    return [*refused, *(words[note] for note in prediction.unintended)]


def _caption(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, observation: int, prediction: Prediction
) -> None:
    """Write a panel's name, probability and decision."""
    if observation < 0:
        _line(draw, corner, width, "The film", (20, _WHITE))
        return
    probability, threshold = prediction.probability[observation], prediction.thresholds[observation]
    decision = prediction.decision[observation]
    title = f"{OBSERVATIONS[observation].name} {probability:.3f}"
    _line(draw, corner, width, title, (20, _AMBER if decision else _WHITE))
    below = "no operating point"
    if threshold is not None:
        below = f"{'at or above' if decision else 'below'} threshold {threshold:.3f}"
    _line(draw, (corner[0], corner[1] + 23), width, below, (15, _GREY))


def _legend(draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, prediction: Prediction) -> None:
    """Write which model answered and how the panels are to be read."""
    model = prediction.model
    lines = (
        f"Model {model.name} {model.version}",
        f"sha256 {model.sha256[:16]}",
        counted(len(prediction.member_probability), "member"),
        f"Operating point {prediction.operating_point or 'none'}",
        "",
        "Maps explain a probability.",
        "They do not locate findings.",
        "Below a threshold rules nothing out.",
        "Read the original film.",
    )
    for i, line in enumerate(lines):
        _line(draw, (corner[0], corner[1] + 24 * i), width, line, (16, _GREY))


def _banner(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], text: str) -> None:
    """Burn the notice in: black on amber, over the whole width."""
    draw.rectangle(box, fill=_AMBER)
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    draw.text(middle, text.upper(), fill=_BLACK, font=_font(24), anchor="mm")


@functools.lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _line(draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, text: str, style: _Style) -> None:
    """Write one line, smaller if it does not fit."""
    size, colour = style
    font = _font(size)
    while size > 9 and draw.textlength(text, font=font) > width:
        size -= 1
        font = _font(size)
    draw.text(corner, text, fill=colour, font=font)
