"""ImageReward: learned human preference for a picture given its prompt (arXiv:2304.05977).

transformers has BLIP but not this head, so the network is put together here: BLIP's picture encoder, BLIP's
text encoder that attends to the picture, and a small MLP on the first text token. A folder holds
`config.json` (a BlipConfig), `model.safetensors` (keys `vision_model.*`, `text_encoder.*`, `mlp.*`) and the
BERT tokenizer.
"""

from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmada.errors import CheckpointError
from mmada.rewards.clip_score import prepare_pixels
from mmada.rewards.response import Response

MAX_TOKENS: Final = 35
# Mean and deviation of the raw score over the authors' validation pictures (ImageReward.py of the release).
SCORE_MEAN: Final = 0.16717362830052426
SCORE_STD: Final = 1.0333394966054072


class ImageRewardModel(nn.Module):
    """The network. `config` is a transformers BlipConfig."""

    def __init__(self, config: Any) -> None:
        from transformers import BlipTextModel, BlipVisionModel  # seconds to import

        super().__init__()
        width = config.text_config.hidden_size
        self.image_size = int(config.vision_config.image_size)
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(config.text_config, add_pooling_layer=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, 1024),
            nn.Dropout(0.2),
            nn.Linear(1024, 128),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.Dropout(0.1),
            nn.Linear(64, 16),
            nn.Linear(16, 1),
        )

    def forward(
        self, ids: Int[Tensor, "B L"], attention: Int[Tensor, "B L"], pixels: Float[Tensor, "B 3 S S"]
    ) -> Float[Tensor, "B"]:
        """Raw scores."""
        seen = self.vision_model(pixels).last_hidden_state
        everywhere = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
        read = self.text_encoder(
            input_ids=ids,
            attention_mask=attention,
            encoder_hidden_states=seen,
            encoder_attention_mask=everywhere,
        )
        scores: Tensor = self.mlp(read.last_hidden_state[:, 0])[:, 0]
        return scores


class ImageReward:
    """The reward: the network with its tokenizer."""

    def __init__(self, model: ImageRewardModel, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.no_grad()
    def __call__(self, response: Response) -> float:
        """Normalised score of a drawn picture; raises CheckpointError when there is none."""
        if response.pixels is None or not response.draws:
            raise CheckpointError("the image_reward reward needs a task that draws; use it for t2i or r2i only")
        text = self.tokenizer(
            response.prompt, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        prepared = prepare_pixels(response.pixels, self.model.image_size)
        raw = self.model(text["input_ids"], text["attention_mask"], prepared)
        return (float(raw) - SCORE_MEAN) / SCORE_STD


def load_image_reward(folder: Path) -> ImageReward:
    """The scorer of a local folder. Raises CheckpointError when keys, shapes or files are not as above."""
    from transformers import AutoTokenizer, BlipConfig  # seconds to import

    try:
        model = ImageRewardModel(BlipConfig.from_pretrained(folder, local_files_only=True))
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} holds no ImageReward model: {error}") from error
    return ImageReward(model.eval(), tokenizer)
