"""Looking at a row and at a picture by id, in a project of a million rows."""

import contextlib
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from mmada.contracts.code_packing import pack_codes
from mmada.contracts.facts import STORED_FACTS, facts_part
from mmada.contracts.image_codes import CODE_INDEX, IMAGE_CODES
from mmada.contracts.ingested import STORED_RECORDS, part_name, write_files
from mmada.contracts.records import DROPS, PICTURES, SELECTED
from mmada.contracts.tables import to_parquet, write_table
from mmada.lineage.manifest import write_manifest
from mmada.params_schema import Params, Paths, load_params
from mmada.shards.index import INDEX, index_name
from mmada.show.known_pictures import find_picture
from mmada.show.known_rows import find_rows
from mmada.show.story import tell
from perf.filling import filled

ROWS = 1_000_000
ROWS_PER_SPAN = 5_000
ROWS_PER_PICTURE = 10
PICTURES_PER_PART = 100
ASKED = 20

CORPUS = "rows"
"""The one corpus; its raw file has the same name."""

_CODES = {"grid_rows": pl.lit(32), "grid_columns": pl.lit(32), "codes": pl.lit(pack_codes(np.zeros(1024, np.uint16)))}


def bench_show() -> dict[str, float]:
    """Seconds, and those of all processors together, of stories, of rows by id, prefix and place and of pictures by id;
    files are in the machine's cache.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        params = _params()
        _make_project(params.paths)
        numbers = [number * ROWS // ASKED + 17 for number in range(ASKED)]
        ids = [_sha256("row", number) for number in numbers]
        pictures = [_sha256("picture", number // ROWS_PER_PICTURE) for number in numbers]
        find_rows(ids[:1], params)  # makes the index of the parts
        return {
            **_timed("story", [lambda id_=id_: tell(id_, params) for id_ in ids]),
            **_timed("row_by_id", [lambda id_=id_: find_rows([id_], params) for id_ in ids]),
            **_timed("row_by_prefix", [lambda id_=id_: find_rows([id_[:12]], params) for id_ in ids]),
            **_timed("row_by_place", [lambda n=n: find_rows([f"{CORPUS}/{CORPUS}:{n}"], params) for n in numbers]),
            **_timed("picture_by_id", [lambda id_=id_: find_picture(id_, params) for id_ in pictures]),
        }


def _timed(name: str, work: list[Callable[[], object]]) -> dict[str, float]:
    seconds, processor = [], time.process_time()
    for one in work:
        started = time.perf_counter()
        one()
        seconds.append(time.perf_counter() - started)
    processor = (time.process_time() - processor) / len(work)
    return {
        f"{name}_best_s": min(seconds),
        f"{name}_median_s": statistics.median(seconds),
        f"{name}_processor_s": processor,
    }


def _params() -> Params:
    params = load_params(Path(__file__).parent.parent / "params.yaml")
    return params.model_copy(update={"corpora": {CORPUS: next(iter(params.corpora.values()))}})


def _make_project(paths: Paths) -> None:
    """Ingested rows, pictures, codes, facts, a selection that drops every tenth row, and one set of shards."""
    rows = pl.DataFrame({"row": range(ROWS)}).with_columns(
        row_id=pl.Series([_sha256("row", number) for number in range(ROWS)]),
        image_sha256=pl.Series([_sha256("picture", number // ROWS_PER_PICTURE) for number in range(ROWS)]),
        corpus=pl.lit(CORPUS), source_file=pl.lit(CORPUS), task=pl.lit("mmu"), file_sha256=pl.lit(_sha256("file", 0)),
        prompt=pl.concat_str(pl.lit("how many things does picture show? "), pl.col("row").cast(pl.String)),
        response=pl.concat_str(pl.col("row"), pl.lit(" and some words more " * 10)),
    )  # fmt: skip
    ingested, codes = Path(paths.ingested) / CORPUS, Path(paths.codes) / CORPUS
    write_files(ingested, {CORPUS: _sha256("file", 0)})
    codes.mkdir(parents=True)
    for span, some in enumerate(rows.iter_slices(ROWS_PER_SPAN)):
        records = filled(some, STORED_RECORDS)
        file = ingested / part_name("records", span)
        file.write_bytes(to_parquet(records, STORED_RECORDS))
        write_table(filled(some, STORED_FACTS), Path(paths.facts) / facts_part(CORPUS, file), STORED_FACTS)
        shown = some.select("image_sha256").unique(maintain_order=True)
        pictures = shown.with_columns(bytes=pl.lit(bytes(1000)), **_CODES)
        places = []
        for number, part in enumerate(pictures.iter_slices(PICTURES_PER_PART)):
            data = to_parquet(filled(part, PICTURES), PICTURES)
            (ingested / part_name("pictures", span, number)).write_bytes(data)
            file = codes / part_name("codes", span, number)
            write_table(filled(part, IMAGE_CODES), file, IMAGE_CODES)
            place = part.select("image_sha256", part=pl.lit(f"{CORPUS}/{file.name}"), position=pl.int_range(pl.len()))
            places.append(place)
        index = some.join(pl.concat(places), on="image_sha256", how="left", maintain_order="left")
        write_table(filled(index, CODE_INDEX), codes / part_name("index", span), CODE_INDEX)
    write_manifest(ingested, stage="ingest", version=1, metadata={})
    _select(rows.sort("row_id"), paths)


def _select(rows: pl.DataFrame, paths: Paths) -> None:
    is_dropped = pl.col("row") % 10 == 0
    origin = pl.concat_list(pl.struct("corpus", "source_file", "file_sha256", "row"))
    kept = rows.filter(~is_dropped).with_columns(origins=origin, key=pl.col("row_id").str.head(32), shard=pl.lit("s"))
    selected = Path(paths.selected)
    write_table(filled(kept, SELECTED), selected / "selected.parquet", SELECTED)
    dropped = rows.filter(is_dropped).with_columns(reason=pl.lit("image_flat"))
    write_table(filled(dropped, DROPS), selected / "dropped.parquet", DROPS)
    write_table(filled(kept, INDEX), Path(paths.shards) / "stage1" / index_name("captions.tar"), INDEX)


def _sha256(what: str, number: int) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()
