"""Questions about a picture, graded as reasoning is; blind means: with the picture of another item."""

from dataclasses import replace
from typing import Final

from mmada.evaluation.benchmarks import reasoning
from mmada.evaluation.benchmarks.kinds import BenchmarkKind

KIND: Final[BenchmarkKind] = replace(reasoning.KIND, task=lambda think: "mmu", permutes_pictures=True)
