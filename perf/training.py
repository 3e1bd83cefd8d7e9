"""A training loop beside one that is written as the reference's is, on equal rows; what saving and resuming cost.

The plain loop decodes and encodes every picture anew at every step, pads every row to the length that selection allows,
and makes the scores of all ids at all places. Both learn from the same global batches of the demo's stage 1 by AdamW in
float32, and need a project whose graph has run (`make demo`).
"""

import io
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final
from unittest import mock

import numpy as np
import torch
from msgspec.structs import replace
from PIL import Image
from torch.nn import functional

from mmada.contracts.sample import Sample
from mmada.model.masking import add_noise
from mmada.model.sequences import Layout, Row, collate, lay_out
from mmada.model.transformer import Transformer
from mmada.model.weights import load_model, load_vocab
from mmada.params_schema import PARAMS_FILE, Params, load_params
from mmada.params_training import MaskedPrediction as MaskedPredictionSection
from mmada.params_training import TrainingBlock
from mmada.shards.loader import Loader
from mmada.shards.reader import ShardReader
from mmada.text_tokenizer import TextTokenizer, load_tokenizer
from mmada.training.checkpoints import Position, ResumeStates
from mmada.training.guard import GuardRule
from mmada.training.job import masked_prediction
from mmada.training.loop import TrainSettings, train
from mmada.training.objectives import MaskedPrediction, Material
from mmada.training.order import training_order
from mmada.training.parallel import World
from mmada.vocab import Vocab
from mmada.vq.magvit import MAGVITv2, load_magvit, to_uint8
from mmada.vq.preprocess import decode_picture, preprocess

ROOT: Final = Path(__file__).resolve().parent.parent
STAGE: Final = "stage1"
STEPS: Final = 6
"""Timed in one round; two before them are not."""
ROUNDS: Final = 2
_WARM_UP: Final = 2
_SAVED_EVERY: Final = 3
_RATE: Final = 1e-3


def bench_training() -> dict[str, float]:
    """Tokens of rows (no padding) a second of both, by the medians of steps in alternating rounds; how long the loop
    waits for a save, as a share of a step, and what the save costs in all, since on a CPU the thread that writes it
    takes part of the next steps; seconds until a run that goes on has made its first step.
    """
    if not (ROOT / "data/models/init").is_dir() or not (ROOT / "data/shards" / STAGE).is_dir():
        return {}
    subject = _Subject(load_params(ROOT / PARAMS_FILE))
    torch.set_num_threads(subject.block.threads)
    ours: list[float] = []
    plain: list[float] = []
    saved: list[float] = []
    waits: list[float] = []
    for _ in range(ROUNDS):
        ours += subject.our_steps(checkpoint_every=10**6)
        with _timed_saves(waits):
            saved += subject.our_steps(checkpoint_every=_SAVED_EVERY)
        plain += subject.plain_steps()
    step_s, plain_s = map(statistics.median, (ours, plain))
    return {
        "tokens_per_s": subject.tokens_of_a_step / step_s,
        "plain_tokens_per_s": subject.tokens_of_a_step / plain_s,
        "ratio": plain_s / step_s,
        "stall_share": statistics.median(waits) / step_s,
        "save_share": (statistics.mean(saved) - statistics.mean(ours)) * _SAVED_EVERY / step_s,
        "resume_s": subject.seconds_to_go_on(),
    }


@contextmanager
def _timed_saves(waits: list[float]) -> Iterator[None]:
    """Add to `waits` the seconds of every save meanwhile, as long as the loop waits for it."""
    plain = ResumeStates.save

    def timed(states: ResumeStates, position: Position) -> None:
        began = time.perf_counter()
        plain(states, position)
        waits.append(time.perf_counter() - began)

    with mock.patch.object(ResumeStates, "save", timed):
        yield


