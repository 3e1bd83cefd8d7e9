"""The whole graph on the embedded corpus at its smallest, and what users do to it afterwards."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

from mmada.lineage.manifest import read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import trace
from tests.e2e.project_folder import output_ids, repro, run

DATA_STAGES = (
    "make_demo_corpus",
    "ingest",
    "benchmark_items",
    "fit_text_tokenizer",
    "train_magvit",
    "tokenize_images",
    "annotate",
)


def test_a_second_repro_runs_nothing(finished: Path) -> None:
    assert repro(finished) == []


def test_a_comment_runs_nothing(finished: Path) -> None:
    for path in [
        *(finished / "mmada" / "stages").glob("*.py"),
        finished / "mmada" / "curation" / "select.py",
    ]:
        with path.open("a") as stream:
            stream.write("# a remark that changes no byte of any output\n")
    assert repro(finished) == []


def test_trace_names_the_rows_that_the_reader_read(finished: Path, tmp_path: Path) -> None:
    """From a copy elsewhere, after params.yaml has changed."""
    copy = shutil.copytree(finished / "data" / "models" / "stage2", tmp_path / "elsewhere")
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace("batch_size: 16", "batch_size: 8").replace("seed: 12", "seed: 99"))
    try:
        log = [json.loads(line) for line in (finished / "reader_logs" / "stage2.jsonl").read_text().splitlines()]
        assert [entry["step"] for entry in log] == list(range(12))
        for entry in log[::4]:
            lines = run(finished, "mmada", "trace", str(copy), "--step", str(entry["step"])).stdout.splitlines()
            rows = [json.loads(line) for line in lines]
            assert [row["key"] for row in rows] == entry["keys"]
            assert all(row["origins"] for row in rows)
    finally:
        params.write_text(original)


def test_trace_origins_are_the_raw_rows(finished: Path) -> None:
    """The raw line that an origin names holds the text of the sample."""
    lineage = trace(finished / "data" / "models" / "stage3", ProvenanceStore(finished / "data" / "provenance"))
    table = pl.concat(lineage.raw_rows()).filter(pl.col("corpus") == "problems").head(20)
    records = pl.read_parquet(finished / "data" / "ingested" / "problems" / "records-*.parquet")
    assert table.height
    for row in table.iter_rows(named=True):
        prompt = records.filter(pl.col("row_id") == row["row_id"]).item(0, "prompt")
        for origin in row["origins"]:
            raw = finished / "data/raw/demo/problems" / origin["source_file"]
            assert prompt == json.loads(raw.read_text().splitlines()[origin["row"]])["question"]


def test_what_the_graph_evaluated_is_among_the_scores(finished: Path) -> None:
    scores = json.loads(run(finished, "mmada", "scores", "--json").stdout)
    measured = {
        (path.parent.name, name)
        for path in finished.glob("data/scores/*/scores.json")
        for name in json.loads(path.read_text())["benchmarks"]
    }
    assert measured
    assert {(row["name"], row["benchmark"]) for row in scores} == measured
    assert {row["parent"] for row in scores} == {None, "init", "stage1", "stage2"}


def test_verify_finds_nothing_in_an_untouched_project(finished: Path) -> None:
    assert " 0 findings" in run(finished, "mmada", "verify", "data/models/stage3").stdout


@pytest.mark.parametrize(
    "pattern",
    [
        "data/raw/demo/pictures/questions.jsonl",
        "data/raw/demo/pictures/images/*.png",
        "data/codes/*/codes-*.parquet",
        "data/text_tokenizer/tokenizer.json",
        "data/magvit/pytorch_model.safetensors",
        "data/selected/selected.parquet",
        "data/shards/stage1/problems-*.tar",
        "data/models/stage1/model.safetensors",
        "data/models/stage3/manifest.json",
    ],
)
def test_verify_names_a_flipped_byte(finished: Path, pattern: str) -> None:
    # The raw picture must be one that rows depend on; the first in order is.
    path = sorted(finished.glob(pattern))[0]
    original = path.read_bytes()
    copy = path.with_name(path.name + ".copy")
    damaged = bytearray(original)
    damaged[len(damaged) // 2] ^= 1
    path.rename(copy)  # leave the inode alone: it is shared with DVC's cache
    path.write_bytes(damaged)
    try:
        result = run(finished, "mmada", "verify", "data/models/stage3", check=False)
        if pattern.endswith("stage3/manifest.json"):
            assert result.returncode == 2
        else:
            assert result.returncode == 2
            assert f"changed    {path.relative_to(finished)}" in result.stdout
    finally:
        path.unlink()
        copy.rename(path)


def test_a_changed_shard_stops_training(finished: Path) -> None:
    path = next((finished / "data/shards/stage1").glob("problems-*.tar"))
    copy = path.with_name("problems.copy")
    damaged = bytearray(path.read_bytes())
    damaged[600] ^= 1
    path.rename(copy)
    path.write_bytes(damaged)
    try:
        result = run(finished, "mmada", "run", "train@stage1", check=False)
        assert result.returncode == 2
        assert path.name in result.stdout
        assert "Traceback" not in result.stdout
    finally:
        path.unlink()
        copy.rename(path)


def test_moving_a_threshold_runs_selection_and_what_follows(finished: Path) -> None:
    before = output_ids(finished)
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace("max_text_tokens: 128\n  min_thought", "max_text_tokens: 30\n  min_thought"))
    assert params.read_text() != original
    try:
        assert repro(finished, "select") == ["select"]
        stale = run(finished, "dvc", "status").stdout
        assert {"validate", "write_shards@stage1"} <= {line.removesuffix(":") for line in stale.splitlines()}
        assert not [stage for stage in DATA_STAGES if f"\n{stage}" in f"\n{stale}"]
    finally:
        params.write_text(original)
        repro(finished, "select")
    assert output_ids(finished) == before


def test_a_failing_gate_stops_the_pipeline_until_an_override_of_these_rows_lets_it_pass(finished: Path) -> None:
    params = finished / "params.yaml"
    original = params.read_text()
    strict = original.replace("min_rows: 200", "min_rows: 1000000")
    params.write_text(strict)
    try:
        result = run(finished, "dvc", "repro", "write_shards@stage1", check=False)
        assert result.returncode != 0
        assert "gate.min_rows" in result.stdout
        assert not (finished / "data" / "gate" / "manifest.json").exists()
        selected = read_artifact(finished / "data/selected").id
        entry = f'{{check: rows kept, selected: "{selected}", who: Ada, why: a small trial}}'
        params.write_text(strict.replace("overrides: []", f"overrides: [{entry}]"))
        repro(finished, "write_shards@stage1")
        checks = json.loads((finished / "data/gate/certificate.json").read_text())["checks"]
        (failed,) = [check for check in checks if not check["success"]]
        assert (failed["name"], failed["override"]["who"]) == ("rows kept", "Ada")
        traced = run(finished, "mmada", "trace", "data/shards/stage1").stdout
        assert "override of 'rows kept' by Ada: a small trial" in traced
    finally:
        params.write_text(original)
        repro(finished)


def test_a_new_benchmark_makes_shards_unchecked(finished: Path) -> None:
    """Training alone is refused until the graph has searched the rows again."""
    changed = {path: path.read_bytes() for path in (finished / "params.yaml", finished / "dvc.lock")}
    before, params = output_ids(finished), finished / "params.yaml"
    heldout = finished / "data/raw/heldout.jsonl"
    heldout.write_text('{"question": "which colour has the sky at dawn in the far north?", "answer": "green"}\n')
    columns = "columns: {prompt: question, reference: answer}"
    block = f"  sky: {{path: data/raw/heldout.jsonl, kind: reasoning, format: questions, max_items: 1, {columns}}}\n"
    params.write_text(params.read_text().replace("\nannotation:", f"{block}\nannotation:", 1))
    try:
        result = run(finished, "mmada", "run", "train@stage1", check=False)
        assert result.returncode == 2
        assert "unchecked: they were not searched for sky" in result.stdout
        ran = repro(finished, "write_shards@stage1")
        assert {"benchmark_items@sky", "annotate", "validate", "write_shards@stage1"} <= set(ran)
        assert "sky" in json.loads((finished / "data/gate/certificate.json").read_text())["benchmarks"]
    finally:
        for path, content in changed.items():
            path.write_bytes(content)
        heldout.unlink()
        shutil.rmtree(finished / "data/benchmark_items/sky", ignore_errors=True)
        run(finished, "dvc", "checkout", "--force")
    assert repro(finished) == []
    assert output_ids(finished) == before


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("max_loop_share: 0.5", "max_loop_share: 5", "selection.max_loop_share"),
        ("crop_policy: centre_crop", "crop_policy: middle", "'centre_crop', 'squash' or 'pad'"),
        ("objective: unigrpo", "objektive: unigrpo", "training.stage3.objektive"),
        ("init: stage1", "init: stage7", "allowed: ['init', 'stage1', 'stage3']"),
    ],
)
def test_a_wrong_parameter_is_named_before_anything_runs(finished: Path, wrong: str, right: str, message: str) -> None:
    params = finished / "params.yaml"
    original = params.read_text()
    assert wrong in original
    params.write_text(original.replace(wrong, right, 1))
    try:
        result = run(finished, "mmada", "check", check=False)
        assert result.returncode == 2
        assert message in result.stdout
        assert run(finished, "mmada", "run", "select", check=False).returncode == 2
    finally:
        params.write_text(original)


def test_a_failing_stage_leaves_earlier_results(finished: Path) -> None:
    before = output_ids(finished)
    raw = finished / "data/raw/demo/problems/problems.jsonl"
    hidden = raw.with_name("hidden")
    raw.rename(hidden)
    try:
        result = run(finished, "mmada", "run", "ingest@problems", check=False)
        assert result.returncode == 2
        assert "problems.jsonl" in result.stdout
        assert (finished / "data/ingested/problems/manifest.json").exists()
    finally:
        hidden.rename(raw)
    assert repro(finished) == []
    assert output_ids(finished) == before


def test_a_parent_of_another_picture_tokenizer_is_refused(finished: Path) -> None:
    manifest = finished / "data/magvit/manifest.json"
    original = manifest.read_bytes()
    manifest.unlink()
    manifest.write_bytes(original.replace(b'"version": ', b'"version": 9'))
    try:
        result = run(finished, "mmada", "run", "train@stage1", check=False)
        assert result.returncode == 2
        assert "was made for picture tokenizer" in result.stdout
    finally:
        manifest.write_bytes(original)


def test_training_in_two_processes_reads_the_same_batches_and_ends_close(finished: Path, tmp_path: Path) -> None:
    project = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    shutil.rmtree(project / ".mmada" / "units" / "training")
    logs = project / "two_process_logs"
    logs.mkdir()
    run(project, "mmada", "run", "train@stage1", MMADA_TRAIN_PROCESSES="2", MMADA_SAMPLE_LOG=str(logs))

    def batches(folder: Path) -> dict[int, list[str]]:
        lines = [json.loads(line) for line in (folder / "stage1.jsonl").read_text().splitlines()]
        return {line["step"]: line["keys"] for line in lines}

    assert batches(logs) == batches(project / "reader_logs")
    alone = load_file(finished / "data/models/stage1/model.safetensors")
    together = load_file(project / "data/models/stage1/model.safetensors")
    assert alone.keys() == together.keys()
    for name, weight in alone.items():
        # Sums in another order; a wrong scale of gradients would show as a difference of the weights' own size
        assert (together[name] - weight).norm() <= 0.05 * weight.norm(), name
