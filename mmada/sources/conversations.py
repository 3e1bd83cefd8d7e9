"""Conversations: LLaVA's (`conversations` of human and gpt turns) and message lists (ShareGPT, OpenAI)."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mmada.sources.json_documents import read_array_or_lines
from mmada.sources.raw_rows import Defect, Limits, RawRow, Span
from mmada.sources.trajectories import with_thought

_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}
_PLACEHOLDER: Final = "<image>"
_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking")
"""Fields in which servers of reasoning models give the thought beside the content."""


@dataclass(frozen=True)
class _Turn:
    role: str
    text: str
    thought: str
    pictures: tuple[object, ...]
    """Names, bytes, or what is wrong with them."""


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
            (question.role, answer.role) != ("user", "assistant")
            for question, answer in zip(questions, answers, strict=True)
        ):
            yield RawRow(raw.row, _malformed("turns do not alternate", turns))
            continue
        for question, answer in zip(questions, answers, strict=True):
            yield RawRow(raw.row, _fields(raw.content) | {"prompt": question.text, "response": answer.text})


def read_messages(span: Span, limits: Limits) -> Iterator[RawRow]:
    """One row per conversation: `response` is the last assistant turn with its thought, `prompt` all that stands
    before it, `image` the picture among its parts.

    Earlier turns belong to the question: when there are several they are written out with their roles.
    """
    for raw in read_array_or_lines(span, limits):
        name = "messages" if "messages" in _fields(raw.content) else "conversations"
        turns = _turns(raw.content, name)
        if isinstance(turns, Defect):
            yield RawRow(raw.row, turns)
        elif turns[-1].role != "assistant" or len(turns) < 2:
            yield RawRow(raw.row, _malformed("no answer at its end", turns))
        else:
            yield RawRow(raw.row, _fields(raw.content) | _exchange(turns))


def _exchange(turns: list[_Turn]) -> dict[str, object]:
    *before, last = turns
    texts = [turn.text if len(before) == 1 else f"{turn.role}: {turn.text}" for turn in before]
    fields: dict[str, object] = {"prompt": "\n".join(texts), "response": with_thought(last.thought, last.text)}
    pictures = [picture for turn in turns for picture in turn.pictures]
    if len(pictures) > 1:
        fields["image"] = Defect("malformed_conversation", f"{len(pictures)} pictures, and a row holds one")
    elif pictures:
        fields["image"] = pictures[0]
    return fields


def _malformed(what: str, turns: list[_Turn]) -> Defect:
    return Defect("malformed_conversation", f"{what}: {' '.join(turn.role for turn in turns)}"[:200])


def _fields(content: object) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _turns(content: object, name: str) -> list[_Turn] | Defect:
    """Every turn of the list `name`."""
    if isinstance(content, Defect):
        return content
    listed = _fields(content).get(name)
    if not isinstance(listed, list) or not listed:
        return Defect("missing_field", f"{name}: no list of turns", str(content)[:200])
    turns = [_turn(_fields(turn)) for turn in listed]
    read = [turn for turn in turns if turn is not None]
    if len(read) < len(turns):
        bad = listed[turns.index(None)]
        return Defect("malformed_conversation", f"a turn has no known role and text: {bad}"[:200])
    return read


def _turn(fields: Mapping[str, Any]) -> _Turn | None:
    role = _ROLES.get(str(fields.get("role", fields.get("from"))))
    content = fields.get("content", fields.get("value"))
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if role is None or not isinstance(parts, list):
        return None
    texts: list[str] = []
    thoughts = [value for name in _THOUGHTS if isinstance(value := fields.get(name), str)][:1]
    pictures: list[object] = []
    for part in map(_fields, parts):
        kind, text = part.get("type"), part.get("text")
        if kind in ("text", "input_text", "output_text") and isinstance(text, str):
            texts.append(text)
        elif kind in ("reasoning", "thinking") and isinstance(thought := part.get("thinking", text), str):
            thoughts.append(thought)
        elif kind in ("image", "image_url", "input_image"):
            pictures.append(_picture(part))
        else:
            return None
    return _Turn(role, "\n".join(texts).replace(_PLACEHOLDER, "").strip(), "\n".join(thoughts), tuple(pictures))


def _picture(part: Mapping[str, Any]) -> object:
    """The picture of a part: the bytes of its data: address, or its name."""
    value = next((part[name] for name in ("image_url", "image", "path", "url") if name in part), None)
    value = _fields(value).get("url", value)
    if not isinstance(value, str) or not value.startswith("data:"):
        return value
    kind, _, data = value.partition(",")
    try:
        return base64.b64decode(data, validate=True) if kind.endswith(";base64") else data.encode()
    except ValueError as error:
        return Defect("image_unreadable", f"{kind[:100]}: {error}")
