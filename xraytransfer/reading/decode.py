"""Pixel data to arrays of stored words: one table says which decoders are tried for which transfer syntax.

Every bound is checked before anything is decoded: the header's size against the limit, the codestream's
own size against the header.

References
----------
DICOM PS3.5 section 8 and annex A (transfer syntaxes).
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading import codestream
from xraytransfer.reading.colour import grey_of_components
from xraytransfer.reading.decoders import LOSSY_PROCESSES, Codestream, first_that_decodes, reduced
from xraytransfer.reading.layout import in_byte_order
from xraytransfer.reading.native import PixelData, native_words
from xraytransfer.reading.pixel_format import PixelFormat, Words, check_memory
from xraytransfer.reading.reduced import halvings
from xraytransfer.reading.samples import clip_overshoot, locate_samples
from xraytransfer.reading.syntaxes import SYNTAXES, Syntax, family

__all__ = ["PixelData", "decode"]

_UNNAMED = Syntax("absent")
_BLOCK_ROWS = 64


def _printable(syntax: str) -> str:
    """Return a UID; anything else might be anything, such as a name."""
    return repr(syntax) if re.fullmatch(r"[0-9.]{1,64}", syntax) else "(no UID)"


def decode(pixels: PixelData, fmt: PixelFormat) -> tuple[Words, PixelFormat, list[str]]:
    """Return one frame as it is stored, or its grey picture where it is stored in three components.

    Where the transfer syntax and the pixel data disagree, the pixel data are decoded as what they are.

    Parameters
    ----------
    pixels : PixelData
        The pixels.
    fmt : PixelFormat
        What the header says; `rows` and `columns` were held against the limit already.

    Returns
    -------
    words : ndarray of uint8, uint16 or uint32, shape (rows, columns)
        Stored words; `PixelFormat.values` makes samples of them.
    fmt : PixelFormat
        How the samples lie in `words`; may differ from the header.
    notes : list of str
        Oddities, and what was taken differently from what the header says.

    Raises
    ------
    RadiographError
        unsupported-transfer-syntax, decode-failed, truncated-pixels, multi-frame, no-pixels, corrupt, colour,
        invalid-attribute.
    """
    known = _known(pixels.syntax)
    # Uncompressed pixels may by chance begin as an item does, but not be too few as well.
    too_few = len(pixels.value) < fmt.rows * fmt.columns * fmt.bits_allocated // 8
    items = codestream.is_encapsulated(pixels.value) and (known.coding != "native" or too_few)
    if pixels.encapsulated or items:
        return _decode_compressed(pixels, fmt, known)
    stored = f"uncompressed, {pixels.samples} x {fmt.bits_allocated} bits"
    check_memory(fmt.rows, fmt.columns, _bytes_per_pixel(pixels.samples, fmt.bits_allocated), stored)
    words, notes = native_words(pixels, fmt, known)
    return _grey(words, fmt, notes)


def _known(uid: str) -> Syntax:
    syntax = SYNTAXES.get(uid) if uid else _UNNAMED
    if syntax is None:
        raise RadiographError(
            "unsupported-transfer-syntax",
            f"no decoder for the transfer syntax {_printable(uid)}; xraytransfer doctor lists those that are read",
        )
    return syntax


def _decode_compressed(pixels: PixelData, fmt: PixelFormat, known: Syntax) -> tuple[Words, PixelFormat, list[str]]:
    stream, notes = codestream.frame(pixels.value, delimited=pixels.delimited)
    header = _stream_header(stream, pixels, fmt, known)
    _check_header(header, fmt, len(stream))
    if family(known.coding) != family(header.process):
        notes.append(f"the transfer syntax is {known.name}, but the codestream is {header.process}: decoded as that")
    compressed = Codestream(stream, header, pixels.threads)
    count = halvings(header, fmt, pixels.side)
    small = reduced(compressed, count) if count else None
    words = first_that_decodes(compressed, known.name) if small is None else small
    fmt = replace(fmt, rows=words.shape[0], columns=words.shape[1])
    if header.process == "run-length":
        # its planes are made of the words as they are stored
        words, order = in_byte_order(words, fmt) if words.ndim == 2 else (words, [])
        return _grey(words, fmt, notes + order)
    if words.ndim == 3:
        return _grey(words, replace(fmt, bits_stored=header.precision, high_bit=header.precision - 1), notes)
    return _codestream_samples(words, fmt, header, known.lossy or header.process in LOSSY_PROCESSES, notes)


def _stream_header(stream: bytes, pixels: PixelData, fmt: PixelFormat, known: Syntax) -> codestream.StreamHeader:
    """Return what a codestream says of itself; a run-length frame says nothing, so it is what the DICOM header says."""
    run_length = known.coding == "run-length" and not codestream.begins_codestream(stream)
    if run_length or codestream.is_run_length(stream):
        return codestream.StreamHeader(fmt.rows, fmt.columns, pixels.samples, fmt.bits_allocated, False, "run-length")
    return codestream.read_header(stream)


def _codestream_samples(
    words: Words, fmt: PixelFormat, header: codestream.StreamHeader, lossy: bool, notes: list[str]
) -> tuple[Words, PixelFormat, list[str]]:
    """Return decoded words with the format in which they are samples."""
    if header.signed and not fmt.signed and (words.view(f"i{words.itemsize}") < 0).any():
        fmt = replace(fmt, signed=True)
        notes.append("the codestream holds samples below zero, Pixel Representation says unsigned: read as signed")
    adapted, found = _as_coded(fmt, header.precision)
    notes += found
    if lossy:
        words, found = clip_overshoot(words, adapted, header.precision)
        notes += found
    located, found = locate_samples(words, adapted)
    return words, located, notes + found


def _grey(words: Words, fmt: PixelFormat, notes: list[str]) -> tuple[Words, PixelFormat, list[str]]:
    """Return native samples, or the grey picture of three components."""
    if words.ndim == 2:
        located, found = locate_samples(words, fmt)
        return words, located, notes + found
    located, bit_notes = locate_samples(words[..., 0], replace(fmt, signed=False))
    if located.shift or located.bits_stored != 8 * words.itemsize:
        words = _samples(words, located)
    grey, found = grey_of_components(words, located.bits_stored)
    return grey, replace(located, high_bit=located.bits_stored - 1), [*notes, *bit_notes, *found]


def _samples(words: Words, fmt: PixelFormat) -> Words:
    """Return unsigned samples in the type of the words, a few rows at a time to need little memory."""
    out = np.empty(words.shape, words.dtype)
    for start in range(0, len(words), _BLOCK_ROWS):
        out[start : start + _BLOCK_ROWS] = fmt.values(words[start : start + _BLOCK_ROWS])
    return out


def _check_header(header: codestream.StreamHeader, fmt: PixelFormat, length: int) -> None:
    """Refuse what contradicts the DICOM header, is no film, or takes too much memory, before it is decoded."""
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise RadiographError(
            "corrupt",
            f"the codestream holds {header.columns} x {header.rows} pixels, the header says {fmt.columns} x {fmt.rows}",
        )
    if header.components not in (1, 3):
        raise RadiographError("colour", f"a codestream of {header.components} components; a film has one")
    if not 2 <= header.precision <= 32:
        raise RadiographError("decode-failed", f"a codestream of {header.precision} bits")
    of_decoder = 4 * header.components if header.process == "jpeg-2000" else 0  # OpenJPEG computes with 32 bits
    check_memory(
        fmt.rows,
        fmt.columns,
        _bytes_per_pixel(header.components, header.precision) + of_decoder,
        f"{header.process}, {header.components} x {header.precision} bits",
        further=length,
    )


def _bytes_per_pixel(components: int, bits: int) -> int:
    """Return what is held for a pixel at the same time: words, the grey picture where it is made of three, a level."""
    word = 1 if bits <= 8 else 2 if bits <= 16 else 4
    words = components * word
    grey = words + word if components > 1 else 0
    return words + grey + 1


def _as_coded(fmt: PixelFormat, precision: int) -> tuple[PixelFormat, list[str]]:
    """Return where the sample lies in a decoded word, and notes: a codec hands out samples, not words.

    A codestream of as many bits as are stored, or fewer, holds the sample itself; one of more bits holds the
    word with the sample where High Bit says, if the word has that bit.
    """
    if precision <= fmt.bits_stored:
        sample = replace(fmt, bits_stored=precision, high_bit=precision - 1)
        different = precision < fmt.bits_stored
        return sample, [f"{precision} bits in the codestream, {fmt.bits_stored} in the header"] if different else []
    if fmt.high_bit < precision:
        return fmt, []
    lowest = replace(fmt, high_bit=fmt.bits_stored - 1)
    return lowest, [f"High Bit is {fmt.high_bit}, the codestream has {precision} bits: read from the lowest bit on"]
