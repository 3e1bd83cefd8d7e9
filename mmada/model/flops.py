"""Floating-point operations of a training step, by formula: what "model FLOPs utilisation" is counted in."""

from dataclasses import dataclass

from mmada.model.transformer import TransformerConfig


@dataclass(frozen=True)
class Work:
    """What one micro-batch asks of the network."""

    tokens: int
    """Without pads."""
    slots: int
    """With pads: rows times length."""
    pairs: int
    """Of query and key, summed over rows: rows times length squared."""
    scores: int
    """Ids that are scored, summed over the tokens whose loss is taken."""

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.tokens + other.tokens,
            self.slots + other.slots,
            self.pairs + other.pairs,
            self.scores + other.scores,
        )


def training_flops(config: TransformerConfig, work: Work) -> int:
    """Of forward and backward, a multiplication and an addition counted as two.

    Each matrix product costs twice its forward again in backward. What activation checkpointing and tiled losses
    compute again is not counted (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
    """
    width = config.d_model
    per_token = config.n_layers * (4 * width**2 + 3 * width * config.mlp_hidden_size)
    attention = config.n_layers * 2 * width * work.pairs  # scores, then their product with the values
    return 3 * 2 * (work.slots * per_token + attention + work.scores * width)
