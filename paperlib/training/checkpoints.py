"""Checkpoints: safetensors and JSON, each written whole or not at all, the last two kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from paperlib.errors import PaperlibError
from paperlib.files import parse_json, write_whole
from paperlib.training.records import FORMAT, Line

OURS = re.compile(r"step-(\d{8,12})\.(?:json|safetensors)(?:\.part)?")
FIELDS = {"format": int, "run": str, "step": int, "sha256": str, "state": dict}
CHECK = "json_sha256"
"""The field that protects the others. Checkpoints made before it was introduced have none, and are read as they are."""


def weights_sha256(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name}{tuple(t.shape)}{t.dtype}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensors_of(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises :class:`PaperlibError`, which names ``path``, where it is none."""
    try:
        return load(data)
    except Exception as error:  # nonsense in the header raises nearly anything
        raise PaperlibError(f"{path} is not a safetensors file that can be read: {error}") from None


def files_by_step(directory: Path) -> dict[int, list[Path]]:
    """The files of each checkpoint in ``directory``, unfinished ones included. Files of other names are not ours."""
    found: defaultdict[int, list[Path]] = defaultdict(list)
    for path in directory.glob("step-*"):
        if named := OURS.fullmatch(path.name):
            found[int(named[1])].append(path)
    return dict(sorted(found.items()))


def steps(directory: Path) -> list[int]:
    """The steps of the finished checkpoints in ``directory``, in order."""
    return [step for step, paths in files_by_step(directory).items() if any(p.suffix == ".json" for p in paths)]


def save_checkpoint(directory: Path, run_id: str, step: int, tensors: dict[str, Tensor], state: Line) -> None:
    """Write checkpoint ``step`` into ``directory``; keep it and the one before it.

    The JSON comes last. It holds the sha256 of the tensors' file, and its own, so that a damaged checkpoint is
    recognised and the one before it is used.
    """
    stem = directory / f"step-{step:08d}"
    # torch's NHWC strides are not part of the format: tensors are stored contiguous
    data = save({name: t.detach().contiguous() for name, t in tensors.items()})
    write_whole(stem.with_suffix(".safetensors"), data)
    content = {
        "format": FORMAT, "run": run_id, "step": step, "sha256": hashlib.sha256(data).hexdigest(), "state": state,
    }  # fmt: skip
    write_whole(stem.with_suffix(".json"), json.dumps({**content, CHECK: _digest(content)}).encode())
    kept = steps(directory)[-2:]
    for other, paths in files_by_step(directory).items():
        for path in paths if other not in kept else ():  # also what a killed process left without its JSON
            path.unlink()


def _digest(content: Line) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def drop_checkpoints(directory: Path, after: int) -> None:
    """Delete the checkpoints of steps after ``after``: they are damaged, or do not fit the record."""
    for step, paths in files_by_step(directory).items():
        for path in paths if step > after else ():
            path.unlink()


def load_checkpoint(
    directory: Path, run_id: str, fits: Callable[[Line], bool] = lambda state: True
) -> tuple[int, dict[str, Tensor], Line] | None:
    """The newest whole checkpoint in ``directory`` that fits, or None: its step, tensors and state.

    Raises :class:`PaperlibError` where it belongs to another run, and where a file cannot be read: a disk that does
    not answer is no reason to train anew.
    """
    for step in reversed(steps(directory)):
        path = directory / f"step-{step:08d}.json"
        try:
            content = parse_json(path.read_bytes())
            data = path.with_suffix(".safetensors").read_bytes()
            if newer(content):
                raise PaperlibError(
                    f"{path} has checkpoint format {content['format']}, this version reads {FORMAT}; update paperlib"
                )
            if not is_whole(content, step, data):
                continue
        except (FileNotFoundError, ValueError, RecursionError):
            continue  # cut off in the middle, or damaged: the one before it is whole
        except OSError as error:
            raise PaperlibError(
                f"cannot read {error.filename or path}: {error.strerror or error}; nothing is changed, run it again "
                "when the disk answers"
            ) from None
        if content["run"] != run_id:
            raise PaperlibError(
                f"the checkpoints in {directory} belong to another run ({content['run'][:12]}, not {run_id[:12]}); "
                "use another folder or delete them"
            )
        if fits(content["state"]):
            return step, tensors_of(data, path.with_suffix(".safetensors")), content["state"]
    return None


def newer(content: Any) -> bool:
    """Whether a checkpoint's JSON, undamaged, is of another format than this version reads."""
    if not isinstance(content, dict) or content.get("format", FORMAT) == FORMAT:
        return False
    return content.get(CHECK) == _digest({name: value for name, value in content.items() if name != CHECK})


def is_whole(content: Any, step: int, data: bytes) -> bool:
    """Whether a checkpoint's JSON has its fields and no others, its own checksum, and that of the tensors' ``data``."""
    if not isinstance(content, dict) or content.keys() - {CHECK} != FIELDS.keys():
        return False
    plain = {name: content[name] for name in FIELDS}
    if not all(isinstance(plain[name], kind) for name, kind in FIELDS.items()):
        return False
    if plain["step"] != step or plain["format"] != FORMAT:
        return False
    return content.get(CHECK) in (None, _digest(plain)) and hashlib.sha256(data).hexdigest() == plain["sha256"]
