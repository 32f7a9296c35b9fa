from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from xraytransfer.errors import RadiographError
from xraytransfer.reading.elements import Elements, from_dataset
from xraytransfer.reading.projection import check_projection, check_view

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"


def header(*, pixels: bool = True, **attributes: object) -> Elements:
    dataset = Dataset()
    if pixels:
        dataset.PixelData = b"\0\0"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return from_dataset(dataset)


def item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("sop_class", "modality", "part", "notes"),
    [
        (CR, "CR", "CHEST", 0),
        (DX, "DX", "CHEST", 0),
        ("1.2.840.10008.5.1.4.1.1.1.1.1", "DX", None, 1),  # for processing
        (SC, "CR", None, 0),
        (SC, "DX", "THORAX", 0),
        ("1.2.840.10008.5.1.4.1.1.7.2", "RG", "", 0),
        ("1.2.840.10008.5.1.4.1.1.7.3", "DR", None, 0),
        # Headers lie: the SOP class wins.
        (CR, "CT", "CHEST", 1),
        (CR, "OT", "CHEST", 1),
        (CR, None, "CHEST", 1),
        (CR, "CR", "RIBCAGE", 0),
        (CR, "CR", "SOMETHING", 0),
        # Modality says nothing: body part or view has to.
        (SC, "OT", "CHEST", 1),
        (SC, None, "LUNG", 1),
        (None, "CR", None, 1),
        (None, None, "CHEST", 1),
    ],
)
def test_accepted(sop_class: str | None, modality: str | None, part: str | None, notes: int) -> None:
    attributes = {"SOPClassUID": sop_class, "Modality": modality, "BodyPartExamined": part}
    found = check_projection(header(**{key: value for key, value in attributes.items() if value is not None}))
    assert len(found) == notes


@pytest.mark.parametrize("attributes", [{}, {"SOPClassUID": SC}])
def test_a_header_that_was_cut_off_is_damaged(attributes: dict[str, str]) -> None:
    with pytest.raises(RadiographError, match="fetch the file again") as refused:
        check_projection(header(pixels=False, **attributes))
    assert refused.value.reason == "corrupt"


@pytest.mark.parametrize(
    ("sop_class", "modality", "part", "message"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT", "CHEST", "the SOP class is CT"),
        ("1.2.840.10008.5.1.4.1.1.2", "CR", "CHEST", "the SOP class is CT"),
        ("1.2.840.10008.5.1.4.1.1.4", "MR", None, "the SOP class is MR"),
        ("1.2.840.10008.5.1.4.1.1.6.1", "US", None, "the SOP class is Ultrasound"),
        ("1.2.840.10008.5.1.4.1.1.20", "NM", None, "Nuclear Medicine"),
        ("1.2.840.10008.5.1.4.1.1.128", "PT", None, "PET"),
        ("1.2.840.10008.5.1.4.1.1.1.2", "MG", None, "Mammography"),
        ("1.2.840.10008.5.1.4.1.1.12.2", "RF", "CHEST", "Radiofluoroscopy"),
        ("1.2.840.10008.5.1.4.1.1.88.11", "SR", None, "the SOP class is 1.2.840.10008.5.1.4.1.1.88.11"),
        ("../../etc", "CR", None, "the SOP class is unknown"),
        (SC, "CT", "CHEST", "Modality is CT, in a Secondary Capture object"),
        (SC, "US", None, "Modality is US"),
        (SC, None, None, "neither SOP class, Modality, body part nor view"),
        (SC, "OT", "HEAD", "neither SOP class"),
        (None, "MR", None, "Modality is MR"),
        (CR, "MG", "CHEST", "Modality is MG"),
        (CR, "CR", "EXTREMITY", "the body part is EXTREMITY"),
        (CR, "CR", "HAND", "the body part is HAND"),
        (DX, "DX", "TSPINE", "the body part is TSPINE"),
        (DX, "DX", "THORACIC SPINE", "the body part is THORACICSPINE"),
        (DX, "DX", "SKULL", "the body part is SKULL"),
        (DX, "DX", "ABDOMEN", "the body part is ABDOMEN"),
    ],
)
def test_refused(sop_class: str | None, modality: str | None, part: str | None, message: str) -> None:
    attributes = {"SOPClassUID": sop_class, "Modality": modality, "BodyPartExamined": part}
    found = {key: value for key, value in attributes.items() if value is not None}
    if sop_class == "../../etc":
        found.pop("SOPClassUID")
    elements = header(**found)
    if sop_class == "../../etc":
        elements["SOPClassUID"] = type(elements["Modality"])("UI", memoryview(b"../../etc"))
    with pytest.raises(RadiographError, match=message) as caught:
        check_projection(elements)
    assert caught.value.reason == "not-a-radiograph"


