"""Answer checks a second on a realistic mix, beside math-verify alone on the same pairs."""

import json
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mmada.answers import answers_match, extract_answer

PAIRS = 4000
PEER_PAIRS = 400
"""math-verify alone needs minutes for all of them."""
SECONDS = 3.0
CORES = 2

Pair = tuple[str, str]  # response, reference


def bench_answers() -> dict[str, float]:
    """Pairs a second on two cores of both, extraction included, and how often their verdicts are the same."""
    pairs = _pairs(Path(os.environ["MMADA_REALDATA"]))
    peer_pairs = random.Random(2).sample(pairs, PEER_PAIRS)
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(_warm, range(2 * CORES)))
        ours_rate, ours = _timed(pool, _ours, pairs)
        peer_rate, peer = _timed(pool, _peer, peer_pairs)
    verdicts = dict(zip(pairs, ours, strict=True))
    alike = sum(verdicts[pair] == verdict for pair, verdict in zip(peer_pairs, peer, strict=True))
    return {
        "pairs_per_second": ours_rate,
        "math_verify_pairs_per_second": peer_rate,
        "ratio": ours_rate / peer_rate,
        "share_of_equal_verdicts": alike / PEER_PAIRS,
    }


def _pairs(realdata: Path) -> list[Pair]:
    """Responses of a model, solutions of people, and both with another question's answer, in equal parts."""
    rng = random.Random(1)
    solutions = [json.loads(line)["answer"] for line in (realdata / "text_math/gsm8k_train.jsonl").open()]
    right = [(solution, solution.rpartition("####")[2].strip()) for solution in solutions]
    generated = [
        (item["generations"], item["ground_truth"])
        for file in sorted(realdata.glob("dlm_outputs/d1_llada/math500*.json"))
        for item in json.loads(file.read_text("utf-8"))["generations"]
    ]
    wrong = [(response, rng.choice(right)[1]) for response, _ in right]
    drawn = [*rng.sample(right, PAIRS // 2), *rng.sample(wrong, PAIRS // 2 - len(generated)), *generated]
    rng.shuffle(drawn)
    return drawn


def _timed(pool: ProcessPoolExecutor, check: Callable[[Pair], bool], pairs: list[Pair]) -> tuple[float, list[bool]]:
    began = time.perf_counter()
    verdicts = list(pool.map(check, pairs, chunksize=50))
    return len(pairs) / (time.perf_counter() - began), verdicts


def _warm(number: int) -> bool:
    """Start the symbolic engines of this process."""
    return answers_match(f"x + {number}", f"{number} + x", seconds=60) and _peer(("1", "1"))


def _ours(pair: Pair) -> bool:
    return answers_match(extract_answer(pair[0]), pair[1], seconds=SECONDS)


def _peer(pair: Pair) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(f"${pair[1]}$"), parse(pair[0])))
