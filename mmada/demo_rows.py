"""How the embedded corpus writes its rows and pictures to files."""

import io
import json
from collections.abc import Iterable
from typing import Any

from PIL import Image

from mmada.demo_language import Asked, listing
from mmada.demo_problems import Problem
from mmada.demo_scenes import Scene, draw
from mmada.pictures import PictureSpec

Row = dict[str, Any]


def caption_row(image: str, caption: str, spec: PictureSpec) -> Row:
    return {"file_name": image, "caption": caption, "spec": json.dumps(spec.to_json())}


def question_row(image: str, asked: Asked) -> Row:
    return {
        "image": image,
        "question": asked.question,
        "solution": asked.solution,
        "answer": asked.answer,
        "kind": asked.kind,
    }


def drawing_row(image: str, scene: Scene, prompt: str, spec: PictureSpec) -> Row:
    return {
        "prompt": prompt,
        "response": f"<think>{listing(scene.objects)}</think>",
        "image": image,
        "spec": json.dumps(spec.to_json()),
    }


def problem_row(problem: Problem) -> Row:
    return {
        "question": problem.question,
        "response": problem.response,
        "answer": problem.answer,
        "kind": problem.kind,
    }


def text_row(text: str) -> Row:
    return {"content": text}


def line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=True).encode() + b"\n"


def jsonl(rows: Iterable[Row]) -> bytes:
    return b"".join(line(row) for row in rows)


def png(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw(scene)).save(buffer, format="PNG")
    return buffer.getvalue()