def test_body_part_by_code() -> None:
    region = [item(CodeValue="85562004", CodingSchemeDesignator="SCT", CodeMeaning="Hand")]
    with pytest.raises(RadiographError, match="body part is HAND"):
        check_projection(header(SOPClassUID=DX, Modality="DX", AnatomicRegionSequence=region))


@pytest.mark.parametrize(
    ("written", "view"),
    [
        ("PA", "PA"),
        ("AP", "AP"),
        ("pa", "PA"),
        ("AP SUPINE", "AP"),
        ("CHEST_PA", "PA"),
        ("POSTERO-ANTERIOR", "PA"),
        ("ANTEROPOSTERIOR", "AP"),
        ("LLD", "LLD"),
        ("", None),
        ("Doe^Jane", None),
    ],
)
def test_view_position(written: str, view: str | None) -> None:
    elements = header(ViewPosition="PA")
    elements["ViewPosition"] = type(elements["ViewPosition"])("CS", memoryview(written.encode()))
    assert check_view(elements)[0] == view


@pytest.mark.parametrize(
    "written", ["LL", "RL", "LATERAL", "LAT", "L LAT", "AP LAT", "lateral", "RLO", "LAO", "OBLIQUE"]
)
def test_lateral_and_oblique_views_are_refused(written: str) -> None:
    elements = header(ViewPosition="PA")
    elements["ViewPosition"] = type(elements["ViewPosition"])("CS", memoryview(written.encode()))
    with pytest.raises(RadiographError, match="only frontal films") as caught:
        check_view(elements)
    assert caught.value.reason == "not-frontal"


@pytest.mark.parametrize(
    ("code", "meaning", "view"),
    [
        ("399348003", "antero-posterior projection", "AP"),
        ("R-10214", "postero-anterior", "PA"),
        ("X", "Postero-anterior", "PA"),
        ("X", "something", None),
    ],
)
def test_view_by_code(code: str, meaning: str, view: str | None) -> None:
    codes = [item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning=meaning)]
    assert check_view(header(ViewCodeSequence=codes))[0] == view


@pytest.mark.parametrize(("code", "meaning"), [("399173006", "x"), ("X", "left lateral"), ("X", "right oblique")])
def test_lateral_by_code(code: str, meaning: str) -> None:
    codes = [item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning=meaning)]
    with pytest.raises(RadiographError, match="the view code says"):
        check_view(header(ViewCodeSequence=codes))


def test_lateral_by_patient_orientation() -> None:
    with pytest.raises(RadiographError, match="patient orientation is that of a lateral film"):
        check_view(header(PatientOrientation=["A", "F"]))
    view, notes = check_view(header(PatientOrientation=["P", "F"], ViewPosition="PA"))
    assert view == "PA"
    assert "lateral" in notes[0]


def test_usual_and_mirrored_orientation() -> None:
    assert check_view(header(PatientOrientation=["L", "F"])) == (None, [])
    assert "mirrored" in check_view(header(PatientOrientation=["R", "F"]))[1][0]
    assert "upside down" in check_view(header(PatientOrientation=["L", "H"]))[1][0]
