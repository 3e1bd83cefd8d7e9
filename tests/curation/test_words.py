"""What counts as the same words, and that n-grams are what they claim to be."""

import polars as pl
import pytest

from mmada.curation.words import ngrams, split_words, text_keys


def _key(text: str) -> int:
    return int(text_keys(split_words(pl.Series([text])))[0])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("How many apples?", "how  many APPLES"),
        ("It costs 1,000,000 now", "it costs 1000000 now."),
        (r"\left( \dfrac{1}{2} \right)", r"\frac{1}{2}"),
        ("seven birds", "7 birds"),
        (r"16,\!386", "16386"),
    ],
)
def test_what_does_not_count(left: str, right: str) -> None:
    assert _key(left) == _key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3 - 2", "3 + 2"),
        ("-3", "3"),
        ("2.5", "25"),
        ("left of the box", "right of the box"),
        ("a b", "b a"),
        ("a", "a a"),
    ],
)
def test_what_does_count(left: str, right: str) -> None:
    assert _key(left) != _key(right)


def test_ngrams_equal_brute_force() -> None:
    texts = ["a b c d e f", "b c d", "", "x", "c d e a b c"]
    grams = ngrams(split_words(pl.Series(texts)), 3)
    by_text = [set(grams.hashes[a:b].tolist()) for a, b in zip(grams.offsets, grams.offsets[1:], strict=False)]
    brute = []
    for text in texts:
        words = text.split()
        size = min(3, len(words))
        brute.append({tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if words else set())
    assert [len(one) for one in by_text] == [len(one) for one in brute]
    for i in range(len(texts)):
        for j in range(len(texts)):
            assert len(by_text[i] & by_text[j]) == len(brute[i] & brute[j])


def test_a_word_is_all_its_letters_wherever_it_stands() -> None:
    letters = "abcdefghijklmnopqrstuvwx"
    words = [letters[:size] for size in range(1, 25)]
    words += [word[:place] + "z" + word[place + 1 :] for word in list(words) for place in range(len(word))]
    alone = split_words(pl.Series(words))
    assert alone.counts.tolist() == [1] * len(words)
    assert len(set(alone.hashes.tolist())) == len(set(words))
    among = split_words(pl.Series([" ".join(words), f"({')('.join(reversed(words))})"]))
    assert among.hashes.tolist() == [*alone.hashes.tolist(), *reversed(alone.hashes.tolist())]
