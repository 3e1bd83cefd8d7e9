"""A picture by its sha256: what it is, where its codes are and what they are worth, which rows show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import UInt16

from mmada.contracts.code_packing import unpack_codes
from mmada.contracts.image_codes import CODE_INDEX, IMAGE_CODES
from mmada.contracts.ingested import STORED_RECORDS, parts, same_part
from mmada.contracts.records import DROPS, PICTURES
from mmada.errors import IntegrityError
from mmada.params_schema import Params
from mmada.show.asked import begins_with, not_ingested, only_one, parse_id
from mmada.show.scanning import FILE, rows_of

_FIRST_ROWS: Final = 5


@dataclass(frozen=True)
class Picture:
    """One distinct picture. `facts`: of its file (width, height, format) and, once it has codes, of their quality;
    `codes`: where they lie (part below the token table's folder, position in it), None before tokenization.
    """

    image_sha256: str
    facts: Mapping[str, Any]
    codes: Mapping[str, Any] | None
    grid: UInt16[np.ndarray, "h w"] | None
    file: Path
    """Part of ingested pictures that holds the file's bytes."""

    def read_bytes(self) -> bytes:
        """The picture's file, as it came."""
        found = rows_of([self.file], PICTURES, pl.col("image_sha256") == self.image_sha256, ["bytes"])
        return bytes(found["bytes"][0])


@dataclass(frozen=True)
class ShownPicture:
    """A picture with the rows that show it: how many, the first of them, and how many were dropped, by reason.

    `dropped` is None before selection.
    """

    picture: Picture
    num_rows: int
    first_rows: Sequence[Mapping[str, Any]]
    dropped: Mapping[str, int] | None


def find_picture(asked: str, params: Params) -> ShownPicture:
    """The picture whose sha256 begins with `asked`. Raises InputError when there is none or more than one."""
    start = parse_id(asked, "image sha256")
    ingested = Path(params.paths.ingested)
    files = [file for corpus in params.corpora for file in parts(ingested / corpus, "records")]
    columns = ["row_id", "corpus", "source_file", "row", "image_sha256"]
    rows = rows_of(files, STORED_RECORDS, begins_with("image_sha256", start), columns)
    found = rows["image_sha256"].unique().to_list()
    waiting = not_ingested(params.corpora, params)
    sha256 = only_one(found, asked, "image sha256", f"{ingested} (pictures of rows that were read){waiting}")
    ledger = Path(params.paths.selected) / "dropped.parquet"
    dropped = None
    if ledger.is_file():
        lost = rows_of([ledger], DROPS, pl.col("row_id").is_in(rows["row_id"].unique().implode()), ["reason"])
        dropped = dict(lost.group_by("reason").len().sort("len", "reason", descending=[True, False]).iter_rows())
    first = rows.head(_FIRST_ROWS).select("row_id", "corpus", "source_file", "row").rows(named=True)
    return ShownPicture(picture_of_row(sha256, Path(rows[FILE][0]), params), rows.height, first, dropped)


def picture_of_row(image_sha256: str, records: Path, params: Params) -> Picture:
    """The picture of a row that lies in this part of records. Raises IntegrityError when no part has it."""
    ingested, codes = Path(params.paths.ingested), Path(params.paths.codes)
    corpus = records.parent.name
    index = codes / corpus / same_part(records, "index")
    wanted = pl.col("image_sha256") == image_sha256
    places = rows_of([index], CODE_INDEX, wanted, ["part", "position"]).select("part", "position")
    files = [ingested / part.with_name(same_part(part, "pictures")) for part in map(Path, places["part"].head(1))]
    known = _file_facts(wanted, files)
    if known.is_empty():  # no codes yet, or those of rows as they were read before
        file, facts = _find_file(wanted, ingested / corpus, records)
        return Picture(image_sha256, facts, None, None, file)
    place, facts = places.row(0, named=True), known.row(0, named=True)
    (quality,) = rows_of([codes / place["part"]], IMAGE_CODES, wanted).drop(FILE, "image_sha256").rows(named=True)
    grid = (quality.pop("grid_rows"), quality.pop("grid_columns"))
    values = unpack_codes(quality.pop("codes"), grid[0] * grid[1]).reshape(grid)
    return Picture(image_sha256, {**_without_file(facts), **quality}, place, values, files[0])


def _find_file(wanted: pl.Expr, folder: Path, records: Path) -> tuple[Path, dict[str, Any]]:
    """Before there is an index: a picture stands with the first span that shows it, which is seldom another one."""
    own = sorted(folder.glob(same_part(records, "pictures").replace(".", "-*.")))
    for files in (own, parts(folder, "pictures")):
        found = _file_facts(wanted, files)
        if found.height:
            facts = found.row(0, named=True)
            return Path(facts[FILE]), _without_file(facts)
    raise IntegrityError(f"{folder} lacks the picture of one of its rows; delete it and run `dvc repro ingest`")


def _file_facts(wanted: pl.Expr, files: Sequence[Path]) -> pl.DataFrame:
    return rows_of(files, PICTURES, wanted, ["format", "width", "height", "pixels_sha256"])


def _without_file(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != FILE}
