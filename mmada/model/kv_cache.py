"""Keys and values that outlive a forward pass, so that the next one computes a few columns only.

Attention is bidirectional: the keys and values of a token change whenever another token is revealed, so what
is kept here goes stale and must be renewed. Prefix and dual cache follow Fast-dLLM (arXiv:2505.22618): one
full pass when a block of text begins, then passes over the block and what follows it ("prefix"), or over the
block alone ("dual"), until the block is filled.
Shapes: B sequences, L tokens, H heads, R kept sequences.
"""

from typing import Final, Literal, get_args

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.model.transformer import KeysValues, Transformer

CacheName = Literal["none", "prefix", "dual"]
CACHE_NAMES: Final[tuple[CacheName, ...]] = get_args(CacheName)


class KvCache:
    """Keys and values of every token of some sequences, layer by layer; empty until the first full pass."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._layers: list[KeysValues] = []

    @property
    def is_empty(self) -> bool:
        """Whether the next pass has to be a full one."""
        return not self._layers

    def full_pass(self, ids: Int[Tensor, "B L"], attendable: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B L D"]:
        """Hidden states of all tokens; their keys and values replace what was kept."""
        self._layers = []

        def keep(_layer: int, keys: Tensor, values: Tensor) -> KeysValues:
            self._layers.append((keys, values))
            return keys, values

        return self._model.hidden_states(ids, attendable, extend=keep)

    def partial_pass(
        self, ids: Int[Tensor, "B L"], attendable: Bool[Tensor, "B L"] | None, columns: slice
    ) -> Float[Tensor, "B C D"]:
        """Hidden states of ids[:, columns], which see the kept keys and values of all other tokens; their own
        are brought up to date.
        """

        def renew(layer: int, keys: Tensor, values: Tensor) -> KeysValues:
            kept_keys, kept_values = self._layers[layer]
            kept_keys[:, :, columns], kept_values[:, :, columns] = keys, values
            return kept_keys, kept_values

        return self._model.hidden_states(ids[:, columns], attendable, first=columns.start, extend=renew)

    def keep_rows(self, rows: Int[Tensor, "R"]) -> None:
        """Forget all sequences but these."""
        self._layers = [(keys[rows], values[rows]) for keys, values in self._layers]