@dataclass(frozen=True)
class _Subject:
    """What both loops train, and on what."""

    params: Params

    @property
    def block(self) -> TrainingBlock:
        return self.params.training[STAGE]

    @property
    def _choices(self) -> MaskedPredictionSection:
        assert self.block.masked_prediction is not None
        return self.block.masked_prediction

    @cached_property
    def vocab(self) -> Vocab:
        return load_vocab(self._parent)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        return load_tokenizer(self._parent, vocab=self.vocab)

    @cached_property
    def loader(self) -> Loader:
        reader = ShardReader.open(ROOT / self.params.paths.shards / STAGE)
        return Loader(reader, training_order(reader.keys(), self.block), _WARM_UP + STEPS)

    @cached_property
    def magvit(self) -> MAGVITv2:
        return load_magvit(ROOT / self.params.paths.magvit)

    @property
    def tokens_of_a_step(self) -> float:
        """Mean over the timed steps, padding left out."""
        steps = range(_WARM_UP, _WARM_UP + STEPS)
        return sum(len(self._layout(row).ids) for step in steps for row in self._rows(step)) / STEPS

    def our_steps(self, *, checkpoint_every: int) -> list[float]:
        """Seconds of the timed steps of the project's loop."""
        with tempfile.TemporaryDirectory() as name:
            return self._trained(Path(name), checkpoint_every)[_WARM_UP:]

    def seconds_to_go_on(self) -> float:
        """Until a run that was stopped one step behind a save has made the step that comes next."""
        with tempfile.TemporaryDirectory() as name:
            self._trained(Path(name), _SAVED_EVERY, stop_after=_SAVED_EVERY + 1)
            return self._trained(Path(name), _SAVED_EVERY)[0]

    def plain_steps(self) -> list[float]:
        """Seconds of the timed steps of the plain loop."""
        model = self._model()
        optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=self.block.optimiser.betas)
        seconds = []
        for rows in self._files:
            began = time.perf_counter()
            self._plain_step(model, optimiser, rows)
            seconds.append(time.perf_counter() - began)
        return seconds[_WARM_UP:]

    @cached_property
    def _files(self) -> list[list[tuple[Row, bytes]]]:
        """The rows of every step with their pictures as files."""
        return [[self._as_file(row) for row in self._rows(step)] for step in range(_WARM_UP + STEPS)]

    @cached_property
    def _objective(self) -> MaskedPrediction:
        block = self.block
        material = Material(
            self._rows, self.loader.keys, self.tokenizer, self.vocab, World(0, 1), block.seed, block.grad_accumulation
        )
        return masked_prediction(block, material)

    @property
    def _parent(self) -> Path:
        return ROOT / self.params.paths.models / self.block.init

    def _model(self) -> Transformer:
        return load_model(self._parent, device=torch.device("cpu")).train()

    def _rows(self, step: int) -> list[Row]:
        return [Row(sample, epoch) for sample, epoch in self.loader.batch(step)]

    def _layout(self, row: Row) -> Layout:
        window = self._choices.response_window.get(row.sample.task, 1)
        longest = self.params.model.max_sequence_length
        return lay_out(row.sample, self.tokenizer, self.vocab, window=window, max_length=longest)

    def _trained(self, folder: Path, checkpoint_every: int, stop_after: int | None = None) -> list[float]:
        """Seconds of each step that was made, in one call of the project's loop."""
        block = self.block
        times = [time.perf_counter()]

        def on_metrics(run: str, step: int, values: Mapping[str, float]) -> None:
            times.append(time.perf_counter())
            if step == stop_after:
                raise KeyboardInterrupt

        settings = TrainSettings(
            max_steps=_WARM_UP + STEPS,
            learning_rate=_RATE,
            muon_learning_rate=0.0,
            min_learning_rate=_RATE,
            warmup_steps=0,
            weight_decay=block.optimiser.weight_decay,
            betas=block.optimiser.betas,
            max_grad_norm=block.optimiser.max_grad_norm,
            precision=block.precision,
            threads=block.threads,
            checkpoint_every=checkpoint_every,
            publish_every=0,
            log_every=1,
            ema_decay=0.0,
            guard=GuardRule(**block.guard.model_dump()),
            run="perf",
        )
        with suppress(KeyboardInterrupt):
            train(
                self._model(),
                self._objective,
                settings,
                state_dir=folder.as_posix(),
                world=World(0, 1),
                on_metrics=on_metrics,
                publish=lambda position: None,
                label="perf",
            )
        return [after - before for before, after in pairwise(times)]

    def _as_file(self, row: Row) -> tuple[Row, bytes]:
        """A row, and the picture that its codes show as a PNG file; b"" without one."""
        codes = row.sample.codes
        if codes is None:
            return row, b""
        ids = torch.from_numpy(codes.astype(np.int64)).flatten()[None]
        buffer = io.BytesIO()
        picture = to_uint8(self.magvit.decode(ids, height=codes.shape[0], width=codes.shape[1]))[0]
        Image.fromarray(picture).save(buffer, "png")
        return row, buffer.getvalue()

    def _encoded(self, rows: list[tuple[Row, bytes]]) -> list[Row]:
        """Rows with the codes of their pictures, encoded anew."""
        side = self.params.vq.resolution
        files = [data for _, data in rows if data]
        pixels = [
            preprocess(decode_picture(data, max_pixels=side * side), size=(side, side), policy="centre_crop")
            for data in files
        ]
        codes = iter(self.magvit.encode(torch.from_numpy(np.stack(pixels))).numpy().astype(np.uint16) if files else ())

        def with_codes(sample: Sample) -> Sample:
            return sample if sample.codes is None else replace(sample, codes=next(codes).reshape(sample.codes.shape))

        return [Row(with_codes(row.sample), row.epoch) for row, _ in rows]

    def _plain_step(self, model: Transformer, optimiser: torch.optim.Optimizer, files: list[tuple[Row, bytes]]) -> None:
        rows = self._encoded(files)
        length = self.params.selection.max_text_tokens + (self.params.vq.resolution // self.magvit.sizes.factor) ** 2
        size = self._choices.batch_size
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            batch = collate([self._layout(row) for row in part], self.vocab, padding="eos", length=length)
            epochs, noise = [row.epoch for row in part], self._objective.settings.noise
            noised = add_noise(batch, epochs, noise, mask_id=self.vocab.mask, seed=self.block.seed)
            logits = model(noised.x_t)
            each = functional.cross_entropy(logits.transpose(1, 2), batch.ids, reduction="none") / noised.p_mask
            (each[noised.is_target].sum() / batch.ids.numel() * len(part) / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), self.block.optimiser.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
