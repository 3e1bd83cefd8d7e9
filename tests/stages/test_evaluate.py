"""Evaluation of a tiny model: repeatable, kept batch by batch, and never of mixed parts."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from PIL import Image

from mmada.checkpoint_registry import Checkpoint
from mmada.contracts.tables import read_table
from mmada.cot_dialects import THINK_REQUEST
from mmada.demo_scenes import Scene, SceneObject, draw
from mmada.errors import CheckpointError, ContractError
from mmada.evaluation import decoding
from mmada.evaluation.compare import compare, summary
from mmada.evaluation.measured_scores import GRADED_ITEMS
from mmada.lineage.manifest import write_manifest
from mmada.model.weights import new_model, parse_config, save_model
from mmada.params_data import Benchmark
from mmada.params_schema import Paths
from mmada.params_training import Evaluation
from mmada.stages.benchmark_items import benchmark_items
from mmada.stages.evaluate import evaluate
from mmada.text_tokenizer import load_tokenizer, make_vocab, train_tokenizer
from mmada.unit_store import UnitStore
from mmada.vq.magvit import MagvitSizes, MAGVITv2, save_magvit
from mmada.vq.preprocess import Policy
from tests.stages.test_ingest import LIMITS, lines

SAMPLING = {
    "think": False,
    "text_tokens": 4,
    "text_steps": 2,
    "text_block": 4,
    "text_temperature": 0.5,
    "image_steps": 2,
    "image_temperature": 1.0,
    "guidance": 1.0,
}
THINKING = {**SAMPLING, "think": True}
SPEC = {"category": "single", "include": [{"shape": "circle", "count": 1, "colour": "red"}], "relation": None}


def _artifact(folder: Path, **metadata: str) -> str:
    return write_manifest(folder, stage="test", version=1, metadata=metadata).id


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Benchmark]:
    """Three benchmarks of six items each."""
    raw = tmp_path_factory.mktemp("raw")
    lines(raw / "sums.jsonl", [{"q": f"{n} + 1", "a": str(n + 1), "k": "sum"} for n in range(6)])
    for n in range(6):
        scene = Scene((SceneObject(n % 2, n // 2 % 2, "red" if n < 4 else "blue", "circle", 0, 0),), 0)
        Image.fromarray(draw(scene)).save(raw / f"{n}.png")
    lines(raw / "shown.jsonl", [{"q": "which shape?", "a": "circle", "k": "shape", "i": n} for n in range(6)])
    lines(raw / "drawn.jsonl", [{"q": f"a red circle {n}", "s": SPEC, "k": "single"} for n in range(6)])
    asked = {"prompt": "q", "reference": "a", "kind": "k"}
    declared: dict[str, dict[str, Any]] = {
        "sums": {"kind": "reasoning", "format": "questions", "columns": asked},
        "shown": {"kind": "vqa", "format": "questions", "columns": {**asked, "image": "i"}, "image_path": "{}.png"},
        "drawn": {"kind": "pictures", "format": "picture_specs", "columns": {"prompt": "q", "spec": "s", "kind": "k"}},
    }
    return {
        name: Benchmark(path=str(raw / f"{name}.jsonl"), max_items=6, **values) for name, values in declared.items()
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, benchmarks: dict[str, Benchmark]) -> Path:
    """A project with a random picture tokenizer and two random models, `first` and `second`."""
    root = tmp_path_factory.mktemp("project")
    ones = (1, 1, 1, 1, 1)
    torch.manual_seed(0)
    sizes = MagvitSizes(
        ch=32,
        ch_mult_encoder=ones,
        ch_mult_decoder=ones,
        num_res_blocks_encoder=ones,
        num_res_blocks_decoder=ones,
        z_channels=6,
    )
    save_magvit(MAGVITv2(sizes).eval(), root / "magvit")
    magvit = _artifact(root / "magvit")
    train_tokenizer(["which shape? circle", "1 + 1 = 2", "a red circle"] * 5, root / "tokenizer", vocab_size=300)
    vocab = make_vocab(load_tokenizer(root / "tokenizer"), num_codes=64)
    shape = {"d_model": 32, "n_layers": 1, "n_heads": 2, "mlp_hidden_size": 64, "max_sequence_length": 512}
    for seed, name in enumerate(("first", "second")):
        folder = root / "models" / name
        shutil.copytree(root / "tokenizer", folder)
        config = parse_config({**shape, "embedding_size": vocab.size}, "test")
        save_model(new_model(config, seed=seed), vocab, folder)
        _artifact(folder, magvit=magvit)
    for name, benchmark in benchmarks.items():
        out = root / "items" / name
        store = UnitStore(root / "units")
        benchmark_items(out=out, key=name, benchmarks=benchmark, ingest=LIMITS, store=store)
        _artifact(out)
    return root


def run(
    project: Path,
    benchmarks: dict[str, Benchmark],
    key: str,
    out: Path,
    store: Path,
    crop_policy: Policy = "centre_crop",
    **sampling: Any,
) -> dict[str, Any]:
    names = {"magvit": "magvit", "models": "models", "benchmark_items": "items"}
    paths = Paths(**{name: str(project / names.get(name, name)) for name in Paths.model_fields})
    settings = Evaluation.model_validate(
        {"batch_size": 4, "seed": 1, "threads": 1, "decoding": {"default": {"default": sampling or SAMPLING}}}
    )
    out.mkdir(parents=True, exist_ok=True)
    evaluate(
        out=out,
        key=key,
        paths=paths,
        store=UnitStore(store),
        checkpoint=Checkpoint(path=str(project / "models" / key), origin="pipeline"),
        benchmarks=benchmarks,
        evaluation=settings,
        resolution=64,
        crop_policy=crop_policy,
    )
    _artifact(out)
    scores: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return scores


def test_every_benchmark_is_scored_beside_its_baselines(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path
) -> None:
    scores = run(project, benchmarks, "first", tmp_path / "out", tmp_path / "units")
    assert sorted(scores["benchmarks"]) == ["drawn", "shown", "sums"]
    for name, body in scores["benchmarks"].items():
        graded = read_table(tmp_path / "out" / f"items-{name}.parquet", GRADED_ITEMS, name)
        assert body["n"] == graded.height == 6
        assert body["correct"] == graded["correct"].sum()
        assert body["permuted"]["correct"] == graded["permuted_correct"].sum()
        assert all(body["identity"].values())
    assert scores["benchmarks"]["shown"]["constant"]["correct"] == 6  # always "circle"
    assert scores["benchmarks"]["sums"]["constant"]["correct"] == 1
    assert scores["ceiling"]["n"] == 6
    drawn = pl.read_parquet(tmp_path / "out/items-drawn.parquet")
    assert all(data.startswith(b"\x89PNG") for data in drawn["picture"])


def test_a_killed_evaluation_continues_to_the_same_bytes(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(project, benchmarks, "first", tmp_path / "whole", tmp_path / "units-a", **THINKING)
    calls: list[int] = []
    original = getattr(decoding, "generate")  # noqa: B009  # imported there, not exported

    def generate_thrice(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(decoding, "generate", generate_thrice)
    with pytest.raises(KeyboardInterrupt):
        run(project, benchmarks, "first", tmp_path / "killed", tmp_path / "units-b", **THINKING)
    run(project, benchmarks, "first", tmp_path / "killed", tmp_path / "units-b", **THINKING)
    batches = 2 * 4  # of 4 and 2 items: sums, shown, shown with permuted pictures, drawn
    assert len(calls) == batches + 1
    ids = {_artifact(tmp_path / name) for name in ("whole", "killed")}
    assert len(ids) == 1


def test_checkpoints_are_compared_item_by_item(project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    for key in ("first", "second"):
        run(project, benchmarks, key, tmp_path / key, tmp_path / "units")
    found = compare(tmp_path / "first", tmp_path / "second", "shown")
    assert found.n == 6
    assert found.low <= found.difference <= found.high
    rows = summary([(key, tmp_path / key) for key in ("first", "second")], untrained="first")
    assert [(row.checkpoint, row.benchmark) for row in rows][:3] == [("first", b) for b in ("drawn", "shown", "sums")]
    assert ["untrained" in row.baselines for row in rows] == [False] * 3 + [True] * 3
    assert [row.ceiling is not None for row in rows] == [True, False, False] * 2
    shutil.copytree(tmp_path / "second", tmp_path / "other")
    scores = json.loads((tmp_path / "other/scores.json").read_text())
    scores["benchmarks"]["shown"]["identity"]["items"] = "others"
    del scores["benchmarks"]["sums"]
    (tmp_path / "other/scores.json").write_text(json.dumps(scores))
    _artifact(tmp_path / "other")
    with pytest.raises(ContractError, match="different items"):
        compare(tmp_path / "first", tmp_path / "other", "shown")
    rows = summary([(key, tmp_path / key) for key in ("other", "first")], untrained="other")
    assert ["untrained" in row.baselines for row in rows if row.checkpoint == "first"] == [True, False, False]


def test_several_answers_to_an_item(project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    """The first are those of a single decoding; blind ones come from other items; comparisons are of items."""
    warm = SAMPLING | {"text_temperature": 1.0}
    once = run(project, benchmarks, "first", tmp_path / "once", tmp_path / "units", **warm)
    run(project, benchmarks, "first", tmp_path / "thrice", tmp_path / "units", **warm, answers_per_item=3)
    scores = run(project, benchmarks, "second", tmp_path / "second", tmp_path / "units", **warm, answers_per_item=3)
    for name, body in scores["benchmarks"].items():
        first, graded = (
            read_table(tmp_path / folder / f"items-{name}.parquet", GRADED_ITEMS, name) for folder in ("once", "thrice")
        )
        assert graded.head(6).equals(first)
        assert graded.height == body["n"] == 18
        assert graded["item_id"].n_unique() == 18
        assert body["constant"]["n"] == 6
        assert body["identity"]["id"] != once["benchmarks"][name]["identity"]["id"]
        found = compare(tmp_path / "thrice", tmp_path / "second", name)
        other = read_table(tmp_path / "second" / f"items-{name}.parquet", GRADED_ITEMS, name)
        assert found.n == 6
        assert found.difference == pytest.approx((graded["correct"].sum() - other["correct"].sum()) / 18)
    drawn = pl.read_parquet(tmp_path / "thrice/items-drawn.parquet")
    assert drawn["picture"].n_unique() > 6, "each answer is sampled anew"


def test_held_out_pictures_are_in_memory_one_at_a_time(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    original = MAGVITv2.encode

    def noted(magvit: MAGVITv2, pixels: torch.Tensor) -> torch.Tensor:
        at_once.append(len(pixels))
        return original(magvit, pixels)

    monkeypatch.setattr(MAGVITv2, "encode", noted)
    run(project, benchmarks, "first", tmp_path / "out", tmp_path / "units")
    assert at_once == [1] * 12  # six pictures for their codes, the same for what the tokenizer keeps of them


def test_a_model_of_another_picture_tokenizer_is_refused(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path
) -> None:
    shutil.copytree(project / "models/first", project / "models/foreign")
    (project / "models/foreign/manifest.json").unlink()
    _artifact(project / "models/foreign", magvit="another")
    with pytest.raises(CheckpointError, match="another"):
        run(project, benchmarks, "foreign", tmp_path / "out", tmp_path / "units")


def test_decoding_is_part_of_a_score(project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    plain = run(project, benchmarks, "first", tmp_path / "a", tmp_path / "units")
    thinking = run(project, benchmarks, "first", tmp_path / "b", tmp_path / "units", **THINKING)
    ids = [scores["benchmarks"]["drawn"]["identity"]["id"] for scores in (plain, thinking)]
    assert ids[0] != ids[1]


def test_how_pictures_are_shown_is_part_of_a_score(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path
) -> None:
    cut = run(project, benchmarks, "first", tmp_path / "a", tmp_path / "units")["benchmarks"]
    padded = run(project, benchmarks, "first", tmp_path / "b", tmp_path / "units", crop_policy="pad")["benchmarks"]
    differ = {name for name in cut if cut[name]["identity"]["decoding"] != padded[name]["identity"]["decoding"]}
    assert differ == {"shown"}


def test_an_item_that_is_too_long_is_named_before_anything_is_asked(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "generate", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(ContractError, match=r"benchmarks.sums: the item '0 \+ 1' takes \d+ tokens .* takes 512; lower"):
        run(
            project,
            benchmarks,
            "first",
            tmp_path / "out",
            tmp_path / "units",
            **SAMPLING | {"text_tokens": 600, "text_block": 600},
        )


def test_questions_come_behind_the_request_to_think(
    project: Path, benchmarks: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, set[str]] = {"chat": set(), "mmu": set(), "t2i": set(), "r2i": set()}
    original = getattr(decoding, "generate")  # noqa: B009  # imported there, not exported

    def noted(model: Any, task: str, queries: Any, *arguments: Any, **options: Any) -> Any:
        asked[task].update(query.prompt for query in queries)
        return original(model, task, queries, *arguments, **options)

    monkeypatch.setattr(decoding, "generate", noted)
    plain = run(project, benchmarks, "first", tmp_path / "a", tmp_path / "units")
    assert not any(prompt.startswith(THINK_REQUEST) for prompts in asked.values() for prompt in prompts)
    asked = {task: set() for task in asked}
    thinking = run(project, benchmarks, "first", tmp_path / "b", tmp_path / "units", **THINKING)
    assert all(prompt.startswith(THINK_REQUEST) for prompt in asked["chat"] | asked["mmu"])
    assert asked["r2i"]
    assert not any(prompt.startswith(THINK_REQUEST) for prompt in asked["r2i"])
    for benchmark in ("sums", "shown"):
        one, other = (scores["benchmarks"][benchmark]["identity"] for scores in (plain, thinking))
        assert one["decoding"] != other["decoding"]
