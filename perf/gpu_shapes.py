"""Sizes of what is measured on a GPU."""

from dataclasses import dataclass

from mmada.model.transformer import TransformerConfig
from mmada.vocab import Vocab
from mmada.vq.magvit import MagvitSizes


@dataclass(frozen=True)
class Shapes:
    """Sizes of everything that is measured."""

    vocab: Vocab
    train: TransformerConfig
    train_batch: int
    train_length: int
    big: TransformerConfig
    prompt: int
    new_tokens: int
    block: int
    text_batches: tuple[int, ...]
    picture_text: int
    picture_prompt: int
    picture_tokens: int
    picture_steps: tuple[int, ...]
    magvit: MagvitSizes
    picture_side: int
    pictures: int


def real_shapes() -> Shapes:
    """The published 8B model, and one of about 1B parameters in its blocks with the same vocabulary."""
    vocab = Vocab.published()
    train = TransformerConfig(2048, 18, 16, 5632, vocab.size, 2048)
    big = TransformerConfig(4096, 32, 32, 12288, vocab.size, 4096)
    return Shapes(vocab, train, 8, 1539, big, 256, 256, 32, (1, 8), 512, 40, 1024, (15, 50), MagvitSizes(), 256, 512)


def tiny_shapes() -> Shapes:
    """The same code in seconds on a CPU."""
    vocab = Vocab(
        num_text=400, num_codes=64, size=480, bos=2, eos=1, mask=390, ipad=393, t2i=388, mmu=389, r2i=394, soi=384,
        eoi=385, start_header=396, end_header=397, eot=398,
    )  # fmt: skip
    magvit = MagvitSizes(32, (1, 1, 2), (1, 1, 2), (1, 1, 1), (1, 1, 1), 13)
    config = TransformerConfig(64, 2, 2, 96, vocab.size, 256)
    return Shapes(vocab, config, 2, 48, config, 8, 16, 8, (1, 2), 12, 4, 16, (4,), magvit, 64, 32)
