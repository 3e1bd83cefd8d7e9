"""Groups of answers that reinforcement learning compared: what each said, what it was worth, which way it pulled."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mmada.site.html import Content, Html, cut, element, folded, join, table
from mmada.site.training_reports import Group

_LONGEST: Final = 600
"""Characters of a text that a page shows."""


def answer_groups(groups: Sequence[Group]) -> Iterator[Html]:
    """A folded table per prompt, the answers with the highest rewards first."""
    for group in groups:
        first = group[0]
        rewards = [answer["reward"] for answer in group]
        title = f"iteration {first['iteration']}, {first['task']}: rewards {min(rewards):.3g} to {max(rewards):.3g}"
        best_first = sorted(group, key=lambda answer: -answer["reward"])
        question = element("p", cut(first["prompt"], _LONGEST), "prompt", dir="auto")
        gold = f"gold answer: {cut(first['reference'], _LONGEST)}" if first["reference"] else ""
        answers = table(
            ["answer", "reward", "by name", "advantage"], [_row(answer) for answer in best_first], "answers"
        )
        yield folded(title, join([question, element("p", gold, "soft", dir="auto"), answers]))


def _row(answer: Mapping[str, Any]) -> Sequence[Content]:
    parts = ", ".join(f"{name} {value:.3g}" for name, value in answer["rewards"].items())
    text = cut(answer["response"], _LONGEST) or ("(a picture)" if answer["task"] == "t2i" else "(nothing)")
    return [element("pre", text, dir="auto"), answer["reward"], parts, f"{answer['advantage']:+.2f}"]
