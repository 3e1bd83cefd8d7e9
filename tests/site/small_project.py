"""A finished small project made by hand, with text that no page may take for its own."""

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image

from mmada.contracts.code_packing import pack_codes
from mmada.contracts.facts import FACTS
from mmada.contracts.image_codes import CODE_INDEX, IMAGE_CODES
from mmada.contracts.ingested import part_name
from mmada.contracts.records import DROPS, PICTURES, RECORDS, SELECTED
from mmada.contracts.tables import write_table
from mmada.evaluation.measured_scores import GRADED_ITEMS, ScoreIdentity, measure
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.params_schema import Params, Paths, load_params
from mmada.shards.index import INDEX, index_name
from mmada.training.curve_file import curve_line
from mmada.vq.magvit import MagvitSizes, MAGVITv2, save_magvit
from tests.ingested import write_facts, write_ingested

PARAMS: Params = load_params(Path(__file__).resolve().parents[2] / "params.yaml")
PATHS: Paths = PARAMS.paths
# A name with an underscore is not its own anchor.
TRAINING = {
    "stage1": PARAMS.training["stage1"],
    "stage1_2": PARAMS.training["stage2"],
    "stage3": PARAMS.training["stage3"].model_copy(update={"init": "stage1_2"}),
}
CORPORA = {"captions": "t2i", "problems": "chat"}
HOSTILE = """<script>alert("1")</script>'"&<img src="http://evil.invalid/x.png" onerror=alert(1)></pre></table>"""
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd"
LONG_WORD = "x" * 4000
TEXTS = (HOSTILE, RIGHT_TO_LEFT, LONG_WORD, "plain", "</script><b>", "a\nb")


def png(shade: int) -> bytes:
    """A flat picture of 64 x 64 pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, 80, 200)).save(stream, format="PNG")
    return stream.getvalue()


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def finish(folder: Path, stage: str, key: str = "", **run: Any) -> Artifact:
    """Write the manifest of an output and how it came to be."""
    made = write_manifest(folder, stage=stage, key=key, version=1, metadata=run.get("metadata", {}))
    inputs: dict[str, Artifact] = run.get("inputs", {})
    record = Run(
        stage=stage,
        key=key,
        version=1,
        path=folder.as_posix(),
        inputs={name: (artifact.id, artifact.path.as_posix()) for name, artifact in inputs.items()},
        raw_files=run.get("raw_files", {}),
        params=run.get("params", {}),
        started=datetime.now(UTC),
    )
    ProvenanceStore(Path(PATHS.provenance)).append(made, record, rows=run.get("rows", ()))
    return made


def table(rows: list[dict[str, Any]], schema: Any) -> pl.DataFrame:
    """Rows as a table; columns that are not given hold the type's zero."""
    zero = {pl.String: "", pl.Int64: 0, pl.UInt32: 0, pl.Float64: 0.0, pl.Binary: b"", pl.Boolean: False}
    whole = [{name: row.get(name, zero.get(kind)) for name, kind in schema.items()} for row in rows]
    return pl.DataFrame(whole, schema=pl.Schema(schema))


def make_project() -> None:
    """Make it in the current folder: two corpora, models init, stage1 and stage1_2, scores of all but stage1_2."""
    ingested = {corpus: _ingest(corpus, task) for corpus, task in CORPORA.items()}
    of_corpora = {f"ingested {corpus}": artifact for corpus, artifact in ingested.items()}
    magvit = _magvit(of_corpora)
    codes = _codes(magvit, of_corpora)
    facts = _facts(codes)
    selected = _selected(facts)
    gate = _gate(selected)
    shards = _shards({"selected": selected, "gate": gate, **of_corpora})
    models = _models(magvit, shards)
    for place, name in enumerate(("init", "stage1")):
        _scores(name, models[name], right_from=3 - 2 * place)


