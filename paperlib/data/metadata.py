"""Images without their metadata: comments, profiles, EXIF and the like, which the pixels do not need."""

from __future__ import annotations

import re
import struct
import zlib


def without_metadata(content: bytes) -> bytes:
    """What the pixels of a JPEG, PNG, GIF, TIFF or WebP need, and a plain orientation; other formats unchanged.

    Raises nearly anything for a file whose frame is damaged.
    """
    for mark, stripped in STRIPPED.items():
        if content.startswith(mark):
            return stripped(content)
    return content


def _jpeg(content: bytes) -> bytes:
    kept, at = bytearray(content[:2]), 2
    while content[at : at + 1] == b"\xff" and (mark := content[at + 1]) != 0xDA:  # until the pixels start
        if mark == 0xFF:  # a filling byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(content):
            break
        if mark in HOW_COLOURS_ARE_STORED:
            keep = end - at >= HOW_COLOURS_ARE_STORED[mark]
        else:
            keep = not (0xE0 <= mark <= 0xEF or mark == 0xFE)  # application data, a comment
        kept += content[at:end] if keep else b""
        at = end
    return bytes(kept + content[at:])


HOW_COLOURS_ARE_STORED = {0xE0: 18, 0xEE: 16}
"""The segments of JFIF and Adobe that a JPEG's decoder needs, with the least bytes of a whole one."""


def _png(content: bytes) -> bytes:
    kept, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        whole = zlib.crc32(content[at + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")
        kind = content[at + 4 : at + 8]
        if kind[:1].isupper() or (kind == b"eXIf" and whole):
            kept += content[at:end]
        elif not whole:  # perhaps of another length than it says
            pixels = PIXELS_OF_PNG.search(content, at + 8)
            end = pixels.start() - 4 if pixels else len(content)
        at = end
    return bytes(kept)


PIXELS_OF_PNG = re.compile(rb"PLTE|IDAT")


def _gif(content: bytes) -> bytes:
    palette = 3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0
    start = at = 13 + palette
    while content[at : at + 1] == b"\x21":  # an extension: its kind, then blocks of some length until an empty one
        at += 2
        while content[at : at + 1] not in (b"\0", b""):
            at += 1 + content[at]
        at += 1
    if content[at : at + 1] != b"\x2c":  # no image follows, so that one of the lengths is wrong
        at = content.index(b"\x2c\0\0\0\0" + content[6:10], start)
    return content[:start] + content[at:]


PIXEL_TAGS = {*range(254, 267), *range(273, 282), 284, 292, 293, 301, 317, 320, *range(322, 326), 338, 339, 347,
              *range(512, 522), *range(529, 533)}  # fmt: skip
"""Tags of TIFF that say how pixels are stored, and their orientation (274)."""


def _tiff(content: bytes) -> bytes:
    order, big = "<" if content.startswith(b"II") else ">", 43 in content[2:4]
    offset, count, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    (start,) = struct.unpack_from(order + offset, content, 8 if big else 4)
    (entries,) = struct.unpack_from(order + count, content, start)
    first = start + struct.calcsize(order + count)
    tags = [content[at : at + size] for at in range(first, first + min(entries, 1 << 16) * size, size)]
    kept = [tag for tag in tags if struct.unpack_from(order + "H", tag)[0] in PIXEL_TAGS]
    directory = struct.pack(order + count, len(kept)) + b"".join(kept) + struct.pack(order + offset, 0)  # the last one
    return content[:start] + directory + content[start + len(directory) :]


def _webp(content: bytes) -> bytes:
    kept, at = bytearray(), 12
    while at + 8 <= len(content):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        chunk = bytearray(content[at:end])
        if kind == b"VP8X":
            chunk[8] &= ~0x2C  # no profile, EXIF or XMP follows
        if PIXELS_OF_WEBP.match(kind):
            kept += chunk
        elif end != len(content) and not CHUNK_OF_WEBP.match(content, end):  # of another length than it says
            end = pixels.start() if (pixels := PIXELS_OF_WEBP.search(content, at + 8)) else len(content)
        at = end
    return b"RIFF" + (len(kept) + 4).to_bytes(4, "little") + b"WEBP" + kept


PIXELS_OF_WEBP = re.compile(rb"VP8[ LX]|ALPH|ANIM|ANMF")
CHUNK_OF_WEBP = re.compile(PIXELS_OF_WEBP.pattern + rb"|ICCP|EXIF|XMP ")

STRIPPED = {b"\xff\xd8": _jpeg, b"\x89PNG\r\n\x1a\n": _png, b"RIFF": _webp, b"GIF8": _gif,
            b"II*\0": _tiff, b"MM\0*": _tiff, b"II+\0": _tiff, b"MM\0+": _tiff}  # fmt: skip
