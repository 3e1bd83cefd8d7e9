"""Score a checkpoint on every benchmark, beside its baselines."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
from mmada.evaluation.ceiling import objects_kept
from mmada.evaluation.compare import SCORES_FILE
from mmada.evaluation.decoding import Decoding, Speaker, answer_items
from mmada.evaluation.measured_scores import GRADED_ITEMS, MeasuredScore, ScoreIdentity, answer_id, measure
from mmada.evaluation.metrics import Share, share
from mmada.evaluation.permutation import partners
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.model.from_params import sampling_settings
from mmada.model.generation import Query
from mmada.model.weights import load_model, load_vocab
from mmada.numerics import compute_device, numerics_class
from mmada.params_data import Benchmark
from mmada.params_schema import Paths
from mmada.params_training import Answering, Evaluation
from mmada.stage_report import StageReport
from mmada.text_tokenizer import load_tokenizer
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.image_quality import to_picture
from mmada.vq.magvit import MAGVITv2, load_magvit, to_uint8
from mmada.vq.preprocess import Policy, decode_picture, preprocess

VERSION: Final = 5
OUT: Final = "scores"
KEYED_BY: Final = "checkpoints"
READS: Final = {"resolution": "vq.resolution", "crop_policy": "vq.crop_policy"}


@dataclass(frozen=True)
class _PictureCodec:
    """The picture tokenizer with the preprocessing of training; what it makes of pictures is kept in `store`.

    `identity`: digest of the tokenizer's bytes and the numerics class.
    """

    magvit: MAGVITv2
    resolution: int
    crop_policy: Policy
    identity: str
    store: UnitStore

    @property
    def side(self) -> int:
        """Codes along each side of a picture."""
        return self.resolution // self.magvit.sizes.factor

    @property
    def num_tokens(self) -> int:
        """Codes of one picture."""
        return self.side**2

    def encode(self, pictures: pl.DataFrame) -> dict[str, Int[np.ndarray, "h w"]]:
        """image_sha256 -> codes, of rows of contracts.records.PICTURES."""
        names = pictures.get_column("image_sha256").to_list()
        grids = self._once("codes", names, lambda: self._grids(pictures).tolist())
        return {name: np.asarray(grid) for name, grid in zip(names, grids, strict=True)}

    def ceiling(self, pictures: pl.DataFrame) -> Share:
        """Share of the objects in pictures that are still read after encoding and decoding."""

        def measure_both() -> list[int]:
            pixels = self._prepare(pictures)
            decoded = self._decode(self.magvit.encode(pixels))
            originals = [to_picture(picture) for picture in pixels.numpy()]
            kept = objects_kept(zip(originals, decoded, strict=True))
            return [kept.correct, kept.n]

        names = pictures.get_column("image_sha256").to_list()
        correct, n = self._once("objects kept", names, measure_both)
        return share(correct, n)

    def _once(self, what: str, names: Sequence[str], compute: Callable[[], list[Any]]) -> list[Any]:
        """Every checkpoint meets the same pictures: the tokenizer's part is computed for the first one."""
        key = unit_key(what, self.identity, self.resolution, self.crop_policy, names)
        stored = self.store.get(key)
        if stored is None:
            stored = json.dumps(compute()).encode()
            self.store.put(key, stored)
        known: list[Any] = json.loads(stored)
        return known

    def _prepare(self, pictures: pl.DataFrame) -> torch.Tensor:
        """Pixels [B, 3, R, R] of rows of contracts.records.PICTURES."""
        size = (self.resolution, self.resolution)
        rows = pictures.select("bytes", "width", "height").iter_rows()
        decoded = (decode_picture(data, max_pixels=width * height) for data, width, height in rows)
        prepared = [preprocess(pixels, size=size, policy=self.crop_policy) for pixels in decoded]
        return torch.from_numpy(np.stack(prepared))

    def draw(self, codes: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of row-major codes."""
        picture: UInt8[np.ndarray, "H W 3"] = self._decode(torch.tensor(codes)[None])[0]
        return picture

    def _grids(self, pictures: pl.DataFrame) -> torch.Tensor:
        return self.magvit.encode(self._prepare(pictures)).view(-1, self.side, self.side)

    def _decode(self, codes: torch.Tensor) -> UInt8[np.ndarray, "B H W 3"]:
        return to_uint8(self.magvit.decode(codes, height=self.side, width=self.side))


@dataclass(frozen=True)
class _Asked:
    """A benchmark as it is put to a model."""

    name: str
    kind_name: str
    kind: BenchmarkKind
    artifact: Artifact
    items: list[Item]
    codes: dict[str, Int[np.ndarray, "h w"]]
    """image_sha256 -> codes."""


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

    Raises CheckpointError when the checkpoint belongs to another picture tokenizer.
    """
    torch.set_num_threads(evaluation.threads)
    inputs = {"model": open_artifact(Path(checkpoint.path)), "magvit": open_artifact(Path(paths.magvit))}
    _check_tokenizer(inputs["model"], inputs["magvit"])
    numerics = numerics_class(evaluation.threads)
    magvit = load_magvit(inputs["magvit"].path).to(compute_device())
    codec = _PictureCodec(magvit, resolution, crop_policy, unit_key(inputs["magvit"].id, numerics), store)
    speaker = _speaker(inputs["model"], numerics)
    decoding = evaluation.decoding_for(key, inputs["model"].key)
    scores: dict[str, MeasuredScore] = {}
    pictures = [pl.DataFrame(schema=pl.Schema(PICTURES))]
    for name in benchmarks:
        inputs[f"items {name}"] = artifact = open_artifact(Path(paths.benchmark_items) / name)
        own = _pictures(artifact)
        pictures.append(own)
        asked = _ask(name, artifact, own, codec)
        answering = decoding.get(name, decoding["default"])
        graded, scores[name] = _score(asked, speaker, codec, answering, evaluation, store, key)
        write_table(graded, out / f"items-{name}.parquet", GRADED_ITEMS)
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


def _ask(name: str, artifact: Artifact, pictures: pl.DataFrame, codec: _PictureCodec) -> _Asked:
    table = read_table(artifact.path / "items.parquet", BENCHMARK_ITEMS, f"items of {name}")
    fields = ("item_id", "prompt", "reference", "category", "spec", "image_sha256")
    items = [Item(*row) for row in table.select(fields).iter_rows()]
    kind_name = table.get_column("kind")[0]
    codes = {} if pictures.is_empty() else codec.encode(pictures)
    return _Asked(name, kind_name, BENCHMARK_KINDS[kind_name], artifact, items, codes)


def _score(
    asked: _Asked,
    speaker: Speaker,
    codec: _PictureCodec,
    answering: Answering,
    evaluation: Evaluation,
    store: UnitStore,
    key: str,
) -> tuple[pl.DataFrame, MeasuredScore]:
    kind, items = asked.kind, asked.items
    task = kind.task(answering.think)
    text, image = sampling_settings(answering)
    drawn = codec.num_tokens if task in ("t2i", "r2i") else 0
    decoding = Decoding(task, text, image, drawn, evaluation.batch_size, evaluation.seed)
    request = THINK_REQUEST if answering.think and not drawn else ""  # a drawing thinks by its layout
    partner = partners(
        [item.item_id for item in items],
        [item.category for item in items],
        [item.image_sha256 if kind.permutes_pictures else item.item_id for item in items],
        seed=evaluation.seed,
    )

    def produce(shown: Sequence[Item], number: int, title: str) -> list[Produced]:
        """The answers of this number to the items' prompts, with the pictures of the items `shown` in their places."""
        queries = [
            Query(request + item.prompt, asked.codes.get(other.image_sha256))
            for item, other in zip(items, shown, strict=True)
        ]
        title = f"{title}, answers {number + 1}" if number else title
        answers = answer_items(speaker, queries, decoding, store, title=title, first=number * len(items))
        return [Produced(answer.text, codec.draw(answer.codes) if drawn else None) for answer in answers]

    graded: list[pl.DataFrame] = []
    constants: Mapping[str, int] = {}
    for number in range(answering.answers_per_item):  # the pictures of one number at a time are in memory
        produced = produce(items, number, f"{key}: {asked.name}")
        if kind.permutes_pictures:
            others = [items[place] for place in partner]
            blind = produce(others, number, f"{key}: {asked.name}, pictures permuted")
        else:
            blind = [produced[place] for place in partner]
        constants = constants or best_constants(kind, items, produced)
        graded.append(_graded(asked, number, produced, blind))
    once = [*decoding.identity(), *([request] if request else [])]
    identity = ScoreIdentity(
        model=speaker.identity,
        items=asked.artifact.id,
        verifier=kind.verifier,
        decoding=unit_key(once if answering.answers_per_item == 1 else [*once, answering.answers_per_item]),
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