def _records(corpus: str) -> list[dict[str, Any]]:
    task = CORPORA[corpus]
    return [
        {
            "row_id": sha256(f"{corpus} {number}"), "corpus": corpus, "source_file": f"{corpus}.jsonl",
            "file_sha256": sha256(corpus), "row": number, "task": task, "prompt": text, "response": text,
            "reference": text, "image_sha256": sha256(png(number)) if task == "t2i" else "", "source": HOSTILE,
            "licence": "CC0-1.0", "kind": text, "num_text_tokens": 5 + number, "psnr": 20.0 + number,
            "code_entropy": 2.0, "num_thought_words": number,
        }
        for number, text in enumerate(TEXTS)
    ]  # fmt: skip


def _ingest(corpus: str, task: str) -> Artifact:
    folder = Path(PATHS.ingested) / corpus
    write_ingested(folder, table(_records(corpus), RECORDS))
    if task == "t2i":
        pictures = [
            {"image_sha256": sha256(png(n)), "width": 64, "height": 64, "bytes": png(n)} for n in range(len(TEXTS))
        ]
        write_table(table(pictures, PICTURES), folder / part_name("pictures", 0, 0), PICTURES)
    unread = [{"corpus": corpus, "reason": "malformed_json", "value": HOSTILE, "excerpt": HOSTILE, "row": 90}]
    write_table(table(unread * 7, DROPS), folder / part_name("dropped", 0), DROPS)
    return finish(folder, "ingest", corpus, raw_files={f"data/raw/{corpus}.jsonl": sha256(corpus)})


def _magvit(inputs: dict[str, Artifact]) -> Artifact:
    ones = (1, 1, 1, 1, 1)
    torch.manual_seed(0)
    sizes = MagvitSizes(
        ch=32, ch_mult_encoder=ones, ch_mult_decoder=ones, num_res_blocks_encoder=ones, num_res_blocks_decoder=ones,
        z_channels=6,
    )  # fmt: skip
    save_magvit(MAGVITv2(sizes).eval(), Path(PATHS.magvit))
    return finish(Path(PATHS.magvit), "train_magvit", inputs=inputs)


def _codes(magvit: Artifact, inputs: dict[str, Artifact]) -> Artifact:
    grid = np.arange(16, dtype=np.uint16)
    rows = [
        {
            "image_sha256": sha256(png(n)),
            "grid_rows": 4,
            "grid_columns": 4,
            "codes": pack_codes(grid),
            "psnr": 20.0 + n,
        }
        for n in range(len(TEXTS))
    ]
    folder, part = Path(PATHS.codes), f"captions/{part_name('codes', 0, 0)}"
    write_table(table(rows, IMAGE_CODES), folder / part, IMAGE_CODES)
    places = [{**row, "part": part, "position": row["row"]} for row in _records("captions")]
    write_table(table(places, CODE_INDEX), folder / "captions" / part_name("index", 0), CODE_INDEX)
    inputs = {"magvit": magvit, **inputs}
    return finish(folder, "tokenize_images", inputs=inputs, metadata={"crop_policy": PARAMS.vq.crop_policy})


def _facts(codes: Artifact) -> Artifact:
    for corpus in CORPORA:
        write_facts(Path(PATHS.facts), table(_records(corpus), FACTS))
    return finish(Path(PATHS.facts), "annotate", inputs={"codes": codes})


def _selected(facts: Artifact) -> Artifact:
    kept = [{**row, "ordinal": 0, "origins": [_origin(row)]} for corpus in CORPORA for row in _records(corpus)[:-1]]
    lost = [{**_records(corpus)[-1], "reason": HOSTILE, "value": "3", "excerpt": LONG_WORD} for corpus in CORPORA]
    folder = Path(PATHS.selected)
    write_table(table(kept, SELECTED), folder / "selected.parquet", SELECTED)
    write_table(table(lost, DROPS), folder / "dropped.parquet", DROPS)
    return finish(folder, "select", inputs={"facts": facts})


