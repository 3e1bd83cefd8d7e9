"""Pictures as they came beside what the picture tokenizer gives back of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import torch
from PIL import Image

from mmada.contracts.code_packing import unpack_codes
from mmada.contracts.image_codes import read_code_facts, read_codes
from mmada.contracts.ingested import read_pictures
from mmada.site.thumbnail import thumbnail, thumbnail_of_file
from mmada.vq.magvit import load_magvit, to_uint8

_SHOWN: Final = 12


@dataclass(frozen=True)
class Reconstruction:
    """A picture as it came and as the tokenizer gives it back (PNG bytes). `psnr` in dB."""

    image_sha256: str
    original: bytes
    decoded: bytes
    psnr: float


def reconstruct(codes: Path, magvit: Path, ingested: Sequence[Path]) -> list[Reconstruction]:
    """A few pictures from the worst to the best, evenly spread by rank, with their originals from `ingested`."""
    table = read_code_facts(codes).sort("psnr", "image_sha256")
    ranks = torch.linspace(0, table.height - 1, min(_SHOWN, table.height)).round().long().tolist()
    wanted = table["image_sha256"][ranks].to_list()
    chosen = read_codes(codes, wanted=wanted).sort("psnr", "image_sha256")
    pictures = [read_pictures(path, f"pictures of {path}", wanted=wanted) for path in ingested]
    originals = pl.concat(pictures).unique("image_sha256")
    by_sha256 = dict(originals.select("image_sha256", "bytes").iter_rows())
    model = load_magvit(magvit)
    shots = []
    for row in chosen.iter_rows(named=True):
        grid = (row["grid_rows"], row["grid_columns"])
        values = torch.from_numpy(unpack_codes(row["codes"], grid[0] * grid[1]).astype("int64"))
        decoded = to_uint8(model.decode(values[None], height=grid[0], width=grid[1]))[0]
        original = thumbnail_of_file(by_sha256[row["image_sha256"]])
        shots.append(Reconstruction(row["image_sha256"], original, thumbnail(Image.fromarray(decoded)), row["psnr"]))
    return shots
