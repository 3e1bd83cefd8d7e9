"""MinHash proposes and Jaccard decides: nothing at the threshold is lost, nothing below it is merged."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mmada.curation.dedup import (
    Pairs,
    banding,
    content_key,
    group_hashes,
    jaccard,
    shown_keys,
    signatures,
    sketch_of,
    text_keys_of_groups,
)
from mmada.curation.near_pairs import Documents, join_documents, near_duplicates
from mmada.curation.words import Words, ngrams, split_words, text_keys
from mmada.unit_store import UnitStore

PERMUTATIONS = 128
SHINGLE = 5
FLOOR = 0.7


def _documents(texts: Sequence[str], pixels: Sequence[str], number: int) -> Documents:
    words = split_words(pl.Series(texts, dtype=pl.String))
    groups = group_hashes(pl.Series(["chat"] * len(texts)), pl.Series(pixels))
    return Documents(
        keys=text_keys_of_groups(text_keys(words), groups),
        sketches=sketch_of(groups, signatures(ngrams(words, SHINGLE), PERMUTATIONS), floor=FLOOR),
        files=np.full(len(texts), number, np.int32),
        rows=np.arange(len(texts), dtype=np.int32),
        num_words=words.counts.astype(np.int32),
    )


def _alike(
    folder: Path, texts: Sequence[str], pixels: Sequence[str] | None = None, *, parts: int = 1, store: str = "units"
) -> dict[tuple[str, str], float]:
    """Similarity by the pair of text keys, of texts that stand in a number of files."""
    pixels = pixels or [""] * len(texts)
    files, documents = [], []
    for number in range(parts):
        some = texts[number::parts]
        files.append(folder / f"{store}-{number}-of-{parts}.parquet")
        pl.DataFrame({"prompt": some, "response": [""] * len(some)}).write_parquet(files[-1])
        documents.append(_documents(some, pixels[number::parts], number))
    found = near_duplicates(
        join_documents(documents), files, shingle=SHINGLE, floor=FLOOR, store=UnitStore(folder / store)
    )
    return {(left, right): similarity for left, right, similarity in found.iter_rows()}


def _keys(texts: Sequence[str]) -> list[str]:
    return shown_keys(pl.Series(_documents(texts, [""] * len(texts), 0).keys)).to_list()


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
def test_pairs_equal_brute_force_whatever_the_order_and_the_split(tmp_path: Path, seed: int) -> None:
    texts = list(dict.fromkeys(_corpus(seed)))
    keys = _keys(texts)
    expected = {
        (min(keys[i], keys[j]), max(keys[i], keys[j])): similarity
        for (i, j), similarity in _brute_force(texts, FLOOR).items()
    }
    assert len(expected) > 20
    assert _alike(tmp_path, texts) == pytest.approx(expected)
    random.Random(seed).shuffle(texts)
    for parts in (2, 7):
        assert _alike(tmp_path, texts, parts=parts, store=f"units{parts}") == pytest.approx(expected)


def test_added_texts_cost_their_own_comparisons_and_equal_a_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = list(dict.fromkeys(_corpus(4)))
    added = [_edited(random.Random(5), texts[0] + " and some more words of its own", 1)]
    before = _alike(tmp_path, texts)
    compared: list[int] = []

    def counting(shingles: Words, pairs: Pairs) -> NDArray[np.float64]:
        compared.append(len(pairs))
        return jaccard(shingles, pairs)

    monkeypatch.setattr("mmada.curation.near_pairs.jaccard", counting)
    assert _alike(tmp_path, texts) == before
    assert compared == []
    grown = _alike(tmp_path, texts + added)
    assert sum(compared) < len(before) / 2
    assert _alike(tmp_path, texts + added, store="rebuilt") == grown


def test_texts_under_different_pictures_are_no_duplicates(tmp_path: Path) -> None:
    text = "a red circle stands to the left of a blue square in this picture"
    other = text + " here"
    assert len(_alike(tmp_path, [text, other])) == 1
    assert not _alike(tmp_path, [text, other], ["p1", "p2"])
    assert len(set(_documents([text, text], ["p1", "p2"], 0).keys)) == 2


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


def test_gsm8k_holds_one_near_duplicate(realdata: Path, tmp_path: Path) -> None:
    """Of all 28 million pairs of its questions, as counting the shared phrases of every two of them finds."""
    lines = (realdata / "text_math" / "gsm8k_train.jsonl").read_text("utf-8").splitlines()
    (similarity,) = _alike(tmp_path, [json.loads(line)["question"] for line in lines]).values()
    assert similarity > 0.9
