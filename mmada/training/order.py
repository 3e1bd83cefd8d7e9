"""The order in which a training block draws its samples."""

from collections.abc import Mapping, Sequence

from mmada.params_training import TrainingBlock
from mmada.shards.order import Order


def training_order(keys: Mapping[str, Sequence[str]], block: TrainingBlock) -> Order:
    """Order of a block's global batches over `keys` (corpus -> sample keys); the trainer and lineage both ask
    here.
    """
    return Order(keys, block.data.corpora, block.samples_per_step, block.seed)