def _origin(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("corpus", "source_file", "file_sha256", "row")}


def _gate(selected: Artifact) -> Artifact:
    check = {
        "name": HOSTILE, "observed": None, "failing": 2, "examples": [["row 1", HOSTILE]], "limit_at": "gate",
        "arguments": {"min_value": 1}, "success": False, "override": {"who": HOSTILE, "why": HOSTILE},
    }  # fmt: skip
    Path(PATHS.gate).mkdir(parents=True)
    (Path(PATHS.gate) / "certificate.json").write_text(json.dumps({"checks": [check]}))
    return finish(Path(PATHS.gate), "validate", inputs={"selected": selected})


def _shards(inputs: dict[str, Artifact]) -> Artifact:
    rows = [
        {"key": f"k{n}-{corpus}", **row, "origins": [_origin(row)]}
        for corpus in CORPORA
        for n, row in enumerate(_records(corpus)[:-1])
    ]
    index = Path(PATHS.shards) / "stage1" / index_name("all.tar")
    write_table(table(rows, INDEX), index, INDEX)
    return finish(index.parent, "write_shards", "stage1", inputs=inputs, rows=[index])


def _models(magvit: Artifact, shards: Artifact) -> dict[str, Artifact]:
    made: dict[str, Artifact] = {}
    for name, parent in (("init", ""), ("stage1", "init"), ("stage1_2", "stage1")):
        folder = Path(PATHS.models) / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(name.encode())
        if parent:
            params = {f"training.{name}": TRAINING[name].model_dump(mode="json")}
            inputs = {"magvit": magvit, "shards": shards, "parent": made[parent]}
            made[name] = finish(folder, "train", name, inputs=inputs, params=params)
        else:
            made[name] = finish(folder, "init_model", inputs={"magvit": magvit})
    return made


def _scores(name: str, model: Artifact, *, right_from: int) -> None:
    folder = Path(PATHS.scores) / name
    body: dict[str, Any] = {"benchmarks": {}, "ceiling": None}
    for benchmark, kind in (("drawn", "pictures"), ("sums", "reasoning")):
        items = [
            {
                "item_id": f"item {number}", "category": text, "prompt": text, "reference": text, "prediction": text,
                "answer": text, "picture": png(number) if kind == "pictures" else b"",
                "correct": (number + len(benchmark)) % 4 >= right_from,
            }
            for number, text in enumerate(TEXTS)
        ]  # fmt: skip
        graded = table(items, GRADED_ITEMS)
        write_table(graded, folder / f"items-{benchmark}.parquet", GRADED_ITEMS)
        identity = ScoreIdentity(model.id, f"items of {benchmark}", "verifier 1", "decoding")
        body["benchmarks"][benchmark] = measure(identity, kind, graded, dict.fromkeys(TEXTS, 0)).to_json()
        body["ceiling"] = body["benchmarks"][benchmark]
    (folder / "scores.json").write_text(json.dumps(body))
    finish(folder, "evaluate", name, inputs={"model": model})


def write_training_reports() -> None:
    """Curves of stage1, and the pictures that it drew on the way."""
    folder = Path(PATHS.reports) / "training"
    (folder / "stage1").mkdir(parents=True)
    lines = [
        curve_line(
            "r", step, {"loss/t2i": 3.0 / step, "cross_entropy/t2i/0.25": 2.0 / step, "cross_entropy/t2i/1.00": 2.5}
        )
        for step in range(1, 9)
    ]
    (folder / "stage1.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "stage1" / "prompts.json").write_text(json.dumps({"run": "r", "prompts": [HOSTILE, "plain"]}))
    for step in range(100, 2100, 100):
        for number in range(2):
            (folder / "stage1" / f"step-{step:06d}-{number}.png").write_bytes(png(number))
    (folder / "stage1" / "step-002100-0.png").write_bytes(png(0))  # a run that was killed between two pictures
