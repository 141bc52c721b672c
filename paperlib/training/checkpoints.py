"""Checkpoints: safetensors and JSON, written whole or not at all, the last two kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from paperlib.errors import PaperlibError
from paperlib.files import sync, write_whole
from paperlib.training.records import FORMAT, Line

# ---------------------------------------------------------------------------------------------------------
# Checkpoints: safetensors and JSON, written whole or not at all, the last two kept


def weights_sha256(tensors: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name}{tuple(t.shape)}{t.dtype}".encode())
        digest.update(
            t.view(torch.uint8).numpy().tobytes() if t.dim() else bytes(t.reshape(1).view(torch.uint8).tolist())
        )
    return digest.hexdigest()


def save_checkpoint(directory: Path, run_id: str, step: int, tensors: dict[str, Tensor], state: Line) -> None:
    """Write checkpoint ``step`` into ``directory`` and keep it and the one before it.

    The JSON comes last and holds the sha256 of the tensors' file, so a checkpoint cut off in the middle is
    recognised and the one before it is used.
    """
    stem = directory / f"step-{step:08d}"
    part = stem.with_suffix(".safetensors.part")
    try:
        # torch's NHWC strides are not part of the format: tensors are stored contiguous
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, part)
        sync(part)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        part.replace(stem.with_suffix(".safetensors"))
    except Exception as error:  # safetensors raises its own kind for a full disk
        part.unlink(missing_ok=True)
        raise PaperlibError(
            f"cannot write a checkpoint into {directory}: {error}; the one before it is untouched"
        ) from None
    content = {"format": FORMAT, "run": run_id, "step": step, "sha256": digest, "state": state}
    write_whole(stem.with_suffix(".json"), json.dumps(content).encode())
    kept = {path.stem for path in sorted(directory.glob("step-*.json"))[-2:]}
    for path in directory.glob("step-*"):
        if path.name.split(".")[0] not in kept:  # also what a killed process left without its JSON
            path.unlink()


def drop_checkpoints(directory: Path, after: int) -> None:
    """Delete the checkpoints of later steps than ``after``: they are damaged, or do not fit the record."""
    for path in directory.glob("step-*"):
        if int(path.name[5:13]) > after:
            path.unlink()


def load_checkpoint(
    directory: Path, run_id: str, fits: Callable[[int, Line], bool] = lambda step, state: True
) -> tuple[int, dict[str, Tensor], Line] | None:
    """The newest whole checkpoint in ``directory`` that fits, or None. Raises where it belongs to another run, and
    where a file that is there cannot be read: a disk that does not answer is no reason to begin anew.
    """
    for path in sorted(directory.glob("step-*.json"), reverse=True):
        try:
            content = json.loads(path.read_text())
            tensors = path.with_suffix(".safetensors")
            if hashlib.sha256(tensors.read_bytes()).hexdigest() != content["sha256"]:
                continue
        except (FileNotFoundError, ValueError, KeyError):
            continue  # cut off in the middle: the one before it is whole
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
        if not fits(content["step"], content["state"]):
            continue
        return content["step"], load_file(tensors), content["state"]
    return None
