"""Problems whose final answer is compared with the gold one."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from mmada.answers import answers_match, extract_answer, normalise_answer
from mmada.evaluation.benchmarks.kinds import BenchmarkKind, Item, Produced

ANSWERS_VERIFIER: Final = "answers_match-3"
"""Raised when mmada.answers gives another verdict."""


def final_answer(produced: Produced) -> str:
    """The answer that a text states, "" if it states none."""
    return extract_answer(produced.text) or ""


def is_correct(item: Item, produced: Produced) -> bool:
    """Whether the final answer denotes the gold value (one meaning for curation, rewards and evaluation)."""
    return answers_match(final_answer(produced), item.reference)


def constant_correct(items: Sequence[Item], produced: Sequence[Produced]) -> int:
    """Items whose gold answer is the most frequent one."""
    return max(Counter(normalise_answer(item.reference) for item in items).values())


KIND: Final = BenchmarkKind(
    verifier=ANSWERS_VERIFIER,
    task=lambda think: "chat",
    answer=final_answer,
    is_correct=is_correct,
    constant_correct=constant_correct,
)
