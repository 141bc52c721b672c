"""What lies in one split of a large data set: images, other files, and classes, in a folder or in tar archives."""

from __future__ import annotations

import io
import re
import tarfile
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from paperlib.data.images import DataError, formats
from paperlib.data.metadata import without_metadata
from paperlib.data.readers import is_junk, printable, scan

IMAGE = re.compile(r".+\.(jpe?g|png|bmp|gif|webp|tiff?|p[gp]m)", re.IGNORECASE | re.DOTALL)
"""Files with these endings count as images unopened; any other file does if Pillow can read it."""
ARCHIVE = re.compile(
    rb"\x1f[\x1e\x8b\x9d\xa0]|BZh|\xfd7zXZ|\x5d\0\0|LZIP|\x89LZO|LRZI|RZIP|\xff\x06\0\0sNaPpY"
    rb"|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\x02\x21\x4c\x18|PK[\x03\x05\x07]|Rar!|7z\xbc\xaf|7kSt|zPQ"
    rb"|.{257}ustar|07070[127]|\xc7\x71|\x71\xc7|!<arch>|xar!|MSCF|MSWIM|\x60\xea|..-l[hz].-|.{7}\*\*ACE"
    rb"|ZOO |SIT!|StuffIt|\xed\xab\xee\xdb|hsqs|sqsh"
    rb"|\x45\x3d\xcd\x28|\x28\xcd\x3d\x45|.{1024}\xe2\xe1\xf5\xe0|.{32769}CD001",
    re.DOTALL,
)
"""Beginnings of packed files, of archives, and of disk images."""
ARCHIVE_NAME = re.compile(
    r".+\.(tar\..+|t[abglx]z\d?|tbz2|tzst|t?lz[4o]?|zipx?|[r7]z|rar|gz|bz2?|xz|lzma|zst|z|br|sz|lrz|zpaq|cpio|ar|xar|cab"
    r"|wim|arj|lzh|lha|ace|zoo|sitx?|hqx|shar|rpm|deb|iso|dmg|squashfs|sqfs|sqsh|sfs|erofs)",
    re.IGNORECASE | re.DOTALL,
)
"""Their names, for those that have no mark, are empty or are damaged. Only a plain ``.tar`` is read."""
LARGEST = 1 << 28
"""Bytes of a file that may be an image; longer ones are not opened to find out."""


class Part(NamedTuple):
    """A file of a split: its name there, and the bytes that hold it."""

    name: str
    file: Path
    start: int
    size: int


def members(file: Path, start: int = 0, size: int | None = None) -> tuple[list[Part], list[tuple[str, str]]]:
    """The plain files of the tar archive at byte ``start``, by the last part of their names; and what else is in it.

    Hidden files and other junk are passed over, as :func:`readers.scan` does. Raises :class:`tarfile.TarError`.
    """
    end = file.stat().st_size if size is None else start + size
    parts: dict[str, Part] = {}
    other = []
    with file.open("rb") as stream:
        stream.seek(start)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    if member.size < 0 or member.isreg() and member.offset_data + member.size > end:
                        raise tarfile.ReadError("it is cut short, or one of its sizes is wrong")
                    path = PurePosixPath(member.name)
                    if member.isdir() or any(is_junk(part) for part in path.parts if part not in (".", "..")):
                        continue
                    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                        other.append((path.name, "no regular file in its archive"))
                        continue
                    if path.name in parts:
                        other.append((path.name, "replaced by a later file of this name in its archive"))
                    parts[path.name] = Part(path.name, file, member.offset_data, member.size)
                stream.seek(tar.offset)  # tarfile takes an archive that is cut inside a header for a whole one
                if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it is cut short")
        except (tarfile.TarError, OSError):
            raise
        except Exception as error:  # headers with senseless numbers make tarfile raise nearly anything
            raise tarfile.ReadError(f"it is damaged ({type(error).__name__})") from None
    return list(parts.values()), other


def is_image(part: Part) -> bool:
    """Whether Pillow can read a file, by its content where its ending does not say so."""
    if IMAGE.fullmatch(part.name):
        return True
    if part.size > LARGEST:
        return False
    with part.file.open("rb") as stream, warnings.catch_warnings():
        stream.seek(part.start)
        content = stream.read(part.size)
        warnings.simplefilter("ignore")
        for form in (bytes, without_metadata):
            try:
                Image.open(io.BytesIO(form(content)), formats=formats()).close()
                return True
            except Image.DecompressionBombError:
                return True
            except Exception:  # damaged bytes make Pillow raise nearly anything
                continue
    return False


def contents(place: Path, apart: Sequence[Path] = ()) -> tuple[list[Part], list[tuple[str, str]], list[str]]:
    """The images of a split, its other files, and the names of its classes; a class may be a tar in it.

    What is no regular file beside the classes, as a link to nothing, counts as a class: one may have been there.
    """
    if place.is_dir():
        files, others = scan(place, apart)
        everything = [Part(name, place / name, 0, about.st_size) for name, about in files.items()]
        unused = list(others.items())
        classes = [path.name for path in place.iterdir() if path.is_dir() and not is_junk(path.name)]
    else:
        try:
            (everything, unused), classes = members(place), []
        except tarfile.TarError:
            if is_packed(Part("", place, 0, place.stat().st_size), plain=False):
                raise _unread(place) from None
            raise
    classes += {name for name, _ in unused if "/" not in name} - {part.name for part in everything}
    parts = []
    for part in everything:
        if "/" in part.name or not part.name.casefold().endswith(".tar"):
            parts.append(part)
            continue
        name = part.name[:-4]
        try:
            inside, others_inside = members(part.file, part.start, part.size)
        except tarfile.TarError as error:
            if is_packed(part, plain=False):
                raise _unread(place / printable(part.name)) from None
            raise tarfile.ReadError(f"{printable(part.name)}: {error}") from None
        classes.append(name)
        parts += [each._replace(name=f"{name}/{each.name}") for each in inside]
        unused += [(f"{name}/{each}", reason) for each, reason in others_inside]
    images = []
    for part in parts:
        if is_image(part):
            images.append(part)
            continue
        packed_up = ARCHIVE_NAME.fullmatch(part.name) or is_packed(part)
        if packed_up and "/" not in part.name:
            raise _unread(place / printable(part.name))
        reason = "not an image in a format that is read here (if it is one, make it a JPEG or PNG)"
        unused.append((part.name, "an archive within a class: unpack it there" if packed_up else reason))
    return images, unused, classes


def is_packed(part: Part, plain: bool = True) -> bool:
    """Whether a file begins as an archive does; without ``plain``, as any but a tar."""
    with part.file.open("rb") as stream:
        stream.seek(part.start)
        beginning = stream.read(min(part.size, 1 << 16))
    found = ARCHIVE.match(beginning)
    return found is not None and (plain or not found[0].endswith(b"ustar"))


def _unread(archive: Path) -> DataError:
    return DataError(f"{archive} is an archive that is not read in place: unpack it, or make it a plain .tar")
