"""Whether the final answer of a response is the reference answer."""

from mmada.answers import answers_match, extract_answer
from mmada.errors import ContractError
from mmada.rewards.response import Response


def correctness(response: Response) -> float:
    """1 when the answer read from the response means the same as the reference, else 0.

    Published weight 2.0 (arXiv:2505.15809).
    """
    predicted = extract_answer(response.completion)
    return float(predicted is not None and answers_match(predicted, response.reference))


def check_reference(prompt: str, reference: str) -> None:
    """Raises ContractError when a prompt has no answer that responses could be held against: all of them would be 0."""
    if not reference.strip():
        raise ContractError(
            f"prompt {prompt[:80]!r} has no reference answer, so that the correctness reward could give nothing; map "
            "the corpus's answer column to `reference`, or give the corpus other rewards in unigrpo.corpus_rewards"
        )
