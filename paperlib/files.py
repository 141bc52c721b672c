"""Files written whole or not at all, their checksums, and the root of the edition."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from paperlib.errors import PaperlibError

HOME = "PAPERLIB_HOME"
SOURCE = Path(__file__).resolve().parent.parent
"""The folder that this package is in: the checkout, or where a wheel was installed."""


def is_checkout(folder: Path) -> bool:
    """Whether a folder holds the edition, with its records and embedded data."""
    return (folder / "data" / "recorded").is_dir() and (folder / "data" / "sample").is_dir()


def find_root() -> Path:
    """``PAPERLIB_HOME``; else the checkout that this file is in; else the working folder."""
    if os.environ.get(HOME):
        return Path(os.environ[HOME]).expanduser().resolve()
    return SOURCE if is_checkout(SOURCE) else Path.cwd()


ROOT = find_root()
"""Where records, embedded data, figures and runs are: the checkout, where there is one."""


def needs_checkout() -> None:
    """Raise :class:`PaperlibError` where the root is no checkout: an installed wheel has no records and no images."""
    if not is_checkout(ROOT):
        raise PaperlibError(
            f"this needs the records and embedded images of the checkout, and {ROOT} is none: "
            f"go to the checkout's folder, or name it in {HOME}"
        )


def write_whole(path: Path, data: bytes | bytearray) -> None:
    """Write a file so that, killed at any moment, either the old or the new content stands there."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise PaperlibError(
            f"cannot write {path}: {error.strerror or error}; what stood there before is untouched"
        ) from None


def sync(path: Path) -> None:
    """Wait until a file is on the disk: what is written after it must not outlive it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """The checksum of a file, as ``sha256sum`` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def follow_umask(path: Path) -> None:
    """Give a file the permissions of a plainly written one; some libraries keep theirs to the owner."""
    mask = os.umask(0o022)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def user_path(text: str | Path) -> Path:
    """A path as a user gives it, ``~`` replaced by the home folder; :class:`PaperlibError` where there is none."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise PaperlibError(f"{text}: this machine knows no such user; write the folder in full") from None
