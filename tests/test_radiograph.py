from __future__ import annotations

import gzip
import io
import json
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import read_radiograph

Film = Callable[..., bytes]
ROW, COLUMN = np.mgrid[0:40, 0:60]
RAMP = (ROW * 60 + COLUMN).astype(np.uint16)
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize("name", ["RG1_UNCR", "RG1_UNCI", "RG1_J2KR", "RG1_J2KI"])
def test_the_real_film(sample_film: Callable[[str], Path], name: str) -> None:
    film = read_radiograph(sample_film(name))
    assert film.pixels.shape == (1955, 1841)
    assert film.pixels.dtype == np.uint8
    assert film.inverted
    assert film.window == "window"
    assert film.view_position == "PA"
    assert film.modality == "CR"
    assert film.photometric_interpretation == "MONOCHROME1"
    assert film.bits_stored == 15
    assert film.notes == ()
    # Against an independent reading: pydicom's samples, the window's formula, one inversion.
    samples = dcmread(sample_film(name)).pixel_array.astype(float)
    expected = 255 - np.rint(np.clip((samples - 14999.5) / 29999 + 0.5, 0, 1) * 255)
    assert np.abs(film.pixels - expected).max() <= 1


@pytest.mark.parametrize("name", ["RG3_UNCR", "RG3_J2KR", "693_UNCR", "MR2_UNCR", "US1_UNCR"])
def test_real_objects_that_are_no_chest_films(sample_film: Callable[[str], Path], name: str) -> None:
    with pytest.raises(RadiographError, match=f"{name}.dcm: ") as caught:
        read_radiograph(sample_film(name))
    assert caught.value.reason == "not-a-radiograph"


def test_real_films_of_the_nih(shared_data: Path) -> None:
    folder = shared_data / "dicom"
    views = {}
    for path in sorted(folder.glob("*.dcm")):
        if path.stem == "nih-3-modality-ct-header":
            with pytest.raises(RadiographError, match="Modality is CT, in a Secondary Capture object"):
                read_radiograph(path)
        views[path.stem] = read_radiograph(path, any_modality=True).view_position
    assert views["rsna-3-jpeg-baseline"] == "AP"
    assert views["nih-1-jpeg-baseline"] == "PA"
    assert views["nih-2-ap-implicit"] is None
    # A header that lies is believed: the file says MONOCHROME1, so the picture is inverted.
    right = read_radiograph(folder / "nih-1-jpeg-baseline.dcm")
    wrong = read_radiograph(folder / "nih-1-wrongly-labelled-monochrome1.dcm")
    assert wrong.inverted
    assert (wrong.pixels == 255 - right.pixels).all()


def test_every_kind_of_source(dicom_film: Film, tmp_path: Path) -> None:
    data = dicom_film(RAMP)
    path = tmp_path / "film.dcm"
    path.write_bytes(data)
    expected = read_radiograph(data).pixels
    with path.open("rb") as opened:
        sources = {
            str(path): str(path),
            path: str(path),
            data: "<bytes>",
            opened: str(path),
            io.BytesIO(data): "<bytes>",
        }
        for source, name in sources.items():
            film = read_radiograph(source)
            assert film.source == name
            assert (film.pixels == expected).all()
    dataset = dcmread(path)
    assert read_radiograph(dataset).source == "<dataset>"
    assert (read_radiograph(dataset).pixels == expected).all()
    assert (read_radiograph(memoryview(data)).pixels == expected).all()  # type: ignore[arg-type]


def test_dataset_in_every_state(dicom_film: Film, sample_film: Callable[[str], Path]) -> None:
    for data in (
        dicom_film(RAMP, syntax="1.2.840.10008.1.2.2"),
        dicom_film(RAMP, PhotometricInterpretation="MONOCHROME1", WindowCenter=1200, WindowWidth=2400),
        sample_film("RG1_J2KI").read_bytes(),
    ):
        expected = read_radiograph(data).pixels
        untouched = dcmread(DicomBytesIO(data))
        touched = dcmread(DicomBytesIO(data))
        for element in touched:
            element.value  # noqa: B018 - decodes it
        without_meta = dcmread(DicomBytesIO(data))
        if not without_meta.file_meta.TransferSyntaxUID.is_compressed:
            del without_meta.file_meta
        for dataset in (untouched, touched, without_meta):
            assert (read_radiograph(dataset).pixels == expected).all()


