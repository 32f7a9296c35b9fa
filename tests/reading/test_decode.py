from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate as items

from xraytransfer.errors import RadiographError
from xraytransfer.reading import decode, decoders
from xraytransfer.reading.pixel_format import PixelFormat
from xraytransfer.reading.syntaxes import SYNTAXES

NAMES = {syntax.name: uid for uid, syntax in SYNTAXES.items()}
ROW, COLUMN = np.mgrid[0:48, 0:64]
SMOOTH = (2000 + 1800 * np.sin(ROW / 9) * np.cos(COLUMN / 11)).astype(np.uint16)
EIGHT = (SMOOTH >> 4).astype(np.uint8)


def fmt(pixels: np.ndarray, bits: int | None = None, high: int | None = None, signed: bool = False) -> PixelFormat:
    bits = bits or 8 * pixels.itemsize
    return PixelFormat(*pixels.shape[:2], 8 * pixels.itemsize, bits, bits - 1 if high is None else high, signed)


def rle(pixels: np.ndarray) -> bytes:
    """PS3.5 annex G: one segment for each byte of the words, the most significant first."""
    planes = [pixels.view(np.uint8)[:, plane :: pixels.itemsize] for plane in reversed(range(pixels.itemsize))]
    parts = [imagecodecs.packbits_encode(plane.tobytes()) for plane in planes]
    parts = [part + b"\0" * (len(part) % 2) for part in parts]
    offsets = [64 + sum(map(len, parts[:n])) for n in range(len(parts))]
    return struct.pack("<16I", len(parts), *offsets, *[0] * (15 - len(parts))) + b"".join(parts)


def htj2k(pixels: np.ndarray) -> bytes:
    if not hasattr(imagecodecs, "htj2k_encode"):
        pytest.skip("this imagecodecs (the newest for Python 3.10 among them) encodes no High-Throughput JPEG 2000")
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


def progressive(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", progressive=True, quality=95)
    return buffer.getvalue()


def decode_pixels(value: Any, pixel_format: PixelFormat, syntax: str, **form: bool) -> Any:
    return decode.decode(decode.PixelData(value, syntax, **form), pixel_format)


def encapsulate(frames: list[bytes], **options: int) -> bytes:
    """As a file holds them: pydicom adds the delimiter only when it writes the element."""
    return items(frames, **options) + b"\xfe\xff\xdd\xe0\0\0\0\0"


# Transfer syntax, encoder, pixels, bits, tolerance.
CASES = [
    ("RLE Lossless", rle, EIGHT, 8, 0),
    ("RLE Lossless", rle, SMOOTH, 12, 0),
    ("RLE Lossless", rle, SMOOTH.astype(np.uint32) << 9, 21, 0),
    ("JPEG Baseline (Process 1)", lambda a: imagecodecs.jpeg8_encode(a, 98), EIGHT, 8, 3),
    ("JPEG Extended (Process 2 and 4)", lambda a: imagecodecs.jpeg8_encode(a, 98, bitspersample=12), SMOOTH, 12, 20),
    ("JPEG Extended (Process 2 and 4)", lambda a: imagecodecs.jpeg8_encode(a, 98), EIGHT, 8, 3),
    ("JPEG Spectral Selection (Process 6 and 8)", progressive, EIGHT, 8, 3),
    ("JPEG Full Progression (Process 10 and 12)", progressive, EIGHT, 8, 3),
    *[
        (
            name,
            lambda a, p=predictor: imagecodecs.jpeg8_encode(a, lossless=True, predictor=p, bitspersample=12),
            SMOOTH,
            12,
            0,
        )
        for name, predictor in [
            ("JPEG Lossless (Process 14)", 4),
            ("JPEG Lossless (Process 14)", 7),
            ("JPEG Lossless (Process 14, Selection Value 1)", 1),
        ]
    ],
    (
        "JPEG Lossless (Process 14, Selection Value 1)",
        lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=16),
        SMOOTH << 4,
        16,
        0,
    ),
    ("JPEG-LS Lossless", imagecodecs.jpegls_encode, EIGHT, 8, 0),
    ("JPEG-LS Lossless", imagecodecs.jpegls_encode, SMOOTH, 12, 0),
    ("JPEG-LS Near-lossless", lambda a: imagecodecs.jpegls_encode(a, 3), SMOOTH, 12, 3),
    ("JPEG 2000 Lossless", lambda a: imagecodecs.jpeg2k_encode(a, reversible=True, codecformat="j2k"), EIGHT, 8, 0),
    (
        "JPEG 2000 Lossless",
        lambda a: imagecodecs.jpeg2k_encode(a, reversible=True, codecformat="j2k", bitspersample=12),
        SMOOTH,
        12,
        0,
    ),
    ("JPEG 2000", lambda a: imagecodecs.jpeg2k_encode(a, reversible=False, codecformat="j2k"), SMOOTH, 12, 2),
    ("JPEG 2000", lambda a: imagecodecs.jpeg2k_encode(a, reversible=True, codecformat="jp2"), SMOOTH, 12, 0),
    *[
        (name, htj2k, SMOOTH, 12, 0)
        for name in (
            "High-Throughput JPEG 2000 Lossless",
            "High-Throughput JPEG 2000 with RPCL Lossless",
            "High-Throughput JPEG 2000",
        )
    ],
]


