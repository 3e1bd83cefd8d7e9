"""The MMaDA transformer: LLaDA blocks over one vocabulary of text and image ids, bidirectional.

State-dict keys are the published ones (`model.transformer.blocks.0.q_proj.weight`, ...), so weights load by
name. Shapes: B sequences, L tokens, D model width, H heads, F feed-forward width, V ids, M selected tokens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mmada.errors import CheckpointError
from mmada.size_rules import head_width_fault
from mmada.vocab import check_range

AttentionPolicy = Literal["masked", "full", "plus_one"]
ATTENTION_POLICIES: Final[tuple[AttentionPolicy, ...]] = get_args(AttentionPolicy)

KeysValues = tuple[Float[Tensor, "B H L head"], Float[Tensor, "B H L head"]]
ExtendKeysValues = Callable[[int, Tensor, Tensor], KeysValues]
"""(layer, keys, values of the tokens at hand) -> keys and values of all tokens that they may attend to."""


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the network and what `attendable` means to it. Raises CheckpointError when sizes do not fit.

    `attention`: "masked" hides unattendable tokens; "full" ignores `attendable` (how the released weights
    were trained); "plus_one" adds 1 to attendable scores and hides nothing (what the reference's training
    code computes).
    """

    d_model: int
    n_layers: int
    n_heads: int
    mlp_hidden_size: int
    embedding_size: int
    max_sequence_length: int
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    attention: AttentionPolicy = "masked"

    def __post_init__(self) -> None:
        if fault := head_width_fault(self.d_model, self.n_heads):
            raise CheckpointError(f"model: {fault}")
        if self.attention not in ATTENTION_POLICIES:
            raise CheckpointError(f"model: attention is {self.attention!r}; allowed: {ATTENTION_POLICIES}")


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in fp32 and cast back before the gain (LLaDA)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        """Normalise the last axis."""
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
            return self.weight * wide.to(x.dtype)


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward, both residual, no biases (LLaDALlamaBlock)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, hidden = config.d_model, config.mlp_hidden_size
        self.n_heads = config.n_heads
        self.attn_norm = RMSNorm(width, config.rms_norm_eps)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.ff_norm = RMSNorm(width, config.rms_norm_eps)
        self.ff_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.ff_out = nn.Linear(hidden, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        cos: Float[Tensor, "L head"],
        sin: Float[Tensor, "L head"],
        bias: Float[Tensor, "B 1 Q L"] | None,
        extend: Callable[[Tensor, Tensor], KeysValues] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """One layer. `extend`: from keys and values of these tokens to those of all that they attend to."""
        normed = self.attn_norm(x)
        q, k, v = (
            project(normed).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if extend is not None:
            k, v = extend(k, v)
        attended = attend(q, k, v, bias)
        x = x + self.attn_out(attended.transpose(1, 2).flatten(2))
        normed = self.ff_norm(x)
        out: Tensor = x + self.ff_out(functional.silu(self.ff_proj(normed)) * self.up_proj(normed))
        return out


class _Stack(nn.Module):
    """Embedding, blocks, final norm and output matrix, under their published names."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        # Loaded, or drawn by `initialise`: nn.Embedding's own draw on the meta device imports torch's compiler.
        rows = torch.empty(config.embedding_size, config.d_model)
        self.wte = nn.Embedding(config.embedding_size, config.d_model, _weight=rows)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.ln_f = RMSNorm(config.d_model, config.rms_norm_eps)
        self.ff_out = nn.Linear(config.d_model, config.embedding_size, bias=False)


class _Inner(nn.Module):
    """The `model.` level of the published key names."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.transformer = _Stack(config)


class Transformer(nn.Module):
    """The network. Calling it scores every id at every token; `hidden_states` and `logits` only what is needed."""

    def __init__(self, config: TransformerConfig, *, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = activation_checkpointing
        self.model = _Inner(config)

    @property
    def blocks(self) -> list[Block]:
        """The layers, first to last."""
        return list(self.model.transformer.blocks)  # type: ignore[arg-type]  # ModuleList is typed as modules

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.transformer.wte.weight.device
        return device

    def forward(
        self, ids: Int[Tensor, "B L"], attendable: Bool[Tensor, "B L"] | Bool[Tensor, "B L L"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """Scores of all ids; for `attendable` see `hidden_states`. Raises ContractError for an id without embedding."""
        check_range(ids, 0, self.config.embedding_size, "id")
        return self.logits(self.hidden_states(ids, attendable))

    def hidden_states(
        self,
        ids: Int[Tensor, "B L"],
        attendable: Bool[Tensor, "B K"] | Bool[Tensor, "B L K"] | None = None,
        *,
        first: int = 0,
        extend: ExtendKeysValues | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Hidden states after the last norm. Ids are not checked here: on a GPU that would wait for it at every step.

        `attendable`: True = may be attended to, per key or per (query, key). A query that may attend to
        nothing attends to all alike, as in the reference. `first`: position of the first of these tokens.
        `extend` adds keys and values of other tokens (model.kv_cache); the K keys are then those that it
        gives, without it the L tokens themselves. Raises CheckpointError when a position exceeds the model's
        length.
        """
        length = first + ids.shape[1]
        if length > self.config.max_sequence_length:
            raise CheckpointError(
                f"sequence of {length} tokens, but the model takes {self.config.max_sequence_length}; "
                "shorten the sample or raise model.max_sequence_length"
            )
        x: Tensor = self.model.transformer.wte(ids)
        cos, sin = (table[first:] for table in rope_tables(length, self.config, x.device))
        bias = attention_bias(attendable, self.config.attention)
        for layer, block in enumerate(self.model.transformer.blocks):
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, cos, sin, bias, use_reentrant=False)
            else:
                x = block(x, cos, sin, bias, None if extend is None else partial(extend, layer))
        hidden: Tensor = self.model.transformer.ln_f(x)
        return hidden

    def logits(self, hidden: Float[Tensor, "*shape D"], ids: slice | None = None) -> Float[Tensor, "*shape V"]:
        """Scores of the ids in `ids` (None: the whole vocabulary) for hidden states."""
        return functional.linear(hidden, self.output_rows(ids))

    def output_rows(self, ids: slice | None = None) -> Float[Tensor, "V D"]:
        """Rows of the output matrix for the ids in `ids` (None: all)."""
        weight: Tensor = self.model.transformer.ff_out.weight
        return weight if ids is None or ids == slice(0, len(weight)) else weight[ids]


def compile_blocks(model: Transformer) -> None:
    """Compile each block in place: they are alike, so one graph serves all, and what surrounds them stays as it is."""
    for block in model.blocks:
        block.compile()


def attention_bias(
    attendable: Bool[Tensor, "B L"] | Bool[Tensor, "B L L"] | None, policy: AttentionPolicy
) -> Float[Tensor, "B 1 Q L"] | None:
    """What is added to attention scores: Q is 1 (same for all queries) or L."""
    if attendable is None or policy == "full":
        return None
    allowed = attendable[:, None, None, :] if attendable.dim() == 2 else attendable[:, None]
    if policy == "plus_one":
        return allowed.float()
    # The lowest finite value, not -inf: a row with nothing attendable must not become NaN.
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, torch.finfo(torch.float32).min)


def rope_tables(
    length: int, config: TransformerConfig, device: torch.device
) -> tuple[Float[Tensor, "L head"], Float[Tensor, "L head"]]:
    """Cosines and sines of rotary positions 0 .. L-1, fp32, halves repeated (half-split form)."""
    with torch.autocast(device.type, enabled=False):
        width = config.d_model // config.n_heads
        exponent = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
        frequencies = 1.0 / (config.rope_theta**exponent)
        angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "B H L head"], cos: Float[Tensor, "L head"], sin: Float[Tensor, "L head"]
) -> Float[Tensor, "B H L head"]:
    """Apply rotary positions in fp32 and cast back."""
    with torch.autocast(x.device.type, enabled=False):
        wide = x.float()
        first, second = wide.chunk(2, dim=-1)
        return (wide * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


def attend(
    q: Float[Tensor, "B H L head"],
    k: Float[Tensor, "B H L head"],
    v: Float[Tensor, "B H L head"],
    bias: Float[Tensor, "B 1 Q L"] | None,
) -> Float[Tensor, "B H L head"]:
    """Softmax attention. `bias` is added to the scaled scores."""
    v = v.to(q.dtype)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # The fused CPU kernel's bf16 backward takes 5x the time of these three lines (96 x 56 tokens, 6
        # heads).
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return torch.softmax(scores if bias is None else scores + bias, dim=-1, dtype=torch.float32).to(v.dtype) @ v
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))


@torch.no_grad()
def initialise(model: Transformer, generator: torch.Generator) -> None:
    """Draw all weights in place: normals cut at 3 sigma with variance 1/fan_in, residual outputs of layer i
    shrunk by sqrt(2(i+1)) (the "mitchell" rule of the published configuration); gains are ones.

    Draws follow the order of the state-dict keys, so equal generators give equal weights.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0)
            continue
        std = 1.0 / math.sqrt(parameter.shape[1])
        if name.endswith(("attn_out.weight", "ff_out.weight")) and ".blocks." in name:
            layer = int(name.split(".blocks.")[1].split(".")[0])
            std /= math.sqrt(2 * (layer + 1))
        nn.init.trunc_normal_(parameter, std=std, a=-3 * std, b=3 * std, generator=generator)
