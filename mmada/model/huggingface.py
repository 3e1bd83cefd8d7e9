"""MMaDA as transformers knows models: importing this module makes `AutoConfig` and `AutoModel` read its folders.

The class names are those of the reference, because they are written into config.json.
"""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from mmada.model.transformer import Transformer
from mmada.model.weights import parse_config


class MMadaConfig(PretrainedConfig):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """config.json of a model folder, entry by entry; `mmada.model.weights.parse_config` says what is supported."""

    model_type = "mmada"


class MMadaModelLM(PreTrainedModel):
    """The transformer as a `PreTrainedModel`. Raises CheckpointError for a config of another kind of network."""

    config_class = MMadaConfig
    base_model_prefix = "model"

    def __init__(self, config: MMadaConfig) -> None:
        super().__init__(config)
        network = Transformer(parse_config(config.to_dict(), config.name_or_path or "config"))
        self.model = network.model
        self._network = (network,)  # in a tuple, so that its tensors keep their published names
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, input_ids: Int[Tensor, "B L"], attention_mask: Bool[Tensor, "B L"] | None = None, **_: Any
    ) -> MaskedLMOutput:
        """Scores of all ids at every token. `attention_mask`: 0 hides a token from all others."""
        attendable = None if attention_mask is None else attention_mask.to(torch.bool)
        return MaskedLMOutput(logits=self._network[0](input_ids, attendable))

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of ids."""
        embedding: nn.Module = self.model.transformer.wte
        return embedding

    def get_output_embeddings(self) -> nn.Module:
        """The output matrix."""
        output: nn.Module = self.model.transformer.ff_out
        return output

    def _init_weights(self, module: nn.Module) -> None:
        """Weights come from a folder, or from `mmada.model.transformer.initialise`."""


AutoConfig.register(MMadaConfig.model_type, MMadaConfig)
AutoModel.register(MMadaConfig, MMadaModelLM)
AutoModelForMaskedLM.register(MMadaConfig, MMadaModelLM)
