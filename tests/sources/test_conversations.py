"""Conversations and reasoning traces in the shapes that they are published in: one exchange, whatever the shape."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from mmada.sources.adapters import ADAPTERS
from mmada.sources.picture_files import DecodedPicture
from mmada.sources.raw_files import LocalFile
from mmada.sources.trajectories import with_thought
from mmada.sources.units import Declaration, RowTask, parse_rows
from tests.sources.reading_rows import LIMITS, reasons, rows_of

QUESTION: Final = "What is 1 + 1?"
ANSWER: Final = "It is 2."
THOUGHT: Final = "One and one more.\nThat is two."
PICTURE: Final = b"bytes of a picture"
URL: Final = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
ROLES: Final = [{"role": "user", "content": QUESTION}]


def _decode(data: bytes) -> DecodedPicture:
    return DecodedPicture(np.zeros((1, 1, 3), dtype=np.uint8), "PNG")


def _read(tmp_path: Path, format: str, row: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    """The one row that the corpus `[row]` gives."""
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]))
    declared = Declaration(format=format, path=str(path), columns=columns, required=["prompt", "response"])
    (span,) = ADAPTERS[format].split(LocalFile(tmp_path, path.name), LIMITS)
    (read,) = parse_rows(RowTask(span, declared, LIMITS, _decode)).to_dicts()
    return read


_ASSISTANT: Final = {"role": "assistant", "content": ANSWER}
_TEXT: Final = {"type": "text", "text": QUESTION}
_SHAPES: Final[dict[str, tuple[str, dict[str, Any], dict[str, str]]]] = {
    "ShareGPT": (
        "messages",
        {"id": "a", "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
        {},
    ),
    "OpenAI": ("messages", {"messages": [*ROLES, _ASSISTANT]}, {}),
    "OpenAI, parts": (
        "messages",
        {"messages": [{"role": "user", "content": [_TEXT]}, {**_ASSISTANT, "content": [{**_TEXT, "text": ANSWER}]}]},
        {},
    ),
    "OpenAI, picture as data": (
        "messages",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}, _TEXT]},
                _ASSISTANT,
            ]
        },
        {},
    ),
    "Qwen, picture by name": (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}, _TEXT]}, _ASSISTANT]},
        {},
    ),
    "DeepSeek": ("messages", {"messages": [*ROLES, {**_ASSISTANT, "reasoning_content": THOUGHT}]}, {}),
    "OpenRouter": ("messages", {"messages": [*ROLES, {**_ASSISTANT, "reasoning": THOUGHT}]}, {}),
    "parts with a thought": (
        "messages",
        {
            "messages": [
                *ROLES,
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}],
                },
            ]
        },
        {},
    ),
    "LLaVA": (
        "llava",
        {
            "id": "a",
            "image": "a.png",
            "conversations": [{"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": ANSWER}],
        },
        {},
    ),
    "R1, generations": (
        "trajectories",
        {"problem": QUESTION, "generations": [f"{QUESTION} <think>{THOUGHT}</think>{ANSWER}"]},
        {"prompt": "problem", "response": "generations.0"},
    ),
    "s1, thought in a column": (
        "json",
        {"question": QUESTION, "thinking_trajectories": [THOUGHT], "attempt": ANSWER},
        {"prompt": "question", "thought": "thinking_trajectories.0", "response": "attempt"},
    ),
}
_THOUGHTFUL: Final = ("DeepSeek", "OpenRouter", "parts with a thought", "R1, generations", "s1, thought in a column")


@pytest.mark.parametrize("shape", sorted(_SHAPES))
def test_an_exchange_is_the_same_in_every_published_shape(tmp_path: Path, shape: str) -> None:
    read = _read(tmp_path, *_SHAPES[shape])
    response = f"<think>{THOUGHT}</think>{ANSWER}" if shape in _THOUGHTFUL else ANSWER
    assert (read["reason"], read["prompt"], read["response"]) == ("", QUESTION, response)
    assert read["image"] == ("a.png" if shape in ("LLaVA", "Qwen, picture by name") else "")
    held = hashlib.sha256(PICTURE).hexdigest() if shape == "OpenAI, picture as data" else ""
    assert read["image_sha256"] == held


def test_what_no_row_can_hold_is_dropped_by_reason(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": URL}}
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}
    for parts, reason in (([picture, picture, _TEXT], "malformed_conversation"), ([broken, _TEXT], "image_unreadable")):
        row = {"messages": [{"role": "user", "content": parts}, _ASSISTANT]}
        assert _read(tmp_path, "messages", row, {})["reason"] == reason
    path = tmp_path / "rows.jsonl"
    odd = [{"type": "input_audio", "input_audio": {}}, _TEXT]
    turns: list[list[Any]] = [
        [{"role": "user", "content": odd}, _ASSISTANT],
        [*ROLES, {"role": "tool", "content": "x"}],
    ]
    path.write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns))
    assert reasons(rows_of(path, "messages")) == ["malformed_conversation"] * 2


def test_an_answer_that_holds_its_thought_gets_no_second_one() -> None:
    assert with_thought("other", "<think>a</think>b") == "<think>a</think>b"
    assert with_thought("  ", "b") == "b"
