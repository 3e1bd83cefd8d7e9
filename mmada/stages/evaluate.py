"""Score a checkpoint on every benchmark, beside its baselines."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch
from jaxtyping import Int, UInt8
from PIL import Image

from mmada.checkpoint_registry import Checkpoint
from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.contracts.records import PICTURES
from mmada.contracts.tables import read_table, write_table
from mmada.cot_dialects import THINK_REQUEST
from mmada.errors import CheckpointError
from mmada.evaluation.benchmarks import BENCHMARK_KINDS
from mmada.evaluation.benchmarks.kinds import BenchmarkKind, Item, Produced, best_constants
from mmada.evaluation.compare import SCORES_FILE
from mmada.evaluation.decoding import Decoding, Speaker, answer_items, check_lengths
from mmada.evaluation.kept_codec import KeptCodec
from mmada.evaluation.measured_scores import GRADED_ITEMS, MeasuredScore, ScoreIdentity, answer_id, measure
from mmada.evaluation.permutation import partners
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.model.from_params import sampling_settings
from mmada.model.generation import Query
from mmada.model.weights import load_model, load_vocab
from mmada.numerics import compute_device, numerics_class
from mmada.params_data import Benchmark
from mmada.params_schema import Paths
from mmada.params_section import DRAWING_TASKS
from mmada.params_training import Answering, Evaluation
from mmada.stage_report import StageReport
from mmada.text_tokenizer import load_tokenizer
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.magvit import load_magvit
from mmada.vq.preprocess import Policy

VERSION: Final = 5
OUT: Final = "scores"
KEYED_BY: Final = "checkpoints"
READS: Final = {"resolution": "vq.resolution", "crop_policy": "vq.crop_policy"}


@dataclass(frozen=True)
class _Asked:
    """A benchmark as it is put to a model. `codes`: image_sha256 -> codes; `request`: stands before every prompt."""

    name: str
    kind_name: str
    kind: BenchmarkKind
    artifact: Artifact
    items: list[Item]
    codes: dict[str, Int[np.ndarray, "h w"]]
    decoding: Decoding
    request: str
    answers_per_item: int

    def queries(self, shown: Sequence[Item]) -> list[Query]:
        """The items' prompts, with the pictures of the items `shown` in their places."""
        return [
            Query(self.request + item.prompt, self.codes.get(other.image_sha256))
            for item, other in zip(self.items, shown, strict=True)
        ]


def evaluate(
    *,
    out: Path,
    key: str,
    paths: Paths,
    store: UnitStore,
    checkpoint: Checkpoint,
    benchmarks: dict[str, Benchmark],
    evaluation: Evaluation,
    resolution: int,
    crop_policy: Policy,
) -> StageReport:
    """Writes `scores.json` and `items-<benchmark>.parquet` (every generation with its verdict).

    Raises CheckpointError when the checkpoint belongs to another picture tokenizer, ContractError when an item and its
    answer are longer than what it takes; both before anything is asked.
    """
    torch.set_num_threads(evaluation.threads)
    inputs = {"model": open_artifact(Path(checkpoint.path)), "magvit": open_artifact(Path(paths.magvit))}
    _check_tokenizer(inputs["model"], inputs["magvit"])
    numerics = numerics_class(evaluation.threads)
    magvit = load_magvit(inputs["magvit"].path).to(compute_device())
    codec = KeptCodec(magvit, resolution, crop_policy, unit_key(inputs["magvit"].id, numerics), store)
    speaker = _speaker(inputs["model"], numerics)
    decoding = evaluation.decoding_for(key, inputs["model"].key)
    scores: dict[str, MeasuredScore] = {}
    pictures = [pl.DataFrame(schema=pl.Schema(PICTURES))]
    suite: list[_Asked] = []
    for name in benchmarks:
        inputs[f"items {name}"] = artifact = open_artifact(Path(paths.benchmark_items) / name)
        pictures.append(_pictures(artifact))
        answering = decoding.get(name, decoding["default"])
        suite.append(asked := _ask(name, artifact, pictures[-1], codec, answering, evaluation))
        check_lengths(speaker, asked.queries(asked.items), asked.decoding, what=f"benchmarks.{name}")
    for asked in suite:
        graded, scores[asked.name] = _score(asked, speaker, codec, evaluation.seed, store, key)
        write_table(graded, out / f"items-{asked.name}.parquet", GRADED_ITEMS)
    draws = any(score.kind == "pictures" for score in scores.values())
    shown = pl.concat(pictures).unique("image_sha256").sort("image_sha256")
    ceiling = codec.ceiling(shown) if draws and not shown.is_empty() else None
    body = {
        "checkpoint": key,
        "benchmarks": {name: score.to_json() for name, score in sorted(scores.items())},
        "ceiling": ceiling.to_json() if ceiling else None,
    }
    text = json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (out / SCORES_FILE).write_text(text, encoding="utf-8")
    items = sum(score.overall.n for score in scores.values())
    shares = {name: round(score.overall.value, 4) for name, score in scores.items()}
    return StageReport(inputs=inputs, rows_in=items, rows_kept=items, metrics={"scores": shares})


