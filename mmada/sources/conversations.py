"""Conversations: LLaVA's (`conversations` of human and gpt turns) and message lists (ShareGPT, OpenAI)."""

from collections.abc import Iterator
from typing import Any, Final

from mmada.sources.json_rows import read_array_or_lines
from mmada.sources.raw_rows import Defect, Limits, RawRow, Span

_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}
_PLACEHOLDER: Final = "<image>"


def read_llava(span: Span, limits: Limits) -> Iterator[RawRow]:
    """One row per exchange of a conversation, as `prompt` and `response`; the picture's placeholder is
    taken out.

    The exchanges of one conversation are questions about one picture, so each stands for itself and keeps
    the number of its conversation.
    """
    for raw in read_array_or_lines(span, limits):
        turns = _turns(raw.content, "conversations")
        if isinstance(turns, Defect):
            yield RawRow(raw.row, turns)
            continue
        questions, answers = turns[::2], turns[1::2]
        if len(questions) != len(answers) or any(
            (question[0], answer[0]) != ("user", "assistant")
            for question, answer in zip(questions, answers, strict=True)
        ):
            roles = " ".join(role for role, _ in turns)
            yield RawRow(raw.row, Defect("malformed_conversation", f"turns do not alternate: {roles}"[:200]))
            continue
        for (_, question), (_, answer) in zip(questions, answers, strict=True):
            yield RawRow(raw.row, _fields(raw.content) | {"prompt": question, "response": answer})


def read_messages(span: Span, limits: Limits) -> Iterator[RawRow]:
    """One row per conversation: `response` is the last assistant turn, `prompt` all that stands before it.

    Earlier turns belong to the question: when there are several they are written out with their roles.
    """
    for raw in read_array_or_lines(span, limits):
        name = "messages" if "messages" in _fields(raw.content) else "conversations"
        turns = _turns(raw.content, name)
        if isinstance(turns, Defect):
            yield RawRow(raw.row, turns)
        elif turns[-1][0] != "assistant" or len(turns) < 2:
            roles = " ".join(role for role, _ in turns)
            yield RawRow(raw.row, Defect("malformed_conversation", f"no answer at its end: {roles}"[:200]))
        else:
            before = turns[:-1]
            texts = [text if len(before) == 1 else f"{role}: {text}" for role, text in before]
            fields = {"prompt": "\n".join(texts), "response": turns[-1][1]}
            yield RawRow(raw.row, _fields(raw.content) | fields)


def _fields(content: object) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _turns(content: object, name: str) -> list[tuple[str, str]] | Defect:
    """(role, text) of every turn of the list `name`."""
    if isinstance(content, Defect):
        return content
    listed = _fields(content).get(name)
    if not isinstance(listed, list) or not listed:
        return Defect("missing_field", f"{name}: no list of turns", str(content)[:200])
    turns = []
    for turn in listed:
        fields = _fields(turn)
        role = _ROLES.get(str(fields.get("role", fields.get("from"))))
        text = _text(fields.get("content", fields.get("value")))
        if role is None or text is None:
            return Defect("malformed_conversation", f"a turn has no known role and text: {turn}"[:200])
        turns.append((role, text))
    return turns


def _text(content: object) -> str | None:
    """Text of a turn; of OpenAI's lists of parts, the text parts."""
    if isinstance(content, list):
        parts = [_fields(part) for part in content]
        content = "\n".join(str(part["text"]) for part in parts if part.get("type") == "text" and "text" in part)
    if not isinstance(content, str):
        return None
    return content.replace(_PLACEHOLDER, "").strip()