@pytest.mark.parametrize(("name", "encode", "pixels", "bits", "tolerance"), CASES)
def test_every_compressed_syntax(
    name: str, encode: Callable[[np.ndarray], bytes], pixels: np.ndarray, bits: int, tolerance: int
) -> None:
    stream = encode(pixels)
    words, found, notes = decode_pixels(
        memoryview(encapsulate([stream])), fmt(pixels, bits), NAMES[name], encapsulated=True
    )
    assert words.shape == pixels.shape
    assert words.dtype.kind == "u"
    assert np.abs(found.values(words) - pixels.astype(np.int64)).max() <= tolerance
    assert notes == ([] if found.bits_stored == bits else notes)


def test_every_compressed_syntax_has_a_case() -> None:
    assert {name for name, *_ in CASES} == {syntax.name for syntax in SYNTAXES.values() if syntax.coding != "native"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_every_decoder_of_the_table_agrees(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name, encode, pixels, bits, tolerance = case
    uid = NAMES[name]
    pixel_data = memoryview(encapsulate([encode(pixels)]))
    for decoder in decoders.tries(SYNTAXES[uid].coding):
        monkeypatch.setattr(decoders, "_DECODERS", dict.fromkeys(decoders._DECODERS, (decoder,)))
        words, found, _ = decode_pixels(pixel_data, fmt(pixels, bits), uid, encapsulated=True)
        assert np.abs(found.values(words) - pixels.astype(np.int64)).max() <= tolerance, decoder


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4"])
@pytest.mark.parametrize("name", ["Explicit VR Little Endian", "Explicit VR Big Endian"])
def test_stored_words(name: str, dtype: str) -> None:
    # samples below zero where the type has them
    pixels = (SMOOTH.astype(np.int64) - 2000 * (dtype[0] == "i")).astype(dtype)
    order = ">" if "Big" in name else "<"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    words, found, notes = decode_pixels(
        memoryview(data), fmt(pixels, signed=dtype[0] == "i"), NAMES[name], encapsulated=False
    )
    assert (found.values(words) == pixels).all()
    assert notes == []


def test_bytes_in_big_endian_words() -> None:
    pixels = EIGHT[:33, :33]
    data = np.frombuffer(pixels.tobytes() + b"\0", np.uint16).byteswap().tobytes()
    words, _, _ = decode_pixels(
        memoryview(data), fmt(pixels), NAMES["Explicit VR Big Endian"], encapsulated=False, swapped_bytes=True
    )
    assert (words == pixels).all()


def test_signed_jpeg_2000_is_read_by_its_bits() -> None:
    pixels = SMOOTH.astype(np.int16) - 2000
    stream = imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k")
    words, found, _ = decode_pixels(
        memoryview(encapsulate([stream])), fmt(pixels, signed=True), NAMES["JPEG 2000 Lossless"], encapsulated=True
    )
    assert (found.values(words) == pixels).all()


def test_signed_samples_in_an_unsigned_codestream() -> None:
    # JPEG-LS has no sign: two's complement of the bits stored goes in and comes out.
    pixels = SMOOTH.astype(np.int16) - 2000
    stream = imagecodecs.jpegls_encode(pixels.view(np.uint16) & 0xFFF)
    words, found, _ = decode_pixels(
        memoryview(encapsulate([stream])), fmt(pixels, 12, signed=True), NAMES["JPEG-LS Lossless"], encapsulated=True
    )
    assert (found.values(words) == pixels).all()


def test_codestream_of_fewer_bits_than_the_header_says() -> None:
    stream = imagecodecs.jpeg8_encode(EIGHT, 98)
    wide = EIGHT.astype(np.uint16)
    _, found, notes = decode_pixels(
        memoryview(encapsulate([stream])), fmt(wide, 12), NAMES["JPEG Baseline (Process 1)"], encapsulated=True
    )
    assert found.bits_stored == 8
    assert notes == ["8 bits in the codestream, 12 in the header"]


def test_shifted_words_in_a_codestream() -> None:
    words = SMOOTH << 4
    stream = imagecodecs.jpegls_encode(words)
    decoded, found, _ = decode_pixels(
        memoryview(encapsulate([stream])), fmt(words, 12, high=15), NAMES["JPEG-LS Lossless"], encapsulated=True
    )
    assert (found.values(decoded) == SMOOTH).all()


def test_a_frame_in_fragments() -> None:
    stream = imagecodecs.jpeg8_encode(EIGHT, 98)
    pixel_data = encapsulate([stream], fragments_per_frame=3)
    words, _, _ = decode_pixels(
        memoryview(pixel_data), fmt(EIGHT), NAMES["JPEG Baseline (Process 1)"], encapsulated=True
    )
    assert words.shape == EIGHT.shape


JPEG = imagecodecs.jpeg8_encode(EIGHT, 90)
J2K = imagecodecs.jpeg2k_encode(SMOOTH, reversible=True, codecformat="j2k")
RLE = rle(SMOOTH)


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def sized(rows: int, columns: int) -> bytes:
    """The JPEG, saying another size in its frame header."""
    return changed(JPEG, JPEG.index(b"\xff\xc0") + 5, struct.pack(">HH", rows, columns))


@pytest.mark.parametrize(
    ("name", "pixel_data", "pixels", "reason", "message"),
    [
        ("JPEG Baseline (Process 1)", encapsulate([sized(47, 64)]), EIGHT, "corrupt", "64 x 47 pixels, the header"),
        ("JPEG Baseline (Process 1)", encapsulate([sized(65535, 65535)]), EIGHT, "corrupt", "65535 x 65535"),
        ("JPEG 2000", encapsulate([changed(J2K, 8, struct.pack(">II", 60000, 60000))]), SMOOTH, "corrupt", "60000"),
        ("JPEG Baseline (Process 1)", encapsulate([JPEG[:-300]]), EIGHT, "truncated-pixels", "end marker"),
        ("JPEG Baseline (Process 1)", encapsulate([JPEG[:60]]), EIGHT, "truncated-pixels", "inside its header"),
        ("JPEG Baseline (Process 1)", encapsulate([JPEG])[:-300], EIGHT, "truncated-pixels", "fragment of"),
        ("JPEG 2000", encapsulate([J2K[:-100]]), SMOOTH, "truncated-pixels", "end marker"),
        ("RLE Lossless", encapsulate([RLE[:-100]]), SMOOTH, "decode-failed", "cannot be decoded"),
        ("JPEG Baseline (Process 1)", encapsulate([b"rubbish" * 50]), EIGHT, "decode-failed", "no known codestream"),
        ("RLE Lossless", encapsulate([b"rubbish" * 50]), SMOOTH, "decode-failed", "cannot be decoded"),
        ("JPEG 2000", encapsulate([J2K[:120] + b"\x55" * 900 + b"\xff\xd9"]), SMOOTH, "decode-failed", "decoded"),
        ("JPEG Baseline (Process 1)", encapsulate([JPEG, JPEG]), EIGHT, "multi-frame", "2 compressed frames"),
        ("JPEG Baseline (Process 1)", encapsulate([JPEG, JPEG], has_bot=False), EIGHT, "multi-frame", "2 compressed"),
        ("RLE Lossless", encapsulate([RLE, RLE], has_bot=False), SMOOTH, "multi-frame", "2 compressed frames"),
        ("JPEG Baseline (Process 1)", b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0", EIGHT, "no-pixels", "empty"),
        ("JPEG Baseline (Process 1)", EIGHT.tobytes(), EIGHT, "corrupt", "not divided into items"),
        ("Explicit VR Little Endian", SMOOTH.tobytes()[:-1], SMOOTH, "truncated-pixels", "6,143 bytes of pixel data"),
        ("Explicit VR Little Endian", SMOOTH.tobytes() * 2, SMOOTH, "multi-frame", "more than one frame"),
        ("1.2.840.10008.1.2.4.100", EIGHT.tobytes(), EIGHT, "unsupported-transfer-syntax", "2.4.100"),
        (
            "JPEG Baseline (Process 1)",
            encapsulate([imagecodecs.jpeg8_encode(np.dstack([EIGHT, EIGHT[::-1], EIGHT]))]),
            EIGHT,
            "colour",
            "of its pixels are coloured",
        ),
        (
            "JPEG Full Progression (Process 10 and 12)",
            encapsulate([progressive(EIGHT)[:-2] + b"\xff\xda\0\2" * 5000 + b"\xff\xd9"]),
            EIGHT,
            "decode-failed",
            "more than 100 scans",
        ),
    ],
)
def test_damaged_pixel_data(name: str, pixel_data: bytes, pixels: np.ndarray, reason: str, message: str) -> None:
    uid = NAMES.get(name, name)
    with pytest.raises(RadiographError, match=message) as caught:
        decode_pixels(
            memoryview(pixel_data),
            fmt(pixels),
            uid,
            encapsulated=uid in SYNTAXES and SYNTAXES[uid].coding != "native",
        )
    assert caught.value.reason == reason


def test_missing_delimiter_is_noted() -> None:
    _, _, notes = decode_pixels(
        memoryview(items([JPEG])), fmt(EIGHT), NAMES["JPEG Baseline (Process 1)"], encapsulated=True
    )
    assert notes == ["the delimiter after the pixels is missing"]


def test_bytes_after_the_pixels_are_noted() -> None:
    _, _, notes = decode_pixels(
        memoryview(SMOOTH.tobytes() + b"\0" * 10), fmt(SMOOTH), NAMES["Explicit VR Little Endian"], encapsulated=False
    )
    assert notes == ["10 bytes after the pixels"]


def test_compressed_pixels_under_a_plain_syntax() -> None:
    words, _, notes = decode_pixels(
        memoryview(encapsulate([JPEG])), fmt(EIGHT), NAMES["Explicit VR Little Endian"], encapsulated=True
    )
    assert np.abs(words.astype(int) - EIGHT).max() <= 3
    assert notes == [
        "the transfer syntax is Explicit VR Little Endian, but the codestream is baseline: decoded as that"
    ]


def test_no_decoder_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_is_available", lambda name: False)
    with pytest.raises(RadiographError, match="pip install imagecodecs") as caught:
        decode_pixels(
            memoryview(encapsulate([JPEG])), fmt(EIGHT), NAMES["JPEG Baseline (Process 1)"], encapsulated=True
        )
    assert caught.value.reason == "unsupported-transfer-syntax"


def test_out_of_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoders, "_run", exhausted)
    with pytest.raises(RadiographError, match="not enough memory") as caught:
        decode_pixels(
            memoryview(encapsulate([JPEG])), fmt(EIGHT), NAMES["JPEG Baseline (Process 1)"], encapsulated=True
        )
    assert caught.value.reason == "too-large"


def test_decoders_are_listed_and_installed() -> None:
    rows = decoders.decoders()
    assert [uid for uid, _, _ in rows] == list(SYNTAXES)
    assert all(available for _, _, available in rows)
    assert {uid: available for uid, _, available in rows}["1.2.840.10008.1.2.4.50"][0] == "pillow"


def damaged(stream: bytes, number: int) -> bytes:
    """The codestream with a few bytes overwritten behind its header, its end marker kept."""
    rng = np.random.default_rng(number)
    at = int(rng.integers(120, len(stream) - 40))
    return stream[:at] + rng.bytes(8) + stream[at + 8 :]


def survives(stream: bytes, name: str) -> bool:
    try:
        decode_pixels(memoryview(encapsulate([stream])), fmt(SMOOTH, 12), NAMES[name], encapsulated=True)
    except RadiographError:
        return False
    return True


def test_damaged_htj2k_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    stream = htj2k(SMOOTH)
    assert survives(stream, "High-Throughput JPEG 2000")
    for number in range(60):
        survives(damaged(stream, number), "High-Throughput JPEG 2000")
    assert capfd.readouterr() == ("", "")


def test_damaged_run_length_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(60):
        survives(damaged(RLE, number), "RLE Lossless")
        survives(RLE[: 64 + 40 * number], "RLE Lossless")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("components", "dtype", "side"), [(3, np.uint8, 8000), (3, np.uint16, 6800), (1, np.uint32, 11000)]
)
def test_what_takes_too_much_memory_is_refused_before_it_is_decoded(components: int, dtype: type, side: int) -> None:
    shape = (64, 64, 3) if components == 3 else (64, 64)
    stream = imagecodecs.jpeg2k_encode(np.zeros(shape, dtype), codecformat="j2k")
    size = struct.pack(">II", side, side)
    header = stream[:8] + size + stream[16:24] + size + stream[32:]
    bits = 8 * np.dtype(dtype).itemsize
    fmt = PixelFormat(side, side, bits, bits, bits - 1, signed=False)
    value = memoryview(items([header]))
    pixels = decode.PixelData(value, "1.2.840.10008.1.2.4.90", encapsulated=True, samples=components)
    with pytest.raises(RadiographError, match="MiB of memory, at most 1,024") as caught:
        decode.decode(pixels, fmt)
    assert caught.value.reason == "too-large"
