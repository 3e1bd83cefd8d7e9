"""Whether the final answer of a response is the reference answer."""

from jaxtyping import UInt8
from numpy import ndarray

from mmada.answers import answers_match, extract_answer


def correctness(*, prompt: str, completion: str, reference: str, pixels: UInt8[ndarray, "H W 3"] | None) -> float:
    """1 when the answer read from the response means the same as the reference, else 0.

    Published weight 2.0 (arXiv:2505.15809).
    """
    predicted = extract_answer(completion)
    return float(predicted is not None and answers_match(predicted, reference))
