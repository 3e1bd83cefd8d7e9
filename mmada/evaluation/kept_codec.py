"""The picture tokenizer as evaluation uses it: held-out pictures to codes, codes that a model drew to pictures."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Int, UInt8

from mmada.evaluation.ceiling import objects_kept
from mmada.evaluation.metrics import Share, share
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.image_quality import to_picture
from mmada.vq.magvit import MAGVITv2, to_uint8
from mmada.vq.preprocess import Policy, decode_picture, preprocess


@dataclass(frozen=True)
class KeptCodec:
    """The picture tokenizer with the preprocessing of training; what it makes of pictures is kept in `store`. Pictures
    are in memory one at a time.

    `identity`: digest of the tokenizer's bytes and the numerics class.
    """

    magvit: MAGVITv2
    resolution: int
    crop_policy: Policy
    identity: str
    store: UnitStore

    @property
    def side(self) -> int:
        """Codes along each side of a picture."""
        return self.resolution // self.magvit.sizes.factor

    @property
    def num_tokens(self) -> int:
        """Codes of one picture."""
        return self.side**2

    def encode(self, pictures: pl.DataFrame) -> dict[str, Int[np.ndarray, "h w"]]:
        """image_sha256 -> codes, of rows of contracts.records.PICTURES."""
        names = pictures.get_column("image_sha256").to_list()
        grids = self._once(
            "codes",
            names,
            lambda: [
                self.magvit.encode(pixels).view(self.side, self.side).tolist() for pixels in self._prepared(pictures)
            ],
        )
        return {name: np.asarray(grid) for name, grid in zip(names, grids, strict=True)}

    def ceiling(self, pictures: pl.DataFrame) -> Share:
        """Share of the objects in pictures that are still read after encoding and decoding."""

        def measure() -> list[int]:
            kept = objects_kept(
                (to_picture(pixels[0].numpy()), self._decode(self.magvit.encode(pixels)))
                for pixels in self._prepared(pictures)
            )
            return [kept.correct, kept.n]

        names = pictures.get_column("image_sha256").to_list()
        correct, n = self._once("objects kept", names, measure)
        return share(correct, n)

    def draw(self, codes: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of row-major codes."""
        return self._decode(torch.tensor(codes)[None])

    def _once(self, what: str, names: Sequence[str], compute: Callable[[], list[Any]]) -> list[Any]:
        """Every checkpoint meets the same pictures: the tokenizer's part is computed for the first one."""
        key = unit_key(what, self.identity, self.resolution, self.crop_policy, names)
        stored = self.store.get(key)
        if stored is None:
            stored = json.dumps(compute()).encode()
            self.store.put(key, stored)
        known: list[Any] = json.loads(stored)
        return known

    def _prepared(self, pictures: pl.DataFrame) -> Iterator[torch.Tensor]:
        """Pixels [1, 3, R, R] of each row of contracts.records.PICTURES."""
        size = (self.resolution, self.resolution)
        for data, width, height in pictures.select("bytes", "width", "height").iter_rows():
            pixels = decode_picture(data, max_pixels=width * height)
            yield torch.from_numpy(preprocess(pixels, size=size, policy=self.crop_policy))[None]

    def _decode(self, codes: torch.Tensor) -> UInt8[np.ndarray, "H W 3"]:
        picture: UInt8[np.ndarray, "H W 3"] = to_uint8(self.magvit.decode(codes, height=self.side, width=self.side))[0]
        return picture
