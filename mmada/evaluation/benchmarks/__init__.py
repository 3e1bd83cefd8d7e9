"""Kinds of benchmarks: what is asked and how answers are graded. A new kind is one file and one line here."""

from collections.abc import Mapping
from typing import Final

from mmada.evaluation.benchmarks import pictures, reasoning, vqa
from mmada.evaluation.benchmarks.kinds import BenchmarkKind

BENCHMARK_KINDS: Final[Mapping[str, BenchmarkKind]] = {
    "reasoning": reasoning.KIND,
    "vqa": vqa.KIND,
    "pictures": pictures.KIND,
}
