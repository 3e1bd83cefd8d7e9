"""Tables between ingest and shards: records, pictures, facts, the drop ledger, and what selection kept.

`check(table, SCHEMA, where)` is called by the stage that writes a table and by the stage that reads it.
"""

import hashlib
from collections.abc import Mapping
from itertools import repeat
from typing import Final

import msgspec
import polars as pl

from mmada.errors import ContractError

_ENCODER: Final = msgspec.json.Encoder()
_HASHED_AT_A_TIME: Final = 10_000

Schema = Mapping[str, pl.DataType | type[pl.DataType]]

# One row of a raw corpus, in the words of contracts.sample.Sample.
RECORDS: Final[Schema] = {
    "row_id": pl.String,  # sha256 of the row's canonical content (see row_id)
    "corpus": pl.String,  # key of params.corpora
    "source_file": pl.String,  # path below the corpus folder
    "file_sha256": pl.String,  # sha256 of that file's bytes
    "row": pl.Int64,  # 0-based row (line, table row, tar member group) in that file
    "task": pl.String,  # contracts.sample.Task
    "prompt": pl.String,
    "response": pl.String,
    "reference": pl.String,  # gold answer, "" if none
    "kind": pl.String,  # free category of the source (question type), "" if none
    "image_sha256": pl.String,  # sha256 of the picture file's bytes, "" if none
    "source": pl.String,
    "licence": pl.String,
}

# Pictures by the sha256 of their bytes; `bytes` is the file as it came.
PICTURES: Final[Schema] = {
    "image_sha256": pl.String,
    "pixels_sha256": pl.String,  # of the decoded RGB pixels and their size: equal pictures in other containers
    "width": pl.Int64,
    "height": pl.Int64,
    "format": pl.String,  # of the bytes, whatever the file was called: PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM
    "bytes": pl.Binary,
}

# Every dropped row, by the stage that dropped it, with the reason and the value that failed.
DROPS: Final[Schema] = {
    "corpus": pl.String,
    "source_file": pl.String,
    "row": pl.Int64,
    "row_id": pl.String,  # "" where the row could not be read
    "reason": pl.String,
    "value": pl.String,  # what failed: a length, the twin's row_id, the benchmark item, a parser's message
    "excerpt": pl.String,  # at most 200 characters of the row, for people
}

# One raw row: where a kept row came from.
ORIGIN: Final = pl.Struct({"corpus": pl.String, "source_file": pl.String, "file_sha256": pl.String, "row": pl.Int64})

# A kept row with every raw row that it stands for.
SELECTED: Final[Schema] = {
    "row_id": pl.String,
    "corpus": pl.String,
    "task": pl.String,
    "kind": pl.String,
    "ordinal": pl.Int64,
    "origins": pl.List(ORIGIN),  # every raw row with this content, so that duplicates trace together
}


def row_id(task: str, prompt: str, response: str, reference: str, image_sha256: str) -> str:
    """sha256 (64 hex digits) of a row's canonical content: equal content gives equal ids, wherever it came from.

    The content is a JSON array in UTF-8 without spaces, nothing escaped that need not be.
    """
    content = _ENCODER.encode([task, prompt, response, reference, image_sha256])
    return hashlib.sha256(content).hexdigest()


def row_ids(task: str, rows: pl.DataFrame) -> pl.Series:
    """`row_id` of every row of a table with `prompt`, `response`, `reference` and `image_sha256`."""
    digests: list[bytes] = []
    content = bytearray()
    for part in rows.select("prompt", "response", "reference", "image_sha256").iter_slices(_HASHED_AT_A_TIME):
        fields = (column.to_list() for column in part)  # rows as Python's would take twice as long to make
        for row in zip(repeat(task), *fields):
            _ENCODER.encode_into(row, content)
            digests.append(hashlib.sha256(content).digest())
    return pl.Series("row_id", digests, dtype=pl.Binary).bin.encode("hex")


def rows_digest(row_ids: pl.Series) -> str:
    """sha256 of a set of row ids, whatever their order and however often each is there."""
    digest = hashlib.sha256()
    for part in row_ids.unique().sort().to_frame("row_id").iter_slices(_HASHED_AT_A_TIME):
        digest.update("".join(f"{row_id}\n" for row_id in part["row_id"]).encode())
    return digest.hexdigest()


def check(table: pl.DataFrame, schema: Schema, where: str) -> pl.DataFrame:
    """`table` with its columns in the schema's order; ContractError names missing, unexpected or mistyped columns."""
    wanted = pl.Schema(schema)
    actual = table.schema
    missing = [name for name in wanted if name not in actual]
    unexpected = [name for name in actual if name not in wanted]
    mistyped = [
        f"{name} is {actual[name]}, not {wanted[name]}"
        for name in wanted
        if name in actual and actual[name] != wanted[name]
    ]
    if missing or unexpected or mistyped:
        raise ContractError(
            f"{where}: missing columns {missing}, unexpected columns {unexpected}, wrong types {mistyped}"
        )
    return table.select(list(wanted))
