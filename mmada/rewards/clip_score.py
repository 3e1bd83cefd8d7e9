"""CLIP score: agreement of a picture with its prompt, or of a caption with its picture, by a local CLIP model."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mmada.errors import CheckpointError
from mmada.rewards.response import Response

# Channel statistics of CLIP's and BLIP's training pictures (arXiv:2103.00020).
MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)


def prepare_pixels(pixels: UInt8[np.ndarray, "H W 3"], size: int) -> Float[Tensor, "1 3 S S"]:
    """Bicubic resize of the short side to `size`, centre crop, normalisation."""
    image = Image.fromarray(pixels)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    cropped = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / 255.0
    normal = (cropped - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    return torch.from_numpy(normal.transpose(2, 0, 1))[None]


class ClipScore:
    """100 x cosine of a picture and its words, not below 0 (arXiv:2104.08718; torchmetrics' scale).

    The words are the prompt of a drawing, and the answer of a response about a given picture: its caption.
    Published weight 0.1 (arXiv:2505.15809).
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.no_grad()
    def __call__(self, response: Response) -> float:
        """0 for a caption without words. Raises CheckpointError when there is no picture."""
        if response.pixels is None:
            raise CheckpointError("the clip reward needs a picture; use it for t2i, r2i or mmu only")
        words = response.prompt if response.draws else response.statement
        if not words.strip():
            return 0.0
        config = self.model.config
        text = self.tokenizer(
            words,
            truncation=True,
            max_length=config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        out = self.model(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            pixel_values=prepare_pixels(response.pixels, config.vision_config.image_size),
        )
        cosine = torch.cosine_similarity(out.text_embeds, out.image_embeds)
        return max(0.0, 100.0 * float(cosine))


def load_clip_score(folder: Path) -> ClipScore:
    """A CLIP model and its tokenizer from a local folder. Raises CheckpointError when it holds none."""
    from transformers import AutoTokenizer, CLIPModel  # seconds to import, and only this reward needs it

    try:
        model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no CLIP model with a tokenizer: {error}") from error
    return ClipScore(model.eval(), tokenizer)
