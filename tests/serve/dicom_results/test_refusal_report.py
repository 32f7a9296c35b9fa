"""The refusal report: valid, the film's, and plain about the fact that nothing was evaluated."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tracemalloc
import zlib
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("highdicom")

import highdicom as hd
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian

from results import MODEL, make_film, make_prediction
from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import REASONS, ServeError
from xraytransfer.serve.dicom_results.refusal_report import refusal_report
from xraytransfer.serve.dicom_results.results import encode, make_refusal
from xraytransfer.serve.dicom_results.structured_report import structured_report


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_told_in_words(reason: str) -> None:
    report = refusal_report(make_film(), reason, MODEL)
    text = report.ContentSequence[-1].TextValue
    assert text.startswith(f"Not evaluated: {REASONS[reason]}.")
    assert RESEARCH_NOTICE in text


def test_highdicom_reads_one_group_without_a_number() -> None:
    report = hd.sr.Comprehensive3DSR.from_dataset(refusal_report(make_film(), "sideways", MODEL))
    (group,) = report.content.get_image_measurement_groups()
    assert group.get_measurements() == []
    (evaluation,) = group.get_qualitative_evaluations(name=codes.DCM.SummaryOfAnalyses)
    assert evaluation.value == codes.DCM.NotAttempted
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == make_film().SOPInstanceUID


def test_it_stands_in_the_series_of_the_reports_under_a_uid_of_its_own() -> None:
    scored = structured_report(make_film(), make_prediction())
    refused = [refusal_report(make_film(), reason, MODEL) for reason in ("sideways", "inverted")]
    keywords = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "StudyInstanceUID", "PatientID")
    for report in refused:
        assert [report[name].value for name in keywords] == [scored[name].value for name in keywords]
    assert len({report.SOPInstanceUID for report in (scored, *refused)}) == 3


def test_a_repeat_is_the_same_object_byte_for_byte() -> None:
    one, two = (encode(refusal_report(make_film(), "sideways", MODEL)) for _ in range(2))
    assert one == two


@pytest.mark.filterwarnings("ignore:End of file")
def test_a_header_that_cannot_be_read_has_no_report(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    with pytest.raises(ServeError):
        make_refusal(path, "corrupt", MODEL)


@pytest.mark.parametrize("first", [False, True])
def test_a_film_that_inflates_to_much_takes_little_memory(tmp_path: Path, first: bool) -> None:
    size = 64 << 20
    zeros = struct.pack("<HH2sxxI", 0x6009, 0x1010, b"OB", size) + bytes(size)
    header = DicomBytesIO()
    header.is_implicit_VR, header.is_little_endian = False, True
    write_dataset(header, make_film())
    elements = [zeros, header.getvalue()] if first else [header.getvalue(), zeros]
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"".join(map(deflater.compress, elements)) + deflater.flush()
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + DeflatedExplicitVRLittleEndian.encode()
    path = tmp_path / "film.dcm"
    path.write_bytes(bytes(128) + b"DICM" + syntax + bomb)
    outcome = pytest.raises(ServeError, match="UID is absent") if first else nullcontext()
    tracemalloc.start()
    try:
        with outcome:
            make_refusal(path, "too-large", MODEL)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size / 2


@pytest.mark.peer
@pytest.mark.parametrize("program", ["dciodvfy", "dsrdump"])
def test_toolkits_find_no_error(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install dcmtk dicom3tools")
    path = tmp_path / "report.dcm"
    path.write_bytes(encode(refusal_report(make_film(), "not-frontal", MODEL)))
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False, timeout=30)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not [line for line in said.splitlines() if line.startswith(("Error", "E:", "W:"))], said