def _check_tokenizer(model: Artifact, magvit: Artifact) -> None:
    expected = model.metadata.get("magvit")
    if expected != magvit.id:
        raise CheckpointError(
            f"{model.path} was trained with picture tokenizer {str(expected)[:12]}, but {magvit.path} is "
            f"{magvit.id[:12]}: its codes would mean other pictures. Restore that tokenizer, or train again"
        )


def _speaker(model: Artifact, numerics: str) -> Speaker:
    network, vocab = load_model(model.path, device=compute_device()), load_vocab(model.path)
    return Speaker(network, load_tokenizer(model.path, vocab=vocab), vocab, unit_key(model.id, numerics))


def _pictures(artifact: Artifact) -> pl.DataFrame:
    path = artifact.path / "pictures.parquet"
    if not path.exists():
        return pl.DataFrame(schema=pl.Schema(PICTURES))
    return read_table(path, PICTURES, "pictures of benchmark items")


def _ask(
    name: str,
    artifact: Artifact,
    pictures: pl.DataFrame,
    codec: KeptCodec,
    answering: Answering,
    evaluation: Evaluation,
) -> _Asked:
    table = read_table(artifact.path / "items.parquet", BENCHMARK_ITEMS, f"items of {name}")
    fields = ("item_id", "prompt", "reference", "category", "spec", "image_sha256")
    items = [Item(*row) for row in table.select(fields).iter_rows()]
    kind_name = table.get_column("kind")[0]
    kind = BENCHMARK_KINDS[kind_name]
    codes = {} if pictures.is_empty() else codec.encode(pictures)
    task = kind.task(answering.think)
    text, image = sampling_settings(answering)
    drawn = codec.num_tokens if task in DRAWING_TASKS else 0
    decoding = Decoding(task, text, image, drawn, evaluation.batch_size, evaluation.seed)
    request = THINK_REQUEST if answering.think and not drawn else ""  # a drawing thinks by its layout
    return _Asked(name, kind_name, kind, artifact, items, codes, decoding, request, answering.answers_per_item)


def _score(
    asked: _Asked, speaker: Speaker, codec: KeptCodec, seed: int, store: UnitStore, key: str
) -> tuple[pl.DataFrame, MeasuredScore]:
    kind, items, decoding = asked.kind, asked.items, asked.decoding
    partner = partners(
        [item.item_id for item in items],
        [item.category for item in items],
        [item.image_sha256 if kind.permutes_pictures else item.item_id for item in items],
        seed=seed,
    )

    def produce(shown: Sequence[Item], number: int, title: str) -> list[Produced]:
        """The answers of this number, with the pictures of the items `shown`."""
        title = f"{title}, answers {number + 1}" if number else title
        queries = asked.queries(shown)
        answers = answer_items(speaker, queries, decoding, store, title=title, first=number * len(items))
        drawn = decoding.num_image_tokens
        return [Produced(answer.text, codec.draw(answer.codes) if drawn else None) for answer in answers]

    graded: list[pl.DataFrame] = []
    constants: Mapping[str, int] = {}
    for number in range(asked.answers_per_item):  # the pictures of one number at a time are in memory
        produced = produce(items, number, f"{key}: {asked.name}")
        if kind.permutes_pictures:
            others = [items[place] for place in partner]
            blind = produce(others, number, f"{key}: {asked.name}, pictures permuted")
        else:
            blind = [produced[place] for place in partner]
        best = best_constants(kind, items, produced)
        constants = {category: max(right, constants.get(category, 0)) for category, right in best.items()}
        graded.append(_graded(asked, number, produced, blind))
    sampled = [
        *decoding.identity(),
        *([asked.request] if asked.request else []),
        *([codec.resolution, codec.crop_policy] if asked.codes else []),
        *([asked.answers_per_item] if asked.answers_per_item > 1 else []),
    ]
    identity = ScoreIdentity(
        model=speaker.identity, items=asked.artifact.id, verifier=kind.verifier, decoding=unit_key(sampled)
    )
    table = pl.concat(graded)
    return table, measure(identity, asked.kind_name, table, constants)


def _graded(asked: _Asked, number: int, produced: Sequence[Produced], blind: Sequence[Produced]) -> pl.DataFrame:
    kind = asked.kind
    rows = [
        (
            answer_id(item.item_id, number),
            item.category,
            item.prompt,
            item.reference,
            own.text,
            kind.answer(own),
            b"" if own.pixels is None else _png(own.pixels),
            kind.is_correct(item, own),
            kind.is_correct(item, other),
        )
        for item, own, other in zip(asked.items, produced, blind, strict=True)
    ]
    return pl.DataFrame(rows, schema=pl.Schema(GRADED_ITEMS), orient="row")


def _png(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()
