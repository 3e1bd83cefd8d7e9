"""Facts cost what is new, do not depend on history or order of arrival, and say what they searched for."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.contracts.facts import BENCHMARK_MATCHES, NEAR_DUPLICATES, read_facts
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.records import RECORDS, row_id
from mmada.contracts.tables import read_table, write_table
from mmada.curation.certificate import recheck
from mmada.curation.cot_facts import text_facts
from mmada.curation.personal_data import HIDDEN
from mmada.errors import ContractError, InputError, IntegrityError, ParamsError
from mmada.lineage.manifest import read_artifact, write_manifest
from mmada.params_data import Benchmark, Corpus, Selection
from mmada.params_schema import Params, load_params
from mmada.stages.annotate import annotate
from mmada.stages.select import select
from mmada.text_tokenizer import train_tokenizer
from mmada.unit_store import UnitStore
from tests.ingested import write_ingested

HELD = "Ann buys 12 pens and loses 5 of them before noon, how many pens are left"
CORPORA = ("problems", "captions")


def _row(corpus: str, file: str, row: int, task: str, prompt: str, response: str, **more: str) -> dict[str, Any]:
    reference, image = more.get("reference", ""), more.get("image", "")
    return {
        "row_id": row_id(task, prompt, response, reference, image),
        "corpus": corpus,
        "source_file": file,
        "file_sha256": file,
        "row": row,
        "task": task,
        "prompt": prompt,
        "response": response,
        "reference": reference,
        "kind": "",
        "image_sha256": image,
        "source": "test",
        "licence": "test",
    }


def _problem(file: str, row: int, prompt: str, thought: str, answer: str, reference: str) -> dict[str, Any]:
    return _row("problems", file, row, "chat", prompt, f"<think>{thought}</think>{answer}", reference=reference)


ROWS = [
    _problem("a.jsonl", 0, "what is 3 + 4?", "3 + 4 = 7", "7", "7"),
    _problem("a.jsonl", 1, "what is 3 + 4?", "3 + 4 = 7", "7", "7"),
    _problem("a.jsonl", 2, "WHAT is 3 + 4 ?", "3 + 4 = 7", "7", "7"),
    _problem("a.jsonl", 3, "what is 3 + 5?", "3 + 5 = 8", "9", "8"),
    _problem("a.jsonl", 4, f"Please: {HELD}?", "12 - 5 = 7", "7", "7"),
    _problem("a.jsonl", 5, "what is 9 - 5?", "9 - 5 = 4", "4.0", "4"),
    _row("captions", "c.jsonl", 0, "t2i", "a red circle", "", image="i1", reference='{"a": 1}'),
    _row("captions", "c.jsonl", 1, "t2i", "a red circle", "", image="i2"),
]
MORE = [
    _problem("b.jsonl", 0, "what is 8 - 5?", "8 - 5 = 3", "3", "3"),
    _problem("b.jsonl", 1, "what is 9 - 5?", "9 - 5 = 4", "4.0", "4"),
]


@pytest.fixture
def params(project: Path) -> Params:
    """Parameters of a project in which everything that annotation reads is in place."""
    params = load_params(Path("params.yaml"))
    _ingest(params, ROWS)
    pictures = [
        {
            "image_sha256": name,
            "pixels_sha256": f"pixels {name}",
            "grid_rows": 1,
            "grid_columns": 1,
            "codes": b"\0\0",
            "psnr": 30.0,
            "pixel_std": 50.0,
            "structure": 0.5,
            "lost_share": 0.0,
            "blur": 0.3,
            "image_side": 64,
            "image_aspect": 1.0,
            "code_entropy": 0.0,
            "codes_used": 1,
        }
        for name in ("i1", "i2")
    ]
    write_table(
        pl.DataFrame(pictures, schema=pl.Schema(IMAGE_CODES)),
        Path(params.paths.codes) / "made" / "codes-000000-000.parquet",
        IMAGE_CODES,
    )
    _finish(params.paths.codes)
    item = {name: "" for name in BENCHMARK_ITEMS} | {
        "item_id": "held1",
        "benchmark": "arithmetic",
        "kind": "reasoning",
        "prompt": HELD,
        "reference": "7",
    }
    folder = Path(params.paths.benchmark_items) / "arithmetic"
    write_table(pl.DataFrame([item], schema=pl.Schema(BENCHMARK_ITEMS)), folder / "items.parquet", BENCHMARK_ITEMS)
    _finish(folder)
    train_tokenizer([row["prompt"] for row in ROWS], Path(params.paths.text_tokenizer), vocab_size=300)
    _finish(params.paths.text_tokenizer)
    return params


def _finish(folder: str | Path) -> None:
    write_manifest(Path(folder), stage="test", version=1, metadata={})


def _ingest(params: Params, rows: list[dict[str, Any]]) -> None:
    table = pl.DataFrame(rows, schema=pl.Schema(RECORDS))
    for corpus in CORPORA:
        folder = Path(params.paths.ingested) / corpus
        write_ingested(folder, table.filter(corpus=corpus))
        _finish(folder)


def _sections(params: Params) -> dict[str, Any]:
    corpora: dict[str, Corpus] = {key: params.corpora[key] for key in CORPORA}
    benchmarks: dict[str, Benchmark] = {"arithmetic": params.benchmarks["arithmetic"]}
    return {"annotation": params.annotation, "corpora": corpora, "benchmarks": benchmarks}


def _annotate(params: Params, store: str, out: str | None = None) -> Path:
    folder = Path(out or params.paths.facts)
    folder.mkdir(parents=True, exist_ok=True)
    report = annotate(out=folder, paths=params.paths, store=UnitStore(Path(store)), **_sections(params))
    write_manifest(folder, stage="annotate", version=1, metadata=report.metadata)
    return folder


def _select(params: Params, **changes: Any) -> pl.DataFrame:
    selection = Selection.model_validate(params.selection.model_dump() | changes)
    out = Path(params.paths.selected)
    out.mkdir(parents=True, exist_ok=True)
    report = select(out=out, paths=params.paths, corpora=_sections(params)["corpora"], selection=selection)
    dropped = pl.read_parquet(out / "dropped.parquet")
    assert report.rows_in == report.rows_kept + dropped.height
    return dropped


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_facts_of_every_raw_row(params: Params) -> None:
    folder = _annotate(params, "units")
    known = pl.concat(read_facts(folder))
    facts = known.filter(corpus="problems").sort("row")
    assert facts["answer_correct"].to_list() == ["yes", "yes", "yes", "no", "yes", "yes"]
    assert facts["final_answer"].to_list() == ["7", "7", "7", "9", "7", "4.0"]
    assert facts["content_key"][0] == facts["content_key"][1] != facts["content_key"][2]
    assert facts["text_key"][0] == facts["text_key"][2] != facts["text_key"][3]
    assert (facts["num_text_tokens"] > 0).all()
    captions = known.filter(corpus="captions")
    assert captions["answer_correct"].to_list() == ["unchecked"] * 2  # its reference describes the picture
    assert captions["psnr"].to_list() == [30.0, 30.0]
    assert captions["text_key"].n_unique() == 2  # one caption under two pictures
    read_table(folder / "pairs.parquet", NEAR_DUPLICATES, "pairs")
    matches = read_table(folder / "matches.parquet", BENCHMARK_MATCHES, "matches")
    assert matches.select("row_id", "item_id").rows() == [(ROWS[4]["row_id"], "held1")]
    certificate = json.loads((folder / "certificate.json").read_text("utf-8"))
    assert certificate["matches"] == matches.rows(named=True)
    assert certificate["items"] == {"arithmetic": 1}
    assert certificate["rows_searched"] == len({row["row_id"] for row in ROWS})


def test_the_certificate_can_be_checked_again(params: Params) -> None:
    folder = _annotate(params, "units")
    ingested = {key: Path(params.paths.ingested) / key for key in CORPORA}
    benchmarks = {"arithmetic": Path(params.paths.benchmark_items) / "arithmetic"}

    def wrong() -> list[str]:
        limits = params.annotation.decontamination
        found = recheck(folder, ingested, benchmarks, ngram=limits.ngram, containment=limits.containment)
        return [line.split()[0] for line in found]

    assert wrong() == []
    stated = json.loads((folder / "certificate.json").read_text("utf-8"))
    (folder / "certificate.json").write_text(json.dumps(stated | {"matches": []}))
    assert wrong() == ["matches"]
    (folder / "certificate.json").write_text(json.dumps(stated | {"containment": 2.0}))
    assert wrong() == ["containment"], "a looser search proves less"
    for damaged in ("{", "[]"):
        (folder / "certificate.json").write_text(damaged)
        with pytest.raises(IntegrityError, match="dvc repro annotate"):
            wrong()
    _ingest(params, ROWS + MORE)
    _annotate(params, "units", "grown")
    (folder / "certificate.json").write_text(json.dumps(stated))
    assert wrong() == ["rows_searched", "rows_sha256"], "rows came that were never searched"


def test_selection_gives_each_row_one_reason(params: Params) -> None:
    _annotate(params, "units")
    dropped = _select(params)
    assert {row: reason for row, reason in dropped.select("row", "reason").iter_rows() if row > 2} == {
        3: "answer_wrong",
        4: "contaminated",
    }
    # Rows 0, 1 and 2 are one text: whichever stays, one of the others is equal to the byte and one is not.
    assert sorted(dropped.filter(pl.col("row") <= 2)["reason"]) == ["duplicate_exact", "duplicate_near"]
    assert pl.read_parquet(Path(params.paths.selected) / "selected.parquet").height == 4
    assert _select(params, require_correct=False).filter(reason="answer_wrong").is_empty()


def test_the_rows_of_a_conversation_share_a_place_and_keep_their_own_words(params: Params) -> None:
    asked_twice = _problem("c.jsonl", 0, "what is 2 + 5?", "2 + 5 = 7", "7", "7")
    others = [_problem("c.jsonl", 0, f"what is {n} + 5?", f"{n} + 5 = 1", "1", str(n + 5)) for n in (3, 4)]
    _ingest(params, [*ROWS, asked_twice, *others, asked_twice])
    _annotate(params, "units")
    dropped = _select(params).filter(source_file="c.jsonl")
    assert sorted(dropped.select("reason", pl.col("excerpt").str.head(14)).rows()) == [
        ("answer_wrong", "what is 3 + 5?"),
        ("answer_wrong", "what is 4 + 5?"),
        ("duplicate_exact", "what is 2 + 5?"),
    ]


def test_given_embeddings_drop_what_means_the_same(params: Params) -> None:
    same = [ROWS[number]["row_id"] for number in (0, 2, 5)]  # one of the first two stays, whatever embeddings say
    vectors = [[1.0, 0.1], [1.0, 0.1], [1.0, 0.0], [1.0, 0.0]]
    table = pl.DataFrame({"row_id": [*same, "of no row"], "embedding": vectors})
    table.write_parquet("embeddings.parquet")
    annotation = params.annotation.model_copy(update={"embeddings": "embeddings.parquet"})
    _annotate(params.model_copy(update={"annotation": annotation}), "units")
    ((dropped, kept),) = _select(params).filter(reason="duplicate_semantic").select("row_id", "value").rows()
    assert same[2] in (dropped, kept)
    assert kept < dropped
    assert _select(params, semantic_duplicate=0.999).filter(reason="duplicate_semantic").is_empty()


def test_new_rows_cost_only_themselves_and_equal_a_rebuild(params: Params) -> None:
    _annotate(params, "units")
    before = {path.name for path in Path("units").rglob("*") if path.is_file()}
    _annotate(params, "units")
    assert {path.name for path in Path("units").rglob("*") if path.is_file()} == before
    _ingest(params, ROWS + MORE)
    incremental = _bytes(_annotate(params, "units"))
    after = {path.name for path in Path("units").rglob("*") if path.is_file()}
    assert len(after - before) == 4  # three kinds of facts of the block that has grown, its benchmark search
    assert _bytes(_annotate(params, "other units", "rebuilt")) == incremental


def test_a_part_that_grows_keeps_the_facts_of_its_rows(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(rows: pl.DataFrame, *, verify_seconds: float) -> pl.DataFrame:
        read.append(rows.height)
        return text_facts(rows, verify_seconds=verify_seconds)

    monkeypatch.setattr("mmada.stages.annotate.text_facts", counted)
    monkeypatch.setattr("mmada.curation.text_units._ROWS_PER_BLOCK", 2)
    _annotate(params, "units")
    assert sum(read) == 7, "a row that came twice is read once"
    read.clear()
    _ingest(params, ROWS + MORE)
    grown = _bytes(_annotate(params, "units"))
    assert read == [2], "the block that one new row has filled"
    monkeypatch.setattr("mmada.curation.text_units._ROWS_PER_BLOCK", 5)
    assert _bytes(_annotate(params, "other units", "rebuilt")) == grown


@pytest.mark.parametrize("change", ["tokenizer", "shingle"])
def test_another_setting_makes_again_what_depends_on_it(params: Params, change: str) -> None:
    first = pl.concat(read_facts(_annotate(params, "units")))
    before = {path.name for path in Path("units").rglob("*") if path.is_file()}
    if change == "tokenizer":
        train_tokenizer([row["prompt"] for row in ROWS], Path(params.paths.text_tokenizer), vocab_size=400)
        _finish(params.paths.text_tokenizer)
        changed, units = ["num_text_tokens"], len(CORPORA)
    else:
        annotation = params.annotation.model_copy(update={"shingle": params.annotation.shingle + 1})
        params = params.model_copy(update={"annotation": annotation})
        changed, units = [], len(CORPORA) + 1  # the pairs that are proposed are compared by other shingles
    again = pl.concat(read_facts(_annotate(params, "units")))
    made = {path.name for path in Path("units").rglob("*") if path.is_file()} - before
    assert len(CORPORA) <= len(made) <= units, "facts that do not depend on it are made again"
    assert [name for name in first.columns if not first[name].equals(again[name])] == changed


def test_facts_do_not_depend_on_the_order_of_files(params: Params) -> None:
    _ingest(params, ROWS + MORE)
    _annotate(params, "units")
    first = _select(params).sort("corpus", "source_file", "row")
    _ingest(params, [*reversed(MORE), *reversed(ROWS)])
    _annotate(params, "other units")
    assert _select(params).sort("corpus", "source_file", "row").equals(first)


def test_a_picture_without_codes_is_an_error_that_names_the_row(params: Params) -> None:
    _ingest(params, [*ROWS, _row("captions", "c.jsonl", 2, "t2i", "a star", "", image="i9")])
    with pytest.raises(ContractError, match=r"c\.jsonl row 2"):
        _annotate(params, "units")


def test_a_threshold_below_the_recorded_floor_is_refused(params: Params) -> None:
    _annotate(params, "units")
    with pytest.raises(ParamsError, match="near_duplicate_floor"):
        _select(params, near_duplicate=0.5)


def test_the_ledger_names_the_kind_of_personal_data_and_shows_none(params: Params) -> None:
    told = _problem("c.jsonl", 0, "Mail olga@web.de: what is 4 + 4?", "4 + 4 = 8", "8", "8")
    _ingest(params, [*ROWS, told])
    _annotate(params, "units")
    lost = _select(params).filter(reason="personal_data")
    assert lost.select("source_file", "value", "excerpt").rows() == [("c.jsonl", "email", HIDDEN)]
    assert _select(params, unwanted_personal_data=["iban"]).filter(reason="personal_data").is_empty()


def test_personal_data_stands_in_no_ledger_whatever_the_reason(params: Params) -> None:
    asked = "whom do I write to?"
    rows = [
        _problem("c.jsonl", 0, f"Mail olga@web.de: {HELD}?", "12 - 5 = 7", "7", "7"),
        _problem("c.jsonl", 1, asked, "to the one who asked first", "her", "max@web.de"),
        _problem("c.jsonl", 2, asked, "to the one who was asked", "her", "olga@web.de"),
    ]
    _ingest(params, [*ROWS, *rows])
    _annotate(params, "units")
    lost = _select(params, leave_out=["personal_data"]).filter(source_file="c.jsonl")
    assert lost["reason"].to_list() == ["contaminated", *["reference_contradictory"] * 2]
    assert "@" not in "".join([*lost["excerpt"], *lost["value"]])
    assert HIDDEN in lost["value"].to_list()


def test_given_scores_drop_rows_by_limits_on_names_that_exist(params: Params) -> None:
    pl.DataFrame({"image_sha256": ["i1", "i2"], "nsfw": [0.9, 0.1]}).write_parquet("scores.parquet")
    annotation = params.annotation.model_copy(update={"scores": "scores.parquet"})
    _annotate(params.model_copy(update={"annotation": annotation}), "units")
    lost = _select(params, score_limits={"nsfw": {"max": 0.5}}).filter(reason="score_out_of_limits")
    assert lost.select("corpus", "row", "value").rows() == [("captions", 0, "nsfw 0.9")]
    pl.DataFrame({"row_id": ["nobody"], "nsfw": [0.9]}).write_parquet("others.parquet")
    annotation = params.annotation.model_copy(update={"scores": "others.parquet"})
    with pytest.raises(InputError, match="no row and no picture has a score"):
        _annotate(params.model_copy(update={"annotation": annotation}), "units", "other facts")
    with pytest.raises(ParamsError, match=r"names \['nfsw'\]; the scores of annotation\.scores are: nsfw"):
        _select(params, score_limits={"nfsw": {"max": 0.5}})


def test_keeping_nothing_is_an_error_that_says_why(params: Params) -> None:
    _annotate(params, "units")
    with pytest.raises(InputError, match="row_too_long"):
        _select(params, max_text_tokens=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.exclude("loop_share"), r"facts of \w+ .*missing columns \['loop_share'\]"),
        (pl.all().exclude("row", "scores").cast(pl.String), "wrong types .*num_text_tokens is String, not Int64"),
    ],
)
def test_facts_of_another_shape_are_refused(params: Params, change: pl.Expr, message: str) -> None:
    folder = _annotate(params, "units")
    for file in folder.glob("*/facts-*.parquet"):
        table = pl.read_parquet(file)
        table.select(change).write_parquet(file)
    write_manifest(folder, stage="annotate", version=1, metadata=read_artifact(folder).metadata)
    with pytest.raises(ContractError, match=message):
        _select(params)
