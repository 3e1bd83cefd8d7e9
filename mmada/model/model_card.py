"""The model card that lies in every model folder as README.md."""

from typing import Final

from mmada.model.transformer import TransformerConfig
from mmada.vocab import Vocab

CARD: Final = "README.md"


def model_card(config: TransformerConfig, vocab: Vocab, num_parameters: int) -> str:
    """What the folder holds and how it is used; a function of its arguments alone."""
    special = ", ".join(f"{name} {value}" for name, value in sorted(vocab.special.items()))
    return f"""---
library_name: transformers
tags: [mmada, masked-diffusion, text-to-image, visual-question-answering]
---

# An MMaDA model

A masked-diffusion transformer over one vocabulary of text and picture ids (arXiv:2505.15809): it writes, answers
questions about pictures, and draws.

| | |
|---|---|
| parameters | {num_parameters:,} |
| layers, width, heads | {config.n_layers}, {config.d_model}, {config.n_heads} |
| longest sequence | {config.max_sequence_length} tokens |
| attention policy | {config.attention} |
| text ids | [0, {vocab.num_text}), by the tokenizer in this folder |
| picture ids | [{vocab.image_range.start}, {vocab.image_range.stop}): code + {vocab.num_text} |
| embedding rows | {vocab.size} |
| special ids | {special} |

Codes of pictures are those of one MAGVIT-v2 tokenizer with one crop policy: under another they mean other pictures.

## Use

`mmada generate` answers from this folder. From Python:

```python
import mmada.model.huggingface  # makes "mmada" known to transformers; no remote code is run
from transformers import AutoModel

logits = AutoModel.from_pretrained(FOLDER)(input_ids=ids).logits
```

Names and shapes of the tensors are those of the published MMaDA checkpoints.

## Lineage

`mmada trace FOLDER` names the data, parameters and parent that made these weights, down to the raw files;
`mmada verify FOLDER` re-hashes them.
"""
