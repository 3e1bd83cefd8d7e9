"""Pictures that a model draws while it learns: the same few prompts at every saved step, for people to look at.

They lie among the reports, which nothing depends on, and cost the run neither a random number nor a weight.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import torch
from PIL import Image

from mmada.contracts.sample import Sample
from mmada.model.generation import Query, generate
from mmada.model.image_sampling import ImageSampling
from mmada.model.text_sampling import TextSampling
from mmada.model.transformer import Transformer
from mmada.shards.reader import ShardReader
from mmada.text_tokenizer import TextTokenizer
from mmada.training.rollouts import DecodePictures
from mmada.vocab import Vocab

PROMPTS_FILE: Final = "prompts.json"
_PICTURES: Final = 4
_SAMPLING: Final = ImageSampling(steps=8)  # a glance, not a measurement: 1 % of the demo's training time
_NO_TEXT: Final = TextSampling(new_tokens=1, steps=1, block=1)
_SEED: Final = 0


@dataclass(frozen=True)
class PictureSampler:
    """Draws `prompts` (t2i samples with pictures of one size) and writes `step-000100-0.png` ... to `folder`.

    `run`: the run's digest; pictures of another run are removed before the first of this one.
    """

    folder: Path
    run: str
    prompts: Sequence[Sample]
    tokenizer: TextTokenizer
    vocab: Vocab
    decode_pictures: DecodePictures

    def __call__(self, step: int, model: Transformer) -> None:
        """Draw every prompt; equal weights give equal pictures, whatever the step."""
        self._prepare()
        grid = _grid(self.prompts[0])
        was_training = model.training
        model.eval()
        generated = generate(
            model,
            "t2i",
            [Query(sample.prompt) for sample in self.prompts],
            self.tokenizer,
            self.vocab,
            text=_NO_TEXT,
            image=_SAMPLING,
            num_image_tokens=grid[0] * grid[1],
            generator=torch.Generator(model.device).manual_seed(_SEED),
        )
        model.train(was_training)
        codes = generated.codes(self.vocab).cpu().view(-1, *grid)
        for number, pixels in enumerate(self.decode_pictures(codes)):
            Image.fromarray(pixels).save(self.folder / f"step-{step:06d}-{number}.png")

    def _prepare(self) -> None:
        described = {"run": self.run, "prompts": [sample.prompt for sample in self.prompts]}
        path = self.folder / PROMPTS_FILE
        text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")


def drawing_prompts(reader: ShardReader) -> list[Sample]:
    """The first few t2i samples of the shards with different prompts and pictures of one size; empty without any."""
    chosen: dict[str, Sample] = {}
    for key in reader.index.filter(pl.col("task") == "t2i").get_column("key"):
        sample = reader.sample(key)
        if not chosen or _grid(sample) == _grid(next(iter(chosen.values()))):
            chosen.setdefault(sample.prompt, sample)
        if len(chosen) == _PICTURES:
            break
    return list(chosen.values())


def _grid(sample: Sample) -> tuple[int, int]:
    assert sample.codes is not None, "a t2i sample has a picture"
    rows, columns = sample.codes.shape
    return rows, columns
