"""What a corpus may declare: wrong declarations are refused before anything runs, the documented ones are right."""

from typing import Any

import pytest
from pydantic import ValidationError

from mmada.params_data import Corpus

GOOD: dict[str, Any] = {
    "path": "raw",
    "format": "jsonl",
    "task": "mmu",
    "columns": {"prompt": "q", "image": "i"},
    "source": "s",
    "licence": "l",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"prompt": "q"}}, "image"),
        ({"columns": {"image": "i"}}, "prompt"),
        ({"task": "lm"}, "response"),
        ({"format": "huggingface", "revision": "main"}, "revision"),
        ({"format": "csv"}, "jsonl"),
        ({"reference_pattern": "#### .+"}, "groups"),
        ({"reference_pattern": "(#"}, "regular expression"),
        ({"columns": {"prompt": "q", "image": "i", "text": "t"}}, "columns"),
        *(({"files": files}, "no glob below") for files in ("", ".", "**.jsonl", "/x/*", "../*.jsonl")),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Corpus(**{**GOOD, **changes})


def test_a_fixed_prompt_and_a_format_that_knows_its_columns_need_none() -> None:
    assert Corpus(**{**GOOD, "columns": {"image": "i"}, "prompt": "Describe the picture."}).prompt
    assert Corpus(**{**GOOD, "format": "llava", "columns": {}}).columns == {}
