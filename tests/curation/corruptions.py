"""Ways in which real trajectories are broken, each with the reason that the drop ledger must give."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class Row:
    """A sound trajectory taken apart, or (`response` set) a broken one."""

    prompt: str
    thought: str
    answer: str
    reference: str
    response: str = ""


DIALECTS: Final = {
    "think": ("<think>", "</think>", "", ""),
    "think and answer": ("<think>", "</think>", "<answer>", "</answer>"),
    "reasoning": ("<reasoning>", "</reasoning>", "<answer>", "</answer>"),
    "Thought": ("<Thought>\n", "\n</Thought>\n", "<Output>\n", "\n</Output>"),
    "begin_of_thought": (
        *("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n"),
        *("<|begin_of_solution|>\n\n", "\n\n<|end_of_solution|>"),
    ),
}
LEAKS: Final = (
    *("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "[INST]", "</s>", "<|start_header_id|>assistant<|end_header_id|>"),
    *("<image>", "<|image_pad|>", "<|vision_start|>", "<start_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
    *(
        "<<SYS>>",
        "<|assistant|>",
        "<|mdm_mask|>",
        "<|soi|>",
        "<pad>",
        "[IMG]",
        "<IMG_CONTEXT>",
        "<|reserved_special_token_7|>",
        *("<EOS>", "<BOS>", "<PAD>", "[EOS]", "[BOS]", "<extra_id_0>", "<reserved_106>", "[unused0]"),
        "<|begin\u2581of\u2581sentence|>",
        *("<0x0A>", "\u2581so\u2581we", "\u0120so \u0120we"),
    ),
)
GARBLED: Final = (
    *(
        "Let\u00e2\u20ac\u2122s check.",
        "the caf\u00c3\u00a9 sells",
        "a \ufffd sign",
        "a bell \x07 rings",
        "\x00",
        "r\u00c3\u00a9sultat",
        "5 \u00c2\u00b0 more",
        "\x1b[0m",
        "\ue123",
        "\u00cf\u20ac is here",
        "\u00ce\u00b1 + \u00ce\u00b8 = 5",
        "\u00e8\u00ae\u00a1\u00e7\u00ae\u2014\u2026",
        "\u0420\u045f\u0421\u0402\u0420\u0451\u0420\u0406\u0420\u00b5\u0421\u201a",
        "c\u0335\u0336\u0337h\u0335\u0336\u0337",
        "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEg==",
        "3f9a" * 30,
    ),
)
FOREIGN: Final = (
    "\u6240\u4ee5\u6211\u4eec\u9700\u8981\u4ed4\u7ec6\u5730\u8ba1\u7b97\u8fd9\u4e2a\u95ee\u9898\u3002",
    "\u0422\u0435\u043f\u0435\u0440\u044c \u043d\u0430\u0439\u0434\u0435\u043c \u043d\u0430\u0448"
    " \u043e\u0442\u0432\u0435\u0442 \u043d\u0430 \u0432\u043e\u043f\u0440\u043e\u0441"
    " \u0437\u0430\u0434\u0430\u0447\u0438.",
    "\u305d\u308c\u3067\u306f\u3001\u3082\u3046\u4e00\u5ea6\u8a08\u7b97\u3057\u3066\u307f\u307e\u3059\u3002",
)
FOREIGN_LATIN: Final = (
    "Entonces tenemos que comprobar otra vez si el resultado de esta suma es correcto para todos los casos.",
    "Nous devons donc encore une fois calculer la somme pour savoir combien il en reste dans cette histoire.",
    "Wir m\u00fcssen also noch einmal nachrechnen, wie viele davon am Ende des Tages wirklich \u00fcbrig sind.",
)
LONG_THOUGHT: Final = (
    "We read the question once more and write down what is given, what is asked, and which of the numbers belong to "
    "each other. Then we take the first two of them, work out how they are related, and keep the result for later. "
    "After that we turn to the rest, one after the other, until nothing is left that we have not looked at."
)
ENGLISH: Final = "First we look at what there is, and after that we work out what is left of it in the end."


def written(row: Row, rng: random.Random, dialect: str | None = None) -> str:
    """The trajectory in a dialect."""
    begin, end, answer_begin, answer_end = DIALECTS[dialect or rng.choice(sorted(DIALECTS))]
    return f"{begin}{row.thought}{end}{answer_begin}{row.answer}{answer_end}"


Corruption = Callable[[Row, random.Random], Row]


def _as(response: Callable[[Row, random.Random], str]) -> Corruption:
    return lambda row, rng: replace(row, response=response(row, rng))


def _tags(rng: random.Random) -> tuple[str, str, str, str]:
    return DIALECTS[rng.choice(sorted(DIALECTS))]


def _without(row: Row, rng: random.Random, which: int) -> str:
    begin, end, answer_begin, answer_end = [tag * (place != which) for place, tag in enumerate(_tags(rng))]
    return f"{begin}{row.thought}{end}{answer_begin}{row.answer}{answer_end}"


def _unclosed(row: Row, rng: random.Random) -> str:
    """No closing tag, or all that a token limit left of the response."""
    begin, *_ = _tags(rng)
    cut = rng.randint(len(row.thought) // 3, len(row.thought))
    return rng.choice((begin + row.thought[:cut], f"<think>{row.thought}\n{row.answer}", f"{begin}{row.thought}</thi"))


def _nested(row: Row, rng: random.Random) -> str:
    begin, end, *_ = _tags(rng)
    return f"{begin}{row.thought}{begin}Again.{end}{rng.choice((end, ''))}{row.answer}"


def _doubled(row: Row, rng: random.Random) -> str:
    begin, end, *_ = _tags(rng)
    second = rng.choice((begin + row.thought + end, "So it is." + end))
    return f"{begin}{row.thought}{end}{second}{row.answer}"


def _truncated(row: Row, rng: random.Random) -> Row:
    tails = (
        "\nSo we have that the",
        "\nThen 3 +",
        "\nThat makes 12,",
        "\nNow x =",
        "\nThis is because of",
        "\nNow \\(x + 1",
        "\nSo the result is $x + 3",
        "\nThen we have \\frac{1}{2",
        "\nThe final answer is:",
        "\n**Final Answer**",
        "\n```python\nfor i in range(3):\n    total = 1\n",
        "\n\u6211\u4eec\u5148\u8ba1\u7b97\uff0c",
        "\n\u56e0\u4e3a\uff08",
    )
    return replace(row, thought=row.thought + rng.choice(tails))


def _cut_anywhere(row: Row, rng: random.Random) -> Row:
    """In the middle of a sentence, which no sign at its end tells."""
    said = (
        "First we look at what is given. Then we add it all up, one by one.\nThat is all there is to it. ",
        "\u6211\u4eec\u5148\u770b\u9898\u76ee\u3002\u7136\u540e\u628a\u6570\u52a0\u8d77\u6765\u3002"
        "\u6700\u540e\u518d\u68c0\u67e5\u4e00\u904d\u3002",
    )
    tails = ("Since it", "Therefore, the fin", "\n\nSo, let me che", "\u6240\u4ee5\u7b54\u6848\u5e94")
    return replace(row, thought=rng.choice(said) + rng.choice(tails))


def _answer_truncated(row: Row, rng: random.Random) -> Row:
    tails = (
        "The final value is \\boxed{",
        "So in the end she has the",
        "We get \\[ x =",
        "Therefore, adding both of",
        "The answer is",
        "The final answer is:",
        "\n\n**Final Answer**",
        "We get \\begin{align} x &= 3",
        "So it must be $y^2",
        "Thus $$\\frac{1}{2} \\cdot 4 \\text{ apples for each of us} + 3 y",
    )
    return replace(row, answer=row.answer.rstrip(".") + ". " + rng.choice(tails))


def _mixed(row: Row, rng: random.Random) -> str:
    first, second = rng.sample([DIALECTS[name] for name in ("think", "reasoning", "Thought", "begin_of_thought")], 2)
    return f"{first[0]}{row.thought}{second[1]}{row.answer}"


def _misordered(row: Row, rng: random.Random) -> str:
    begin, end, *_ = _tags(rng)
    return rng.choice(
        (f"{end}{row.thought}{begin}{row.answer}", f"<answer>{row.answer}</answer><think>{row.thought}</think>")
    )


def _contradictory(row: Row, rng: random.Random) -> Row:
    first = rng.choice(("\\boxed{7919}", "\\boxed{\\frac{2}{97}}", "$\\boxed{x^2}$"))
    return replace(
        row, answer=f"The answer is {first}.\n\nOn second thoughts the value must be \\boxed{{{row.reference}}}."
    )


def _marked_twice(row: Row, rng: random.Random) -> str:
    mark = rng.choice(
        (
            "The answer is {}. ",
            "So the final answer is ${}$.\n\n",
            "#### {}\n",
            "<answer>{}</answer>",
            "**Final Answer:** {}\n\n",
            "Answer: **{}**\n",
        )
    )
    last = rng.choice((mark, "\\boxed{{{}}}")) if "is" in mark else mark
    return f"<think>{row.thought}</think>{mark.format(7919)}{last.format(7920)}"


def _leaked(row: Row, rng: random.Random) -> Row:
    leak = rng.choice(LEAKS)
    whole = written(row, rng)
    place = rng.choice((0, len(whole), whole.index(row.thought)))
    if rng.random() < 0.3:
        return replace(row, prompt=f"{leak}\n{row.prompt}", response=whole)
    return replace(row, response=whole[:place] + leak + whole[place:])


def _inserted(text: str, piece: str, rng: random.Random) -> str:
    """The piece at the beginning or end of one of the text's lines."""
    lines = text.split("\n")
    lines.insert(rng.randint(0, len(lines)), piece)
    return "\n".join(lines)


