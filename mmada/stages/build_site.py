"""Build the static site from what the other stages made."""

import io
import json
import shutil
from pathlib import Path
from typing import Any, Final

import polars as pl
import torch
from PIL import Image

from mmada.contracts.code_packing import unpack_codes
from mmada.contracts.facts import FACTS
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.records import DROPS, PICTURES, SELECTED
from mmada.contracts.tables import read_table, read_tables
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import trace
from mmada.params_data import Corpus
from mmada.params_schema import Paths
from mmada.params_training import TrainingBlock
from mmada.site.data_page import Reconstruction, data_page
from mmada.site.figures import write_script
from mmada.site.lineage_page import lineage_page
from mmada.site.overview_page import overview_page
from mmada.site.reports import read_reports
from mmada.site.scores_page import read_scores, scores_page
from mmada.site.training_page import read_curves, training_page
from mmada.stage_report import StageReport
from mmada.vq.magvit import load_folder, to_uint8

VERSION: Final = 1
OUT: Final = "site"

_RECONSTRUCTIONS: Final = 12
_ASSETS: Final = Path(__file__).resolve().parent.parent / "site" / "assets"


def build_site(
    *, out: Path, paths: Paths, corpora: dict[str, Corpus], training: dict[str, TrainingBlock]
) -> StageReport:
    """`index.html` and its pages; nothing in them asks the internet for anything."""
    inputs = {name: open_artifact(path) for name, path in _folders(paths, corpora, training).items()}
    checkpoints = ["init", *training]
    scores = read_scores(Path(paths.scores), checkpoints)
    store = ProvenanceStore(Path(paths.provenance))
    pages = {
        "index": overview_page(
            scores,
            read_reports(Path(paths.reports)),
            {artifact.path.as_posix(): artifact.id for artifact in inputs.values()},
        ),
        "data": _data(inputs, corpora),
        "training": training_page(read_curves(Path(paths.reports) / "training")),
        "scores": scores_page(scores),
        "lineage": lineage_page({name: trace(Path(paths.models) / name, store) for name in reversed(checkpoints)}),
    }
    for name, text in pages.items():
        (out / f"{name}.html").write_text(text, encoding="utf-8")
    shutil.copytree(_ASSETS, out, dirs_exist_ok=True)
    write_script(out)
    return StageReport(inputs=inputs, metrics={"pages": len(pages)})


def _folders(paths: Paths, corpora: dict[str, Corpus], training: dict[str, TrainingBlock]) -> dict[str, Path]:
    single = {name: Path(getattr(paths, name)) for name in ("codes", "facts", "selected", "gate", "magvit")}
    ingested = {f"ingested {key}": Path(paths.ingested) / key for key in corpora}
    models = {f"model {key}": Path(paths.models) / key for key in ("init", *training)}
    scores = {f"scores {path.name}": path for path in sorted(Path(paths.scores).iterdir())}
    return {**ingested, **single, **models, **scores}


def _data(inputs: dict[str, Artifact], corpora: dict[str, Corpus]) -> str:
    ingested = {key: inputs[f"ingested {key}"].path for key in corpora}
    unread = [read_table(path / "dropped.parquet", DROPS, f"ledger of {key}") for key, path in ingested.items()]
    facts = read_tables(inputs["facts"].path, "facts", FACTS, "facts")
    rows_in = {
        key: facts.filter(corpus=key).height + ledger.height for key, ledger in zip(corpora, unread, strict=True)
    }
    dropped = read_table(inputs["selected"].path / "dropped.parquet", DROPS, "ledger of selection")
    certificate: dict[str, Any] = json.loads((inputs["gate"].path / "certificate.json").read_text(encoding="utf-8"))
    return data_page(
        rows_in=rows_in,
        ledger=pl.concat([*unread, dropped]),
        facts=facts,
        kept=read_table(inputs["selected"].path / "selected.parquet", SELECTED, "selected rows"),
        checks=certificate["checks"],
        reconstructions=_reconstructions(inputs, ingested),
    )


def _reconstructions(inputs: dict[str, Artifact], ingested: dict[str, Path]) -> list[Reconstruction]:
    """A few pictures, in order of their sha256, as they came and as their codes give them back."""
    codes = read_table(inputs["codes"].path / "codes.parquet", IMAGE_CODES, "token table").head(_RECONSTRUCTIONS)
    wanted = codes.get_column("image_sha256").implode()
    tables = [read_tables(path, "pictures", PICTURES, key) for key, path in ingested.items()]
    originals = pl.concat(tables).filter(pl.col("image_sha256").is_in(wanted)).unique("image_sha256")
    by_sha = dict(originals.select("image_sha256", "bytes").iter_rows())
    model = load_folder(inputs["magvit"].path)
    shots = []
    for row in codes.iter_rows(named=True):
        grid = (row["grid_rows"], row["grid_columns"])
        values = unpack_codes(row["codes"], grid[0] * grid[1]).astype("int64").reshape(1, *grid)
        decoded = to_uint8(model.decode(torch.from_numpy(values)))[0]
        shots.append(
            Reconstruction(
                row["image_sha256"],
                _png(Image.open(io.BytesIO(by_sha[row["image_sha256"]]))),
                _png(Image.fromarray(decoded)),
                row["psnr"],
            )
        )
    return shots


def _png(image: Image.Image) -> bytes:
    """A small PNG for a page: what a browser would have to scale down anyway is scaled here."""
    stream = io.BytesIO()
    image.thumbnail((256, 256))
    image.convert("RGB").save(stream, format="PNG")
    return stream.getvalue()
