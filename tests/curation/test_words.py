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
        ("**What** is *it* now?", "What is it now?"),
        ("> a quoted line\n> and more", "a quoted line and more"),
        ("* one item\n* two items", "one item two items"),
        ('<q>What</q> is <a href="x">this</a>?', "What is this?"),
        ("Title\n=====\ntext", "title text"),
        ("a well-known cat - a tabby", "a well known cat, a tabby"),
        ("Wow! What is 2 + 5!!", "wow what is 2 + 5"),
        ("x \u2264 5 and A \u222a B", r"x \leq 5 and A \cup B"),
        ("2\u00b3 * 4", r"2^3 \times 4"),
        ("2**3", "2^3"),
        ("it's Tom's, isn't it?", "its Toms, isnt it"),
        (r"\frac12 + \dfrac{x+1}{\sqrt{2}}", r"1/2 + (x+1)/\sqrt{2}"),
        (r"\LEFT( X \RIGHT)", "(x)"),
        (r"\begin{align*} x &= 3 \end{align*}", r"\[ x = 3 \]"),
        ("2\u00b7 3 and 90\u00b0 of 2\u03c0", r"2 \cdot 3 and 90^\circ of 2\pi"),
        ("20% of $5", "20 percent of 5 dollars"),
        ("5 &lt; 6 isn&#39;t &quot;new&quot;", "5 < 6 isn't new"),
        ("trans\u00adlation", "translation"),
    ],
)
def test_what_does_not_count(left: str, right: str) -> None:
    assert _key(left) == _key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3 - 2", "3 + 2"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
        ("\u03b1\u03c0\u03cc", "\u03b1\u03c0\u03ad"),
        ("the dollars", "the cents"),
        ("-3", "3"),
        ("2.5", "25"),
        ("left of the box", "right of the box"),
        ("a b", "b a"),
        ("a", "a a"),
        ("3 * 4", "3 4"),
        ("x \u2264 5", "x \u2265 5"),
        ("A \u2229 B", "A \u222a B"),
        ("x \u2208 A", "x \u2209 A"),
        ("\u221a2", "2"),
        ("a \u2295 b", "a b"),
        ("10\u00b2", "102"),
        ("n! < 100", "n < 100"),
        ("f(x) = -x + 3", "f(x) = x + 3"),
        ("5 - x", "5 x"),
        ("5-x", "5x"),
        ("What does <h1></h1> do?", "What does <h2></h2> do?"),
        ("**Write** f(List<String> x)", "**Write** f(List<Integer> x)"),
        ("print(a ** b)", "print(a, b)"),
        ("f(**kwargs)", "f(kwargs)"),
        ("char* s", "char s"),
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