def test_a_dataset_with_buffered_pixels_can_be_read_again(dicom_film: Film) -> None:
    data = dicom_film(RAMP)
    dataset = dcmread(DicomBytesIO(data))
    dataset.PixelData = io.BytesIO(dataset.PixelData)
    for _ in range(2):
        assert (read_radiograph(dataset).pixels == read_radiograph(data).pixels).all()


def test_provenance_is_json_without_patient_data(dicom_film: Film) -> None:
    film = read_radiograph(dicom_film(RAMP, PatientID="12345", PatientBirthDate="19700101"))
    text = json.dumps(film.provenance())
    assert "Doe" not in text
    assert "12345" not in text
    assert film.provenance() == {
        "source": "<bytes>",
        "format": "dicom",
        "rows": 40,
        "columns": 60,
        "intensity": "voi",
        "inverted": False,
        "window": "min-max",
        "view_position": "PA",
        "modality": "CR",
        "photometric_interpretation": "MONOCHROME2",
        "bits_stored": 16,
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "reduction": 1,
        "notes": [],
    }


def cut(film: bytes, at: bytes, length: int) -> bytes:
    """The film up to `length` bytes after the element `at`."""
    return film[: film.index(at) + length]


def nested(depth: int) -> bytes:
    sequence = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    return (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


def jpeg(film: Film, **options: Any) -> bytes:
    stream = imagecodecs.jpeg8_encode((RAMP >> 4).astype(np.uint8), 90)
    return film((RAMP >> 4).astype(np.uint8), syntax="1.2.840.10008.1.2.4.50", stream=stream, **options)


def replaced(film: bytes, old: bytes, new: bytes) -> bytes:
    assert old in film
    return film.replace(old, new)


def png(_: Film) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, "png")
    return buffer.getvalue()


PIXEL_DATA = b"\xe0\x7f\x10\x00"
SYNTAX = b"1.2.840.10008.1.2.1\0"

