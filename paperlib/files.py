"""Files that are written whole or not at all, their checksums, JSON from anywhere, locks, and the edition's root."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import warnings
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from paperlib.errors import PaperlibError

HOME = "PAPERLIB_HOME"
SOURCE = Path(__file__).resolve().parent.parent
"""The folder that this package is in: the checkout, or where a wheel was installed."""


def is_checkout(folder: Path) -> bool:
    """Whether a folder holds the edition, with its records and embedded data."""
    return (folder / "data" / "recorded").is_dir() and (folder / "data" / "sample").is_dir()


def in_environment(variable: str) -> str:
    """The value of an environment variable; empty where it is unset or blank."""
    text = os.environ.get(variable, "")
    return text if text.strip() else ""


def find_root() -> Path:
    """``PAPERLIB_HOME``; else the checkout that this file is in; else the working folder.

    A ``~user`` that is not known stays as it is: :func:`user_path` says so where a path is used.
    """
    if named := in_environment(HOME):
        home = Path(os.path.expanduser(named))
        return home.resolve() if os.path.exists(home) else home
    return SOURCE if is_checkout(SOURCE) else Path.cwd()


ROOT = find_root()  # Where records, embedded data, figures and runs are: the checkout, where there is one


def needs_checkout() -> None:
    """Raise :class:`PaperlibError` where the root is not a checkout: a wheel has neither records nor images."""
    if not is_checkout(user_path(ROOT)):
        raise PaperlibError(
            f"{ROOT} is not a checkout with records and embedded images: "
            f"run this in the checkout's folder, or name that folder in {HOME}"
        )


def write_whole(path: Path, data: bytes | bytearray) -> None:
    """Write a file so that, killed at any moment, it has either its old or its new content."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise PaperlibError(f"cannot write {path}: {error.strerror or error}; its old content is unchanged") from None


def user_path(text: str | Path) -> Path:
    """A path that a user names, with "~" as the shell reads it.

    Raises :class:`PaperlibError` for an unknown user, and for an empty text, which would be the working folder.
    """
    if not str(text):
        raise PaperlibError('a path is empty, as of a variable that is not set: name the folder, or "." for this one')
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise PaperlibError(f"{text} names a user whose home folder is not known: write the whole path") from None


def sha256(path: Path) -> str:
    """The checksum of a file, as ``sha256sum`` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def follow_umask(path: Path) -> None:
    """Give a file the permissions of a plainly written one; some libraries keep theirs to the owner."""
    mask = os.umask(0o022)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for any other text, for NaN, and for one nested too deeply."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def locked(path: Path, busy: str, kind: type[PaperlibError] = PaperlibError) -> BaseFileLock:
    """Lock the file ``path`` for this process until it releases it or ends.

    File systems without flock (Lustre, some NFS) get a lock that is a file's existence, ``path`` with ".soft" added.
    Raises an error of ``kind``, which begins with ``busy``, where another process holds the lock, and OSError where the
    file cannot be written.
    """
    lock: BaseFileLock = FileLock(path, timeout=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of filelock fall back by themselves, with a warning
            try:
                lock.acquire()
            except (NotImplementedError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                    raise
                lock = SoftFileLock(f"{path}.soft", timeout=0)
                lock.acquire()
    except Timeout:
        holder = _holder(Path(lock.lock_file))
        raise kind(
            f"{busy}{holder}; wait for it or end it; if it is gone, which some file systems do not notice, delete "
            f"{lock.lock_file}"
        ) from None
    if not isinstance(lock, SoftFileLock):
        path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")  # as a soft lock does by itself
    return lock


def _holder(path: Path) -> str:
    """Process and host that a lock file names, in brackets; empty where it names none."""
    try:
        number, host = path.read_text(errors="replace").split()[:2]
    except (OSError, ValueError):
        return ""
    return f" (process {number} on host {host})"
