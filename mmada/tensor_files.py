"""Reading of weight files: safetensors only, and every tensor that a network wants, no more and no fewer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmada.errors import CheckpointError

_PICKLE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_PICKLE_STARTS: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files of torch.save begin: a zip archive since torch 1.6, a bare pickle before."""

_CONVERT: Final = (
    "it is a pickle, which can run code when it is read, so it is never opened; where you trust it, convert it: "
    "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises CheckpointError when the file is absent, damaged, or a pickle (then it says how to convert it).
    """
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # safe_open is no mapping


def read_shapes(path: Path) -> dict[str, torch.Size]:
    """The shapes of all tensors of a safetensors file, by its header alone. Raises as `read_tensors`."""
    with _opened(path) as file:
        return {key: torch.Size(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; {_instead(path)}")
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(_PICKLE_STARTS):
        raise CheckpointError(f"{path} should be a safetensors file, but {_CONVERT}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error


def check_shapes(wanted: Mapping[str, torch.Size], given: Mapping[str, torch.Size], where: str) -> None:
    """Raise CheckpointError that names missing, unknown and misshapen tensors, shapes as found and expected."""
    missing = sorted(wanted.keys() - given.keys())
    unknown = sorted(given.keys() - wanted.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{where}: found {len(given)} tensors, expected {len(wanted)}; {len(missing)} missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}; take the config.json that belongs to these weights"
        )
    for key, shape in wanted.items():
        if given[key] != shape:
            raise CheckpointError(f"{where}: {key} has shape {tuple(given[key])}, expected {tuple(shape)}")


def _instead(path: Path) -> str:
    """What lies where the file should be."""
    if not path.parent.is_dir():
        return f"nor does the folder {path.parent}"
    pickles = sorted(other.name for other in path.parent.iterdir() if other.suffix in _PICKLE_SUFFIXES)
    if pickles:
        return f"{path.parent / pickles[0]} does, but {_CONVERT}"
    return f"is {path.parent} a model folder?"
