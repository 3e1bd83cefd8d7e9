"""Whether the final answer of a response is the reference answer."""

from mmada.answers import answers_match, extract_answer
from mmada.rewards.response import Response


def correctness(response: Response) -> float:
    """1 when the answer read from the response means the same as the reference, else 0.

    Published weight 2.0 (arXiv:2505.15809).
    """
    predicted = extract_answer(response.completion)
    return float(predicted is not None and answers_match(predicted, response.reference))