def _switched(row: Row, rng: random.Random) -> Row:
    """A foreign sentence; in Latin letters beside an English one, for thoughts may be bare formulas."""
    if rng.random() < 0.5:
        return replace(row, thought=_inserted(row.thought, rng.choice(FOREIGN), rng))
    return replace(row, thought=_inserted(f"{ENGLISH}\n{row.thought}", rng.choice(FOREIGN_LATIN), rng))


def _escaped(row: Row, rng: random.Random) -> str:
    whole = written(row, rng)
    less, greater = rng.choice((("&lt;", "&gt;"), ("&amp;lt;", "&amp;gt;"), ("\\u003c", "\\u003e")))
    return whole.replace("<", less).replace(">", greater)


def _looped(row: Row, rng: random.Random) -> Row:
    line = rng.choice(("Wait, let me check that again.", "3 + 4 = 7 and then 7 - 2 = 5"))
    times = max(8, len(row.thought.split()) // 2)
    return replace(row, thought="\n".join([row.thought, *[line] * times]))


def _collapsed(row: Row, rng: random.Random) -> Row:
    """Nothing but one sign from some place on: what a model whose numbers overflowed writes."""
    sign = rng.choice(("!", "! ", "\U0001f600", "| --- ", "-", "_", ". "))
    return replace(row, thought=row.thought + sign * (200 + 2 * len(row.thought)) + ".")


def _answer_looped(row: Row, rng: random.Random) -> Row:
    line = rng.choice((f"The answer is {row.reference}. ", "Wait, let me check that again. ", "!"))
    return replace(row, answer=row.answer + "\n" + line * (200 + len(row.answer)))


def _misspelled(row: Row, rng: random.Random) -> str:
    begin, end = rng.choice(
        (
            ("<thnk>", "</thnk>"),
            ("<think>", "</thikn>"),
            ("< think >", "</ think >"),
            ("<think >", "</think >"),
            ('<think id="1">', "</think>"),
            ("<think>", "<\\think>"),
            ("\uff1cthink\uff1e", "\uff1c/think\uff1e"),
        )
    )
    return f"{begin}{row.thought}{end}{row.answer}"


def _against_thought(row: Row, rng: random.Random) -> Row:
    said = rng.choice(("So the final answer is \\boxed{7919}.", "Therefore the answer is 7919.", "**Answer:** 7919"))
    return replace(row, thought=f"{row.thought}\n\n{said}")


CORRUPTIONS: Final[dict[str, tuple[str, Corruption]]] = {
    "unclosed": ("thought_unclosed", _as(_unclosed)),
    "never opened": ("thought_unopened", _as(lambda row, rng: _without(row, rng, 0))),
    "nested": ("thought_nested", _as(_nested)),
    "doubled": ("thought_doubled", _as(_doubled)),
    "empty": ("thought_empty", lambda row, rng: replace(row, thought=rng.choice(("", " \n\n", "...")))),
    "truncated": ("thought_truncated", _truncated),
    "outside tags": (
        "thought_outside_tags",
        _as(lambda row, rng: f"First I think about it. {written(row, rng)}"),
    ),
    "restates the prompt": (
        "thought_restates_prompt",
        lambda row, rng: replace(row, thought=rng.choice((row.prompt, f"{row.prompt}\n{row.prompt}"))),
    ),
    "too short": ("thought_short", lambda row, rng: replace(row, thought=rng.choice(("Ok.", "Easy one!", "Hm, 7")))),
    "loop": ("thought_loop", _looped),
    "answer empty": ("answer_empty", lambda row, rng: replace(row, thought="3 + 4 gives 7 here", answer="")),
    "answer in the thought": (
        "answer_in_thought",
        lambda row, rng: replace(row, thought=f"{row.thought}\nThe answer is {row.reference}.", answer=""),
    ),
    "answer tag unclosed": (
        "answer_unclosed",
        _as(lambda row, rng: f"<think>{row.thought}</think><answer>{row.answer}"),
    ),
    "answer truncated": ("answer_truncated", _answer_truncated),
    "answers contradictory": ("answer_contradictory", _contradictory),
    "answer wrong": ("answer_wrong", lambda row, rng: replace(row, answer="\\boxed{987654}")),
    "tags mixed": ("tags_mixed", _as(_mixed)),
    "tags misordered": ("tags_misordered", _as(_misordered)),
    "tags misspelled": ("tags_misspelled", _as(_misspelled)),
    "tags escaped": ("tags_escaped", _as(_escaped)),
    "token leaked": ("special_token_leaked", _leaked),
    "garbled": (
        "text_garbled",
        lambda row, rng: replace(row, thought=_inserted(row.thought, rng.choice(GARBLED), rng)),
    ),
    "language switch": ("language_switch", _switched),
    "collapse": ("thought_loop", _collapsed),
    "loop of the answer": ("thought_loop", _answer_looped),
    "cut anywhere": ("thought_truncated", _cut_anywhere),
    "thought of another value": ("answer_against_thought", _against_thought),
    "thought said twice": (
        "thought_loop",
        lambda row, rng: replace(row, thought=f"{row.thought}\n{LONG_THOUGHT}\n\n{row.thought}\n{LONG_THOUGHT}"),
    ),
    "digits": (
        "thought_loop",
        lambda row, rng: replace(row, thought=f"{row.thought}\n0.{rng.choice('39') * (3 * len(row.thought) + 600)}."),
    ),
    "answers of two values": ("answer_contradictory", _as(_marked_twice)),
}