# Every row of the table of malformed files: name, how it is made, reason.
MALFORMED: list[tuple[str, Callable[[Film], bytes], str]] = [
    ("empty", lambda film: b"", "unsupported-format"),
    ("text", lambda film: b"Dear colleague, thank you for referring\n" * 50, "unsupported-format"),
    ("gzip", lambda film: gzip.compress(film(RAMP)), "unsupported-format"),
    ("one byte", lambda film: b"\0", "unsupported-format"),
    ("zeros", lambda film: b"\0" * 5000, "unsupported-format"),
    ("DICM, then nothing", lambda film: film(RAMP)[:132], "corrupt"),
    ("truncated header", lambda film: film(RAMP)[:300], "corrupt"),
    ("random bytes", lambda film: b"\0" * 128 + b"DICM" + np.random.default_rng(1).bytes(4000), "corrupt"),
    ("JPEG cut short", lambda film: jpeg(film)[:-100], "truncated-pixels"),
    ("absurd element length", lambda film: replaced(film(RAMP), b"PN\x08\0", b"UT\xff\xff"), "corrupt"),
    ("pixels truncated by one byte", lambda film: film(RAMP)[:-1], "truncated-pixels"),
    ("pixels truncated by half", lambda film: film(RAMP)[: -RAMP.nbytes // 2], "truncated-pixels"),
    ("deeply nested sequences", lambda film: film(RAMP)[:350] + nested(5000), "corrupt"),
    ("says deflated but is not", lambda film: replaced(film(RAMP), SYNTAX, DEFLATED.encode()), "corrupt"),
    (
        "undefined length of stored pixels",
        lambda film: replaced(film(RAMP), struct.pack("<I", RAMP.nbytes), b"\xff" * 4),
        "corrupt",
    ),
    ("wrong endianness", lambda film: replaced(film(RAMP), SYNTAX, b"1.2.840.10008.1.2.2\0"), "corrupt"),
    (
        "unknown transfer syntax",
        lambda film: replaced(film(RAMP), SYNTAX, b"1.2.840.99999.1.2.3\0"),
        "unsupported-transfer-syntax",
    ),
    (
        "video transfer syntax",
        lambda film: jpeg(film).replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.10"),
        "unsupported-transfer-syntax",
    ),
    ("Rows 0", lambda film: film(RAMP, Rows=0), "invalid-attribute"),
    ("65535 x 65535", lambda film: film(RAMP, Rows=65535, Columns=65535), "too-large"),
    ("10^9 frames", lambda film: film(RAMP, NumberOfFrames=10**9), "multi-frame"),
    ("bad bits", lambda film: film(RAMP, BitsAllocated=13), "invalid-attribute"),
    ("missing image tags", lambda film: film(RAMP, Rows=None, Columns=None, BitsAllocated=None), "invalid-attribute"),
    ("PixelData of double length", lambda film: film(np.vstack([RAMP, RAMP]), Rows=40), "multi-frame"),
    ("PixelData empty", lambda film: cut(film(RAMP), PIXEL_DATA, 8) + b"\0\0\0\0", "no-pixels"),
    ("PixelData absent", lambda film: cut(film(RAMP), PIXEL_DATA, 0), "no-pixels"),
    (
        "garbage JPEG",
        lambda film: film(RAMP, syntax="1.2.840.10008.1.2.4.50", stream=b"\xff\xd8" + b"x" * 500),
        "decode-failed",
    ),
    (
        "garbage J2K",
        lambda film: film(RAMP, syntax="1.2.840.10008.1.2.4.90", stream=b"\xff\x4f\xff\x51" + b"x" * 500 + b"\xff\xd9"),
        "decode-failed",
    ),
    ("garbage RLE", lambda film: film(RAMP, syntax="1.2.840.10008.1.2.5", stream=b"x" * 500), "decode-failed"),
    ("codestream size differs", lambda film: jpeg(film, Rows=80), "corrupt"),
    ("two frames", lambda film: film(RAMP, NumberOfFrames=2), "multi-frame"),
    (
        "RGB of one sample",
        lambda film: film(RAMP, PhotometricInterpretation="RGB", SamplesPerPixel=3),
        "truncated-pixels",
    ),
    ("HSV", lambda film: film(RAMP, PhotometricInterpretation="HSV"), "colour"),
    (
        "a palette without tables",
        lambda film: film(RAMP, PhotometricInterpretation="PALETTE COLOR"),
        "invalid-attribute",
    ),
    ("float pixel data", lambda film: replaced(film(RAMP), PIXEL_DATA + b"OW", b"\xe0\x7f\x08\x00OF"), "no-pixels"),
    (
        "a slope that is no number",
        lambda film: replaced(film(RAMP, RescaleSlope="876"), b"876 ", b"nan "),
        "invalid-attribute",
    ),
]


@pytest.mark.parametrize(("make", "reason"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_files_are_refused(
    dicom_film: Film, tmp_path: Path, make: Callable[[Film], bytes], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = make(dicom_film)
    path = tmp_path / "film.dcm"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        with pytest.raises(RadiographError) as caught:
            read_radiograph(source)
        assert caught.value.reason == reason, str(caught.value)
        assert "Doe" not in str(caught.value)
        assert "Traceback" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


# Rows of the same table that are read all the same: name, how it is made, what is said of it.
ODD: list[tuple[str, Callable[[Film], bytes], str]] = [
    ("no preamble", lambda film: film(RAMP)[132:], "no preamble"),
    (
        "no file meta",
        lambda film: film(RAMP)[film(RAMP).index(b"\x08\0\x16\0") :],
        "no transfer syntax in the header: taken for little endian",
    ),
    ("missing sequence delimiter", lambda film: jpeg(film)[:-8], "the delimiter after the pixels is missing"),
    ("window width 0", lambda film: film(RAMP, WindowCenter=9, WindowWidth=0), "the window is 0 wide"),
    (
        "window centre AUTO",
        lambda film: replaced(film(RAMP, WindowCenter="8765", WindowWidth=9), b"8765", b"AUTO"),
        "the window is no pair of numbers",
    ),
    ("slope with a comma", lambda film: replaced(film(RAMP, RescaleSlope="1.000000"), b"1.000000", b"1,000000"), ""),
    (
        "path in a UID",
        lambda film: replaced(
            film(RAMP, SOPInstanceUID="1.2.826.0.1.3680043"), b"1.2.826.0.1.3680043", b"../../../etc/passwd"
        ),
        "",
    ),
    ("UID of 300 characters", lambda film: film(RAMP, StudyInstanceUID="1." * 150), ""),
    (
        "12-bit JPEG extended",
        lambda film: film(
            RAMP,
            BitsStored=12,
            syntax="1.2.840.10008.1.2.4.51",
            stream=imagecodecs.jpeg8_encode(RAMP, 90, bitspersample=12),
        ),
        "",
    ),
    ("PNG", png, ""),
]


@pytest.mark.parametrize(("make", "note"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_odd_files_are_read_and_the_oddity_noted(dicom_film: Film, make: Callable[[Film], bytes], note: str) -> None:
    film = read_radiograph(make(dicom_film))
    assert film.pixels.shape == RAMP.shape
    assert film.pixels.min() < 10
    assert film.pixels.max() > 140
    if note:
        assert note in film.notes


def test_deflate_bomb(dicom_film: Film) -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = dicom_film(RAMP, syntax=DEFLATED)[:300]
    bomb = start[: start.index(b"\x02\0\x10\0")]
    bomb += struct.pack("<HH2sH", 2, 0x10, b"UI", len(DEFLATED)) + DEFLATED.encode()
    bomb += b"".join(deflater.compress(b"\0" * (1 << 20)) for _ in range(70)) + deflater.flush()
    with pytest.raises(RadiographError, match="the deflated data set holds more than 67,148,864 bytes") as caught:
        read_radiograph(bomb, max_pixels=10_000)
    assert caught.value.reason == "too-large"


def test_file_size_is_limited(dicom_film: Film, tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    with path.open("wb") as file:
        file.write(dicom_film(RAMP))
        file.truncate(80 << 20)
    with pytest.raises(RadiographError, match="larger than 67,148,864 bytes") as caught:
        read_radiograph(path, max_pixels=10_000)
    assert caught.value.reason == "too-large"
    with path.open("rb") as file:
        with pytest.raises(RadiographError, match="larger than"):
            read_radiograph(file, max_pixels=10_000)
        assert file.tell() == 67_148_865


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RadiographError, match=r"nothing\.dcm: no such file") as caught:
        read_radiograph(tmp_path / "nothing.dcm")
    assert caught.value.reason == "not-found"
    for path in (tmp_path, "a\0b"):
        with pytest.raises(RadiographError, match=": ") as caught:
            read_radiograph(path)
        assert caught.value.reason == "unreadable"


def test_a_pipe_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.dcm"
    os.mkfifo(path)
    for one in (path, "/dev/null"):
        with pytest.raises(RadiographError, match="not a regular file") as caught:
            read_radiograph(one)
        assert caught.value.reason == "unsupported-format"  # no reason that passes: an archive would wait for it


def test_closed_and_failing_files() -> None:
    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    closed = io.BytesIO(b"abc")
    closed.close()
    for file in (Failing(), closed):
        with pytest.raises(RadiographError, match="cannot be read") as caught:
            read_radiograph(file)  # type: ignore[arg-type]
        assert caught.value.reason == "unreadable"


def test_a_file_object_that_gives_little_at_a_time(dicom_film: Film) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 100))

    assert read_radiograph(Slow(dicom_film(RAMP))).pixels.shape == RAMP.shape


def test_wrong_arguments(dicom_film: Film) -> None:
    with pytest.raises(ValueError, match="unknown intensity recipe"):
        read_radiograph(dicom_film(RAMP), intensity="raw")
    with pytest.raises(ValueError, match="max_pixels is 0"):
        read_radiograph(dicom_film(RAMP), max_pixels=0)
    with pytest.raises(TypeError, match="expected a path, bytes"):
        read_radiograph(42)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary mode"):
        read_radiograph(io.StringIO("text"))  # type: ignore[arg-type]


def test_many_threads_at_once(dicom_film: Film) -> None:
    films = [dicom_film(RAMP), jpeg(dicom_film), dicom_film(RAMP, Rows=0), b"text" * 100, png(dicom_film)]
    expected = [outcome(film) for film in films]
    before = warnings.filters[:]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(outcome, films * 40))
    assert found == expected * 40
    assert warnings.filters == before


def outcome(film: bytes) -> str:
    try:
        return str(int(read_radiograph(film).pixels.sum(dtype=np.int64)))
    except RadiographError as error:
        return error.reason


def test_stored_films_do_not_wait_for_pydicom(tmp_path: Path, dicom_film: Film) -> None:
    import subprocess
    import sys

    path = tmp_path / "film.dcm"
    path.write_bytes(jpeg(dicom_film))
    program = (
        "import sys; from xraytransfer.radiograph import read_radiograph; read_radiograph(sys.argv[1]);"
        "print([name for name in ('pydicom', 'imagecodecs', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
