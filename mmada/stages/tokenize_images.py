"""Encode every distinct picture once, whatever corpora, files and versions of the data it comes in."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from mmada.contracts.code_packing import NUM_CODES, unpack_pictures
from mmada.contracts.image_codes import CODE_INDEX, IMAGE_CODES
from mmada.contracts.ingested import parts, same_part
from mmada.contracts.tables import from_parquet, write_table
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.numerics import numerics_class
from mmada.params_data import Corpus, Ingest, Vq
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.picture_encoding import THREADS, EncodingTask, encode_pictures
from mmada.workers import LateUnit, run_units

VERSION: Final = 6
OUT: Final = "codes"

_PICTURES_PER_UNIT: Final = 128
_TABLES_AT_HAND: Final = 64


@dataclass(frozen=True)
class _Part:
    """A part of ingested pictures, and those of them that no earlier part has."""

    corpus: str
    file: Path
    new: Sequence[str]

    @property
    def output(self) -> str:
        """Where their codes go, below the token table's folder."""
        return f"{self.corpus}/{same_part(self.file, 'codes')}"


def tokenize_images(
    *, out: Path, paths: Paths, store: UnitStore, corpora: dict[str, Corpus], ingest: Ingest, vq: Vq
) -> StageReport:
    """Writes the token table (contracts.image_codes), part by part as ingest wrote the pictures.

    Pictures that were encoded before, by the same network from the same size, are not encoded again.
    """
    ingested = {key: open_artifact(Path(paths.ingested) / key) for key in corpora}
    magvit = open_artifact(Path(paths.magvit))
    identity = [magvit.id, vq.resolution, vq.crop_policy, ingest.max_image_pixels, numerics_class(THREADS)]
    memo = store.group(f"codes-{unit_key('tokenize_images', VERSION, identity)[:16]}")
    pictures = list(_new_pictures(ingested))
    task = partial(
        EncodingTask,
        magvit=magvit.path,
        resolution=vq.resolution,
        crop_policy=vq.crop_policy,
        max_pixels=ingest.max_image_pixels,
        numerics=numerics_class(THREADS),
    )
    known = _KnownCodes(memo)
    units = list(_units(pictures, known, task))
    results = run_units(
        units,
        encode_pictures,
        memo,
        title="tokenize pictures",
        gpus=1,
        reads=[magvit.path],
        rows_of=lambda result: from_parquet(result).height,
        rows="pictures",
    )
    for unit, result in zip(units, results, strict=True):
        known.add(unit.key, result)
    quality = _write_codes(out, pictures, known)
    _write_indexes(out, ingested, pictures)
    count = sum(len(part.new) for part in pictures)
    return StageReport(
        inputs={**{f"ingested {key}": artifact for key, artifact in ingested.items()}, "magvit": magvit},
        rows_in=count,
        rows_kept=count,
        metrics=quality,
        metadata={"crop_policy": vq.crop_policy, "resolution": vq.resolution, "magvit": magvit.id},
    )


def _new_pictures(ingested: Mapping[str, Artifact]) -> Iterator[_Part]:
    seen: set[str] = set()
    for corpus, artifact in ingested.items():
        for file in parts(artifact.path, "pictures"):
            new = [sha for sha in pl.read_parquet(file, columns=["image_sha256"])["image_sha256"] if sha not in seen]
            seen.update(new)
            if new:
                yield _Part(corpus, file, new)


class _KnownCodes:
    """Codes of pictures by their sha256, from the results of all units that ever ran with this network."""

    def __init__(self, memo: UnitStore) -> None:
        self._memo = memo
        self._unit: dict[str, str] = {}
        self._table = lru_cache(_TABLES_AT_HAND)(self._read)
        for key, result in memo.results():
            self.add(key, result)

    def __contains__(self, image_sha256: object) -> bool:
        return image_sha256 in self._unit

    def add(self, key: str, result: bytes) -> None:
        """Take up the result of a unit."""
        table = pl.read_parquet(io.BytesIO(result), columns=["image_sha256"])
        self._unit.update(dict.fromkeys(table["image_sha256"], key))

    def rows(self, image_sha256: Sequence[str]) -> pl.DataFrame:
        """Rows of IMAGE_CODES, in order of `image_sha256`."""
        tables = [self._table(key) for key in dict.fromkeys(self._unit[sha] for sha in image_sha256)]
        wanted = pl.DataFrame({"image_sha256": image_sha256})
        distinct = pl.concat(tables).unique("image_sha256", keep="first", maintain_order=True)
        return wanted.join(distinct, on="image_sha256", how="left", maintain_order="left")

    def _read(self, key: str) -> pl.DataFrame:
        result = self._memo.get(key)
        assert result is not None, "it was there when this stage began, and nothing deletes results"
        return from_parquet(result)


def _units(
    pictures: Iterable[_Part], known: _KnownCodes, task: "partial[EncodingTask]"
) -> Iterator[LateUnit[EncodingTask]]:
    missing = [(sha, part.file) for part in pictures for sha in part.new if sha not in known]
    for start in range(0, len(missing), _PICTURES_PER_UNIT):
        some = missing[start : start + _PICTURES_PER_UNIT]
        yield LateUnit(unit_key([sha for sha, _ in some]), partial(_read_pictures, some, task))


def _read_pictures(wanted: Sequence[tuple[str, Path]], task: "partial[EncodingTask]") -> EncodingTask:
    files = dict.fromkeys(file for _, file in wanted)
    columns = ["image_sha256", "pixels_sha256", "bytes"]
    tables = pl.concat([pl.read_parquet(file, columns=columns) for file in files])
    rows = pl.DataFrame({"image_sha256": [sha for sha, _ in wanted]})
    return task(
        rows.join(tables.unique("image_sha256"), on="image_sha256", how="left", maintain_order="left", validate="1:1")
    )


def _write_codes(out: Path, pictures: Sequence[_Part], known: _KnownCodes) -> dict[str, object]:
    """Write the parts; gives what the codes are worth on the whole."""
    used = np.zeros(NUM_CODES, dtype=bool)
    psnr: list[float] = []
    for part in pictures:
        table = known.rows(part.new).select(list(IMAGE_CODES))
        write_table(table, out / part.output, IMAGE_CODES)
        used[unpack_pictures(table["codes"].to_list(), table["grid_rows"][0] * table["grid_columns"][0])] = True
        psnr += table["psnr"].to_list()
    return {"mean_psnr": float(np.mean(psnr)) if psnr else None, "codes_used": int(used.sum())}


def _write_indexes(out: Path, ingested: Mapping[str, Artifact], pictures: Sequence[_Part]) -> None:
    places = pl.DataFrame(
        [(sha, part.output, position) for part in pictures for position, sha in enumerate(part.new)],
        schema={name: CODE_INDEX[name] for name in ("image_sha256", "part", "position")},
        orient="row",
    )
    for corpus, artifact in ingested.items():
        for file in parts(artifact.path, "records"):
            rows = pl.read_parquet(file, columns=["row_id", "image_sha256"]).filter(pl.col("image_sha256") != "")
            if rows.is_empty():
                continue
            index = rows.join(places, on="image_sha256", how="left", maintain_order="left", validate="m:1")
            write_table(
                index.select(list(CODE_INDEX)),
                out / corpus / same_part(file, "index"),
                CODE_INDEX,
            )
