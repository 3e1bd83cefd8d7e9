"""MinHash proposes and Jaccard decides: nothing at the threshold is lost, nothing below it is merged."""

import random

import numpy as np
import polars as pl
import pytest

from mmada.curation.dedup import (
    alike_texts,
    banding,
    content_key,
    group_hashes,
    jaccard,
    signatures,
    text_keys_of_groups,
)
from mmada.curation.words import ngrams, split_words, text_keys

PERMUTATIONS = 128
SHINGLE = 5


def _table(texts: list[str], pixels: list[str] | None = None) -> pl.DataFrame:
    series = pl.Series(texts, dtype=pl.String)
    words = split_words(series)
    groups = group_hashes(pl.Series(["chat"] * len(texts)), pl.Series(pixels or [""] * len(texts)))
    sketch = signatures(ngrams(words, SHINGLE), PERMUTATIONS)
    return pl.DataFrame(
        {
            "text_key": text_keys_of_groups(text_keys(words), groups),
            "group": groups,
            "signature": [line.tobytes() for line in sketch],
            "prompt": texts,
            "response": [""] * len(texts),
        }
    )


def _edited(rng: random.Random, text: str, edits: int) -> str:
    words = text.split()
    for _ in range(edits):
        words[rng.randrange(len(words))] = "".join(rng.choices("klmnopqrst", k=6))
    return " ".join(words)


def _corpus(seed: int) -> list[str]:
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(2000)]
    originals = [" ".join(rng.choices(vocabulary, k=rng.randint(3, 120))) for _ in range(120)]
    return originals + [_edited(rng, text, rng.randint(0, 6)) for text in originals]


def _brute_force(texts: list[str], floor: float) -> dict[tuple[int, int], float]:
    sets = []
    for text in texts:
        words = text.split()
        size = min(SHINGLE, len(words))
        sets.append({tuple(words[i : i + size]) for i in range(len(words) - size + 1)})
    pairs = {}
    for i in range(len(texts)):
        for j in range(i + 1, len(texts)):
            similarity = len(sets[i] & sets[j]) / len(sets[i] | sets[j])
            if similarity >= floor and texts[i] != texts[j]:
                pairs[(i, j)] = similarity
    return pairs


@pytest.mark.parametrize("seed", [1, 2])
def test_pairs_equal_brute_force_whatever_the_order(seed: int) -> None:
    texts = list(dict.fromkeys(_corpus(seed)))
    expected = _brute_force(texts, 0.7)
    assert len(expected) > 20
    table = _table(texts)
    keys = {key: place for place, key in enumerate(table["text_key"])}
    for rows in (table, table.sample(fraction=1.0, shuffle=True, seed=seed)):
        found = {
            tuple(sorted((keys[left], keys[right]))): similarity
            for left, right, similarity in alike_texts(rows, shingle=SHINGLE, floor=0.7).iter_rows()
        }
        assert found == pytest.approx(expected)


def test_texts_under_different_pictures_are_no_duplicates() -> None:
    text = "a red circle stands to the left of a blue square in this picture"
    other = text + " here"
    assert alike_texts(_table([text, other]), shingle=SHINGLE, floor=0.7).height == 1
    assert alike_texts(_table([text, other], ["p1", "p2"]), shingle=SHINGLE, floor=0.7).is_empty()
    assert _table([text, text], ["p1", "p2"])["text_key"].n_unique() == 2


def test_jaccard_of_small_sets() -> None:
    shingles = ngrams(split_words(pl.Series(["a b c", "b c d", "", "", "a a a"])), 1)
    pairs = np.array([[0, 1], [0, 0], [2, 3], [0, 2], [0, 4]])
    assert jaccard(shingles, pairs).tolist() == pytest.approx([0.5, 1.0, 1.0, 0.0, 1 / 3])


def test_banding_misses_little_at_the_floor_and_less_above() -> None:
    bands, rows = banding(PERMUTATIONS, 0.7)
    assert bands * rows <= PERMUTATIONS
    assert (1 - 0.7**rows) ** bands <= 0.01
    assert (1 - 0.8**rows) ** bands <= 1e-4


def test_signatures_do_not_depend_on_neighbours() -> None:
    texts = _corpus(3)
    together = signatures(ngrams(split_words(pl.Series(texts)), SHINGLE), 16)
    alone = [signatures(ngrams(split_words(pl.Series([text])), SHINGLE), 16)[0] for text in texts[:20]]
    assert np.array_equal(together[:20], np.stack(alone))


def test_content_ignores_white_space_and_unicode_form_only() -> None:
    row = ("chat", "Caf\u00e9 \u00e0  la", "x", "3", "")
    assert content_key(*row) == content_key("chat", "Cafe\u0301 a\u0300 la ", "x", "3", "")
    for changed in [("lm", *row[1:]), (*row[:2], "X", *row[3:]), (*row[:3], "4", ""), (*row[:4], "pixels")]:
        assert content_key(*row) != content_key(*changed)
