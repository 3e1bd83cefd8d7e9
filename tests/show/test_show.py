"""A row and a picture by their ids: all that was made of them so far, whatever their text and whatever is asked."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from mmada.cli import app
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.ingested import part_name
from mmada.contracts.records import DROPS, RECORDS, SELECTED
from mmada.contracts.tables import write_table
from mmada.errors import ContractError, InputError, MmadaError
from tests.ingested import write_ingested
from tests.site.small_project import PARAMS, PATHS, TEXTS, make_project, png, sha256, table

COMMANDS_OF_TERMINALS = "\x1b[2J\x1b]0;owned\x07 \x9b31m \r\b \u202ereversed\u2028 \x00"
LAST = len(TEXTS) - 1


@pytest.fixture(scope="module")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_project()
    return folder


@pytest.fixture
def made(finished_project: Path, project: Path) -> Path:
    """A project of which everything is made, in the current folder."""
    shutil.copytree(finished_project, project, dirs_exist_ok=True)
    return project


@pytest.fixture
def only_ingested(made: Path) -> Path:
    """A project of which nothing but the ingested rows is made."""
    for folder in (PATHS.codes, PATHS.facts, PATHS.selected, PATHS.shards):
        shutil.rmtree(folder)
    return made


def shown(*arguments: str) -> str:
    """What `mmada show` prints. Raises what it raises."""
    result = CliRunner().invoke(app, ["show", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(shown("rows", *arguments, "--json")))


def add_rows(*given: dict[str, Any]) -> None:
    """A corpus `texts` of these rows."""
    common = {"corpus": "texts", "source_file": "t.jsonl", "file_sha256": sha256("t"), "task": "lm"}
    records = [{**common, "row": number, **row} for number, row in enumerate(given)]
    write_ingested(Path(PATHS.ingested) / "texts", table(records, RECORDS))


def test_a_row_says_its_content_where_it_came_from_what_became_of_it_and_where_it_lies(made: Path) -> None:
    kept, dropped = rows(sha256("captions 0"), sha256(f"captions {LAST}"))
    assert kept["record"]["prompt"] == TEXTS[0]
    assert kept["origins"] == [
        {
            "corpus": "captions",
            "source_file": "captions.jsonl",
            "row": 0,
            "file_sha256": sha256("captions"),
            "fate": "kept",
        }
    ]
    assert kept["facts"]["num_text_tokens"] == 5
    assert [(place["stage"], place["key"]) for place in kept["shards"]] == [("stage1", "k0-captions")]
    assert kept["picture"]["image_sha256"] == sha256(png(0))
    assert kept["picture"]["codes"] == {"part": f"captions/{part_name('codes', 0, 0)}", "position": 0}
    assert dropped["origins"][0]["fate"].startswith("dropped by select: <script>")
    assert dropped["origins"][0]["fate"].endswith("(3)")
    assert dropped["shards"] == []
    assert kept["not_made"] == dropped["not_made"] == []


def test_the_beginning_of_an_id_and_the_place_of_a_raw_row_mean_the_row(made: Path) -> None:
    whole = sha256("captions 3")
    assert rows(whole[:6]) == rows(whole) == rows("captions/captions.jsonl:3")
    assert f"row {whole}" in shown("rows", whole[:9])


def test_a_row_that_ingest_dropped_is_found_by_its_place(made: Path) -> None:
    drop = {"corpus": "problems", "source_file": "a/b:c.jsonl", "row": 7, "reason": "malformed_json", "value": "line"}
    write_table(table([drop], DROPS), Path(PATHS.ingested) / "problems" / part_name("dropped", 1), DROPS)
    write_table(
        pl.DataFrame({"source_file": ["a/b:c.jsonl"], "file_sha256": ["f" * 64]}),
        Path(PATHS.ingested) / "problems" / "files.parquet",
        {"source_file": pl.String, "file_sha256": pl.String},
    )
    (row,) = rows("problems/a/b:c.jsonl:7")
    assert (row["row_id"], row["origins"][0]["fate"]) == ("", "dropped by ingest: malformed_json (line)")
    assert row["origins"][0]["file_sha256"] == "f" * 64


def test_rows_of_equal_content_are_one_row_with_all_its_origins_and_their_remarks(made: Path) -> None:
    add_rows({"row_id": "ab" * 32}, {"row_id": "cd" * 32}, {"row_id": "ab" * 32})
    remarks = [{"corpus": "texts", "source_file": "t.jsonl", "row": n, "reason": "r", "value": f"v{n}"} for n in (1, 2)]
    write_table(table(remarks, DROPS), Path(PATHS.ingested) / "texts" / part_name("noted", 0), DROPS)
    (row,) = rows("abababab")
    assert [origin["row"] for origin in row["origins"]] == [0, 2]
    assert row["remarks"] == ["r: v2"]
    assert "select" in row["not_made"]  # selection ran before this corpus was ingested


def test_rows_of_one_conversation_are_told_apart_by_their_ids(made: Path) -> None:
    add_rows({"row_id": "ab" * 32, "prompt": "first"}, {"row_id": "cd" * 32, "row": 0, "prompt": "second"})
    drop = {"corpus": "texts", "source_file": "t.jsonl", "row": 0, "reason": "missing_field", "value": "prompt"}
    write_table(table([drop], DROPS), Path(PATHS.ingested) / "texts" / part_name("dropped", 0), DROPS)
    with pytest.raises(InputError, match=rf"texts/t.jsonl:0' gave 2 rows; ask .*\n  {'ab' * 32}\n  {'cd' * 32}$"):
        shown("rows", "texts/t.jsonl:0")
    for row, prompt in zip(rows("ab" * 32, "cd" * 32), ("first", "second"), strict=True):
        assert row["record"]["prompt"] == prompt
        assert row["remarks"] == ["another row of it was dropped by ingest: missing_field (prompt)"]


def test_an_exchange_that_stands_twice_in_a_conversation_is_kept_once(made: Path) -> None:
    twice = {"row_id": "ab" * 32, "row": 0}
    add_rows(twice, twice)
    selected = Path(PATHS.selected)
    drop = {"corpus": "texts", "source_file": "t.jsonl", **twice, "reason": "duplicate_exact", "value": "ab" * 32}
    write_table(table([drop], DROPS), selected / "dropped.parquet", DROPS)
    write_table(table([{"row_id": "ab" * 32, "corpus": "texts"}], SELECTED), selected / "selected.parquet", SELECTED)
    (row,) = rows("texts/t.jsonl:0")
    assert sorted(origin["fate"] for origin in row["origins"]) == [
        f"dropped by select: duplicate_exact ({'ab' * 32})",
        "kept",
    ]


def test_ids_that_mean_several_rows_or_none_are_refused_with_advice(made: Path) -> None:
    add_rows({"row_id": "abcdef" + "0" * 58}, {"row_id": "abcdef" + "1" * 58})
    with pytest.raises(InputError, match=r"abcdef begins 2 ids .* give more digits"):
        shown("rows", "abcdef")
    assert len(rows("abcdef0")) == 1
    with pytest.raises(InputError, match=r"no row_id begins with 0{64}.*ask for corpus/file:row"):
        shown("rows", "0" * 64)
    with pytest.raises(InputError, match="rows count from 0"):
        shown("rows", "captions/captions.jsonl:400")
    with pytest.raises(InputError, match="no corpus is called 'nowhere'"):
        shown("rows", "nowhere/captions.jsonl:1")


@pytest.mark.parametrize(
    "asked",
    [
        "", "abcde", "ABCDEF", "g" * 64, "0" * 65, "..", "captions", "captions/:1", "captions/captions.jsonl:-1",
        "captions/../../etc/passwd:0", "/etc/passwd:1", "captions/captions.jsonl:" + "9" * 30, "abcdef\n",
        "captions/\x1b[2J:1", "*" * 6, "captions/captions.jsonl:1e3", "'; drop table", COMMANDS_OF_TERMINALS,
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["rows", "image"])
def test_hostile_ids_are_refused_in_printable_words(made: Path, command: str, asked: str) -> None:
    with pytest.raises(MmadaError) as error:
        shown(command, "--", asked)
    assert str(error.value).isprintable()


def test_text_cannot_command_the_terminal(made: Path) -> None:
    hostile = dict.fromkeys(("prompt", "response", "reference", "kind", "source", "licence"), COMMANDS_OF_TERMINALS)
    add_rows({"row_id": "ab" * 32, **hostile, "source_file": COMMANDS_OF_TERMINALS})
    for printed in (shown("rows", "abababab"), shown("rows", "abababab", "--json")):
        assert all(char.isprintable() or char == "\n" for char in printed)
        assert "owned" in printed
    (row,) = rows("abababab")
    assert row["record"]["prompt"] == COMMANDS_OF_TERMINALS


def test_a_project_with_only_ingest_done_says_what_is_not_made_yet(only_ingested: Path, tmp_path: Path) -> None:
    (row,) = rows(sha256("captions 1"))
    assert row["not_made"] == ["tokenize_images", "annotate", "select", "write_shards"]
    assert row["origins"][0]["fate"] == "not selected yet"
    assert (row["picture"]["width"], row["picture"]["codes"]) == (64, None)
    assert "not made yet" in shown("rows", sha256("captions 1"))
    printed = shown("image", sha256(png(1)), "--codes")
    assert "no codes yet" in printed
    assert "captions/captions.jsonl:1" in printed
    with pytest.raises(InputError, match="no codes yet; run `dvc repro tokenize_images`"):
        shown("image", sha256(png(1)), "--out", str(tmp_path / "pair.png"))


def test_a_picture_says_what_it_is_which_rows_show_it_and_why_any_of_them_was_dropped(made: Path) -> None:
    answer = json.loads(shown("image", sha256(png(LAST))[:12], "--json", "--codes"))
    assert answer["picture"]["psnr"] == 20.0 + LAST
    assert answer["picture"]["grid"] == np.arange(16).reshape(4, 4).tolist()
    assert answer["num_rows"] == 1
    assert answer["first_rows"][0]["row_id"] == sha256(f"captions {LAST}")
    assert list(answer["dropped"].values()) == [1]
    assert json.loads(shown("image", sha256(png(0)), "--json"))["dropped"] == {}


@pytest.mark.parametrize("command", ["image", "rows"])
def test_the_original_is_written_beside_its_reconstruction(made: Path, command: str) -> None:
    asked = [sha256(png(2)), "--out"] if command == "image" else [sha256("captions 2"), "--picture"]
    shown(command, *asked, "pair.png")
    pair = np.asarray(Image.open("pair.png"))
    assert pair.shape == (64, 128, 3)
    assert np.array_equal(pair[:, :64], np.asarray(Image.open(io.BytesIO(png(2)))))
    assert not np.array_equal(pair[:, :64], pair[:, 64:])
    with pytest.raises(InputError, match=r"ends in \.png"):
        shown(command, *asked, "pair.gif")


def test_rows_without_a_picture_have_none_to_write(made: Path) -> None:
    with pytest.raises(InputError, match="show 0 pictures"):
        shown("rows", sha256("problems 0"), "--picture", "pair.png")


def test_a_damaged_table_is_named(made: Path) -> None:
    (Path(PATHS.facts) / "captions" / part_name("facts", 0)).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ContractError, match=r"data/facts/captions: .* run `dvc repro`"):
        shown("rows", sha256("captions 0"))
    columns = pl.Schema(IMAGE_CODES)
    pl.DataFrame(schema=columns).drop("psnr").write_parquet(Path(PATHS.codes) / "captions" / part_name("codes", 0, 0))
    with pytest.raises(ContractError, match=r"data/codes/captions"):
        shown("image", sha256(png(0)))


@pytest.mark.parametrize("asked", ["abcdef", "captions/captions.jsonl:0"])
def test_what_is_not_found_may_be_not_ingested_yet(made: Path, asked: str) -> None:
    shutil.rmtree(Path(PATHS.ingested) / "captions")
    with pytest.raises(InputError, match=r"not ingested yet: .*captions.*run `dvc repro ingest`"):
        shown("rows", asked)


def test_rows_of_a_corpus_that_is_not_ingested_are_not_looked_for(made: Path) -> None:
    shutil.rmtree(Path(PATHS.ingested) / "captions")
    assert len(PARAMS.corpora) > 2
    assert rows(sha256("problems 0"))[0]["record"]["task"] == "chat"
    with pytest.raises(InputError, match="no row_id begins with"):
        shown("rows", sha256("captions 0"))


def test_codes_of_rows_as_they_were_read_before_are_not_those_of_the_picture(made: Path) -> None:
    (picture,) = [row["picture"] for row in rows(sha256("captions 0"))]
    part = Path(PATHS.ingested) / "captions" / part_name("pictures", 0, 0)
    table = pl.read_parquet(part)
    mine = pl.col("image_sha256") == picture["image_sha256"]
    table.filter(~mine).write_parquet(part)  # ingested again, and not tokenized yet: it stands elsewhere now
    table.filter(mine).write_parquet(part.with_name(part_name("pictures", 0, 1)))
    (again,) = [row["picture"] for row in rows(sha256("captions 0"))]
    assert (again["image_sha256"], again["codes"]) == (picture["image_sha256"], None)
