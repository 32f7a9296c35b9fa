from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from xraytransfer.errors import RadiographError
from xraytransfer.reading.dicom_file import parse_file
from xraytransfer.reading.elements import Element, Elements, from_dataset

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


def element(group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Write one element, explicit little endian; `length` may lie."""
    size = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return struct.pack("<HH2sHI", group, number, vr.encode(), 0, size) + value
    return struct.pack("<HH2sH", group, number, vr.encode(), size) + value


def file(*elements: bytes, syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    return b"\0" * 128 + b"DICM" + element(2, 0x10, "UI", syntax) + b"".join(elements)


def parse(data: bytes, max_bytes: int = 1 << 20) -> tuple[Elements, list[str]]:
    return parse_file(memoryview(data), max_bytes=max_bytes)


ROWS = element(0x28, 0x10, "US", struct.pack("<H", 2500))
UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_reads_what_pydicom_reads(sample_film: Callable[[str], Path]) -> None:
    for name in ("RG1_UNCR", "RG1_J2KI", "693_UNCR", "emri_small_big_endian", "vlut_04", "mlut_18", "liver_expb"):
        path = sample_film(name)
        ours, _ = parse(path.read_bytes(), 1 << 30)
        theirs = from_dataset(dcmread(path))
        assert set(ours) == set(theirs), name
        for keyword in set(ours) - {"PixelData"}:
            if ours[keyword].vr == "SQ":
                pairs = zip(ours.sequence(keyword), theirs.sequence(keyword), strict=True)
                assert all(set(one) == set(other) for one, other in pairs)
            else:
                assert ours.texts(keyword) == theirs.texts(keyword), (name, keyword)
                assert ours[keyword].numbers() == theirs[keyword].numbers(), (name, keyword)


def test_text_and_numbers() -> None:
    header, _ = parse(
        file(
            element(8, 0x60, "CS", b"CR"),
            ROWS,
            element(0x28, 0x1050, "DS", b"2048\\ 1,5 \\nan\\1e999\\x"),
            element(0x28, 0x1051, "DS", b""),
        )
    )
    assert header.text("Modality") == "CR"
    assert header.integer("Rows") == 2500
    assert header["WindowCenter"].numbers() == [2048, 1.5, None, None, None]
    assert header.decimal("WindowWidth") is None
    assert header.text("WindowWidth") == ""
    assert header.decimal("RescaleSlope") is None
    assert header.texts("PatientOrientation") == []
    assert header.sequence("VOILUTSequence") == []


def test_only_wanted_elements_are_kept() -> None:
    header, _ = parse(file(element(0x10, 0x10, "PN", b"Doe^Jane"), ROWS))
    assert set(header) == {"TransferSyntaxUID", "Rows"}


def test_the_first_of_two_counts() -> None:
    header, _ = parse(file(ROWS, element(0x28, 0x10, "US", b"\1\0")))
    assert header.integer("Rows") == 2500


def test_implicit_where_the_header_says_explicit_is_noted() -> None:
    header, notes = parse(file(struct.pack("<HHIH", 0x28, 0x10, 2, 2500)))
    assert header.integer("Rows") == 2500
    assert notes == ["the value representation is implicit, not as the header says"]


def test_without_preamble_or_file_meta() -> None:
    header, notes = parse(element(8, 0x60, "CS", b"CR") + ROWS)
    assert header.integer("Rows") == 2500
    assert "no preamble" in notes
    assert any("no transfer syntax" in note for note in notes)


def test_sequences_of_both_lengths_and_unknown_representation() -> None:
    inner = element(0x28, 0x3002, "US", struct.pack("<3H", 4, 0, 8)) + element(0x28, 0x3006, "OW", b"\0\1\2\3")
    implicit = struct.pack("<HHI3H", 0x28, 0x3002, 6, 4, 0, 8) + struct.pack("<HHI", 0x28, 0x3006, 4) + b"\0\1\2\3"
    defined = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    forms = [
        element(0x28, 0x3010, "SQ", defined),
        element(0x28, 0x3010, "SQ", defined + SEQUENCE_END, UNDEFINED),
        element(0x28, 0x3010, "SQ", ITEM + inner + ITEM_END + SEQUENCE_END, UNDEFINED),
        element(0x28, 0x3010, "UN", ITEM + implicit + ITEM_END + SEQUENCE_END, UNDEFINED),
    ]
    for form in forms:
        header, _ = parse(file(form, element(0x28, 0x10, "US", b"\7\0")))
        (item,) = header.sequence("VOILUTSequence")
        assert item["LUTDescriptor"].numbers() == [4, 0, 8]
        assert bytes(item["LUTData"].raw()) == b"\0\1\2\3"
        assert header.integer("Rows") == 7


def test_unwanted_sequences_are_stepped_over() -> None:
    nested = element(8, 0x1140, "SQ", ITEM + element(8, 0x60, "CS", b"CT") + ITEM_END + SEQUENCE_END, UNDEFINED)
    header, _ = parse(file(element(8, 0x1115, "SQ", ITEM + nested + ITEM_END + SEQUENCE_END, UNDEFINED), ROWS))
    assert set(header) == {"TransferSyntaxUID", "Rows"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0" * 128 + b"DICM", "without any element"),
        (file(element(0x28, 0x3006, "OW", b"")[:9]), "ends inside its header"),
        (file(element(0x28, 4, "CS", b"MONO", 4000)), r"element \(0028,0004\) runs past the end"),
        (file(element(8, 0x1115, "SQ", ITEM + ROWS, UNDEFINED)), "ends inside its header"),
        (file(element(8, 0x1115, "SQ", ITEM + SEQUENCE_END, UNDEFINED)), "delimiters of a sequence do not match"),
        (file(element(8, 0x1115, "SQ", ITEM, UNDEFINED) * 3000), "nested more than 64 deep"),
        (file(ROWS, syntax=b"1.2.840.10008.1.2.1.99"), "says that the data set is deflated, but it is not"),
    ],
)
def test_damaged_headers(data: bytes, message: str) -> None:
    with pytest.raises(RadiographError, match=message) as caught:
        parse(data)
    assert caught.value.reason == "corrupt"


def test_a_short_file_of_many_elements_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xraytransfer.reading.elements._MAX_ELEMENTS", 100)
    with pytest.raises(RadiographError, match="a header of more than 100 elements"):
        parse(file(*[ROWS] * 200))
    with pytest.raises(RadiographError, match="a sequence of more than 100 elements"):
        parse(file(element(8, 0x1115, "SQ", ITEM + ROWS * 200, UNDEFINED)))


def test_deflated_and_its_limit() -> None:
    packed = zlib.compress(ROWS + element(0x7FE0, 0x10, "OW", b"\0" * 100_000))[2:-4]
    data = file(packed, syntax=b"1.2.840.10008.1.2.1.99")
    header, _ = parse(data)
    assert len(header["PixelData"].raw()) == 100_000
    with pytest.raises(RadiographError, match="more than 50,000 bytes") as caught:
        parse(data, max_bytes=50_000)
    assert caught.value.reason == "too-large"


def test_pixels_are_a_view_not_a_copy() -> None:
    data = file(ROWS, element(0x7FE0, 0x10, "OW", b"\1\2\3\4"))
    header, _ = parse(data)
    pixels = header["PixelData"].raw()
    assert pixels.obj is data
    assert bytes(pixels) == b"\1\2\3\4"


def test_pixels_that_end_early_are_given_as_far_as_they_come() -> None:
    header, _ = parse(file(ROWS, element(0x7FE0, 0x10, "OW", b"\1\2", 100)))
    assert bytes(header["PixelData"].raw()) == b"\1\2"


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    for whole in (data, file(data), file(data, syntax=b"1.2.840.10008.1.2.2\0"), file(ROWS, data)):
        header = outcome(lambda whole=whole: parse(whole)[0])
        for keyword, found in header.items() if isinstance(header, Elements) else []:
            found.numbers()
            found.texts()
            header.integer(keyword)
            outcome(found.items)


def outcome(function: Callable[[], object]) -> object:
    """Return what a function returns; None if it refuses as it may."""
    try:
        return function()
    except RadiographError as error:
        if error.reason not in ("corrupt", "too-large"):
            raise
        return None


def test_dataset_that_was_decoded_before() -> None:
    dataset = Dataset()
    dataset.Rows, dataset.WindowCenter, dataset.Modality = 12, ["40", "80"], "CR"
    item = Dataset()
    item.LUTDescriptor = [2, 0, 8]
    dataset.VOILUTSequence = [item]
    header = from_dataset(dataset)
    assert header.integer("Rows") == 12
    assert header["WindowCenter"].numbers() == [40, 80]
    assert header.text("Modality") == "CR"
    assert header.sequence("VOILUTSequence")[0]["LUTDescriptor"].numbers() == [2, 0, 8]
    assert header.sequence("Modality") == []


def test_empty_values() -> None:
    assert Element("DS", memoryview(b"")).numbers() == [None]
    assert Element("DS", None).numbers() == []
    assert Element("US", memoryview(b"\1")).numbers() == []
    assert Element("OW", "text").raw() == b""
