"""Fit a byte-level BPE on the ingested text, or take a published tokenizer as it is."""

from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.ingested import read_records
from mmada.lineage.manifest import file_sha256, open_artifact
from mmada.params_data import Corpus, TextTokenizer
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.text_tokenizer import copy_tokenizer, load_tokenizer, train_tokenizer

VERSION: Final = 2
OUT: Final = "text_tokenizer"


def fit_text_tokenizer(
    *, out: Path, paths: Paths, corpora: dict[str, Corpus], text_tokenizer: TextTokenizer
) -> StageReport:
    """Writes `tokenizer.json` and its configuration; rows are taken in order of row_id, whatever order they came in."""
    if text_tokenizer.folder:
        return _take_published(out, Path(text_tokenizer.folder))
    artifacts = {key: open_artifact(Path(paths.ingested) / key) for key in corpora}
    records = pl.concat(read_records(artifact.path, f"ingested {key}") for key, artifact in artifacts.items())
    chosen = records.unique("row_id").sort("row_id").head(text_tokenizer.rows)
    texts = chosen.select(pl.concat_str("prompt", pl.lit("\n"), "response")).to_series().to_list()
    train_tokenizer(texts, out, vocab_size=text_tokenizer.vocab_size)
    return StageReport(
        inputs={f"ingested {key}": artifact for key, artifact in artifacts.items()},
        metrics={"rows": len(texts), "vocab_size": len(load_tokenizer(out))},
    )


def _take_published(out: Path, folder: Path) -> StageReport:
    files = copy_tokenizer(folder, out)
    return StageReport(
        raw_files={path.as_posix(): file_sha256(path) for path in files},
        metrics={"vocab_size": len(load_tokenizer(out))},
    )
