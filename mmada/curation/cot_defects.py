"""What can be wrong with the form of a response: broken tags, cut ends, leaked tokens, contradictions.

Each row has the first defect that is found, with the piece of text that shows it.
"""

import re
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase
from typing import Final

from ftfy.badness import badness

from mmada.answers import VERIFY_SECONDS, extract_answer
from mmada.cot_dialects import CODE, Tag, find_tags, parse_trajectory
from mmada.curation.cut_ends import cut_end
from mmada.curation.stated_values import against_thought, contradiction
from mmada.final_answer import marked_answer

DEFECTS: Final = {
    "text_garbled": "The text holds control characters, letters of a wrongly decoded file, or encoded bytes.",
    "special_token_leaked": "A control token or image placeholder of a chat template stands in the text.",
    "tags_escaped": "The tags of the thought are written as HTML entities.",
    "tags_misspelled": "A tag of the thought or answer has a typing error, blanks or attributes in it.",
    "tags_mixed": "The tags belong to two ways of writing thoughts.",
    "tags_misordered": "A tag ends what has not begun, or the answer's tags come before the thought.",
    "thought_unclosed": "A thought begins and never ends.",
    "thought_unopened": "A thought ends that never began.",
    "thought_nested": "A thought begins within a thought.",
    "thought_doubled": "There are two thoughts, or the thought ends twice.",
    "thought_outside_tags": "Text comes before the thought begins.",
    "thought_empty": "The thought holds no word and no number.",
    "thought_truncated": "The thought ends in the middle of a sentence, word or formula.",
    "answer_in_thought": "Nothing follows the thought; the answer is stated only inside it.",
    "answer_empty": "Nothing follows the thought, nor does the thought state an answer.",
    "answer_unclosed": "The tag of the answer begins and never ends.",
    "answer_truncated": "The answer ends in the middle of a sentence, word or formula.",
    "answer_contradictory": "The answer states two final values that are not equal.",
    "answer_against_thought": "The thought ends in another final value than the answer states.",
}
"""Name of each defect and the sentence that explains it, in the order in which they are looked for."""

AGAINST_THOUGHT: Final = "answer_against_thought"
"""The defect that says less of a row than that its answer is not the gold one."""
ANSWERING_TASKS: Final = ("chat", "mmu")
"""Tasks whose response ends in an answer in words or numbers; that of a drawing task ends in a picture."""

_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ufffe\uffff\ue000-\uf8ff]|[\u0300-\u036f]{3,}"
)
_MISREAD: Final = re.compile(r"[\u00c2\u00c3\u00d0\u00d1\u00d8\u00d9\u00e2\u00e3\u00f0\u0102\u010f\u0432]")
"""The first letter of whatever UTF-8 becomes in another encoding: only such texts are worth a closer look."""
_BYTE: Final = (
    r"\u0080-\u009f\u00a1-\u00aa\u00ac-\u00b1\u00b4-\u00b8\u00bc-\u00bf"
    r"\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u20ac\u2122"
)
"""What a later byte of UTF-8 becomes, without the quotes, dashes, blanks and small digits that follow real letters."""
_MISREAD_LETTERS: Final = re.compile(
    rf"[\u00ce\u00cf\u00e3-\u00ed]"
    rf"(?:(?<=[\u00ce\u00cf])[{_BYTE}\u00ab\u00b2\u00b3\u00b9\u00bb]"
    rf"|(?<=[\u00e3-\u00ed])[{_BYTE}][\u0080-\u00bf\u2013-\u203a{_BYTE}])"
)
"""Greek and East Asian letters as UTF-8 in another encoding, which begin like a French or Nordic letter."""
_MISREAD_CYRILLIC: Final = re.compile(
    "(?:[\u0420\u0421][\u0402\u0403\u0409-\u040b\u040e\u040f\u0452\u0453\u0459-\u045c\u045e\u045f\u0401\u0404-\u0408"
    "\u0451\u0454-\u0458\u0490\u0491\u00a0-\u00bb\u2013-\u203a\u20ac\u2116\u2122]){3}"
)
"""Cyrillic letters as UTF-8 read as Windows-1251: every second one is \u0420 or \u0421."""
_HEX_DIGITS: Final = 100
"""More than any digest has in text that people write about (SHA-256 has 64)."""
_BYTES: Final = re.compile(r"(?<![\w./:+=-])[A-Za-z0-9+/]{60,}")
_STRUCK_OUT: Final = r"(?:(?<=\S)|(?<=\S\s))<s>[^<\n]{1,200}</s>|<s>[^<\n]{1,200}</s>(?=\s*\S)"
"""HTML within a text; around a whole text it is the token."""
_SPECIAL_TOKEN: Final = re.compile(
    _STRUCK_OUT
    + r"|(?P<token><\|(?!(?:begin|end)_of_(?:thought|solution)\|>)/?[A-Za-z][A-Za-z0-9_.-]{2,40}\|>"
    + r"|<\uff5c[^\uff5c<>\n]{1,40}\uff5c>|<\|[a-z_]{1,20}\u2581[a-z_\u2581]{1,40}\|>"  # DeepSeek's bars and blanks
    + r"|\[/?INST\]|<</?SYS>>|</?s>|\[(?:gMASK|TOOL_CALLS|AVAILABLE_TOOLS|IMG|IMG_BREAK|IMG_END|PAD|CLS|SEP|UNK|MASK)\]"
    + r"|\[(?:EOS|BOS|unused\d+)\]"
    + r"|<(?:bos|eos|pad|unk|mask|sop|eop|eoa|eoh|eot_id|start_of_turn|end_of_turn|start_of_image|end_of_utterance)>"
    + r"|<0x[0-9A-F]{2}>|(?:\u2581[A-Za-z']+){2,}|\u0120[A-Za-z]+ ?\u0120[A-Za-z]+"  # pieces of tokenizers
    + r"|<(?:EOS|BOS|PAD|UNK|MASK|extra_id_\d+|reserved_\d+|unused\d+)>"
    + r"|<(?:image|image_\d+|image_soft_token|im_start|im_end|im_patch|Img|IMG_CONTEXT|ImageHere|fim_\w+)>)"
)
_ESCAPED_TAG: Final = re.compile(
    r"(?:&(?:amp;)?lt;|&#60;|&#x3c;|\\u003c)/?"
    r"(?:(?:think|thinking|thought|reasoning|answer|output)|\|(?:begin|end)_of_\w+\|)(?:&(?:amp;)?gt;|&#62;|&#x3e;|\\u003e)",
    re.IGNORECASE,
)
_TAG_NAMES: Final = ("think", "thinking", "thought", "reasoning", "answer")
_TAG_LIKE: Final = re.compile(
    r"[<\uff1c]\s{0,3}[/\\\uff0f]?\s{0,3}(?P<name>[A-Za-z]{4,10})(?:\s+[\w-]+=[^<>\n]{1,60})?\s{0,3}[>\uff1e]"
)
_OTHER_WORDS: Final = frozenset(("thing", "thin", "thank", "thick", "chink", "though", "seasoning", "answers"))
_ALNUM: Final = re.compile(r"\w")


@dataclass(frozen=True)
class Finding:
    """A defect (one of DEFECTS) and the text that shows it."""

    defect: str
    evidence: str


def find_defect(task: str, prompt: str, response: str, *, seconds: float = VERIFY_SECONDS) -> Finding | None:
    """The first defect of a row; None when its form is sound.

    Plain text (task lm) is looked at for garbled letters and leaked tokens only. `seconds`: wall clock of one
    comparison of stated values.
    """
    finding = _text_defect(prompt) or _text_defect(response)
    if finding or task == "lm":
        return finding
    if escaped := _ESCAPED_TAG.search(response):
        return Finding("tags_escaped", escaped[0])
    if misspelled := _misspelled_tag(response):
        return Finding("tags_misspelled", misspelled)
    if defect := _tag_defect(find_tags(response)):
        return Finding(defect, " ".join(response[tag.start : tag.end] for tag in find_tags(response)[:8]))
    if finding := _thought_defect(prompt, response):
        return finding
    return _answer_defect(response, seconds) if task in ANSWERING_TASKS else None


def _text_defect(text: str) -> Finding | None:
    if control := _CONTROL.search(text):
        return Finding("text_garbled", ascii(control[0]))
    if (misread := _MISREAD.search(text)) and badness(text):
        return Finding("text_garbled", text[misread.start() : misread.end() + 2])
    if misread := _MISREAD_LETTERS.search(text) or _MISREAD_CYRILLIC.search(text):
        return Finding("text_garbled", misread[0])
    if encoded := next((run[0] for run in _BYTES.finditer(text) if _is_encoded(run[0])), None):
        return Finding("text_garbled", encoded[:60])
    leaked = next((match["token"] for match in _SPECIAL_TOKEN.finditer(text) if match["token"]), None)
    return Finding("special_token_leaked", leaked) if leaked else None


def _is_encoded(run: str) -> bool:
    """Whether a long word is base64 or hexadecimal: the kinds of signs are as frequent as in random bytes."""
    least = len(run) / 20
    digits, upper, slashes = (sum(map(kind, run)) for kind in (str.isdigit, str.isupper, "/".__eq__))
    letters = len(run) - digits - slashes
    if min(digits, upper, letters - upper) >= least:
        return slashes <= least  # not a path
    return (
        len(run) >= _HEX_DIGITS
        and re.fullmatch("[0-9a-f]+|[0-9A-F]+", run) is not None
        and min(digits, letters) >= 4 * least
    )


@cache
def _typing_errors() -> frozenset[str]:
    """What one wrong, missing, additional or exchanged letter makes of the names of tags."""
    found = set()
    for name in _TAG_NAMES:
        for place in range(len(name) + 1):
            before, after = name[:place], name[place:]
            found |= {before + after[1:], before + after[1:2] + after[:1] + after[2:]}
            found |= {before + letter + rest for letter in ascii_lowercase for rest in (after, after[1:])}
    return frozenset(found - _OTHER_WORDS - set(_TAG_NAMES))


def _misspelled_tag(response: str) -> str | None:
    """A tag that is none for a blank, an attribute or a letter."""
    for match in _TAG_LIKE.finditer(CODE.sub("", response)):
        name = match["name"].lower()
        if name in _typing_errors() or (name in _TAG_NAMES and match[0].strip("</>").lower() != name):
            return match[0]
    return None


def _tag_defect(tags: list[Tag]) -> str | None:
    """What is wrong with the order of the tags alone."""
    thought = [tag for tag in tags if tag.part == "thought"]
    answer = [tag for tag in tags if tag.part == "answer"]
    if not thought:
        return None
    if not frozenset.intersection(*(tag.dialects for tag in tags)):
        return "tags_mixed"
    marks = "".join("(" if tag.opens else ")" for tag in thought)
    if marks[0] == ")":
        return "tags_misordered" if "(" in marks else "thought_unopened"
    if answer and (answer[0].start < thought[0].start or not answer[0].opens):
        return "tags_misordered"
    if ")" not in marks or marks.endswith(")("):
        return "thought_unclosed"
    if "((" in marks:
        return "thought_nested"
    return None if marks == "()" else "thought_doubled"


def _thought_defect(prompt: str, response: str) -> Finding | None:
    trajectory = parse_trajectory(response)
    if not trajectory.has_thought:
        return None
    before = " ".join(response[: find_tags(response)[0].start].split())
    # Completions of base models begin with the prompt, which is no thought.
    if before and (not prompt.strip() or " ".join(prompt.split()) not in before):
        return Finding("thought_outside_tags", before[-60:])
    if not _ALNUM.search(trajectory.thought):
        return Finding("thought_empty", trajectory.thought)
    if cut := cut_end(trajectory.thought, is_answer=False):
        return Finding("thought_truncated", cut)
    return None


def _answer_defect(response: str, seconds: float) -> Finding | None:
    trajectory = parse_trajectory(response)
    if trajectory.has_thought and not _ALNUM.search(trajectory.answer):
        stated = marked_answer(trajectory.thought)
        return Finding("answer_in_thought", stated) if stated else Finding("answer_empty", trajectory.answer)
    answer_tags = [tag for tag in find_tags(response) if tag.part == "answer"]
    if answer_tags and answer_tags[-1].opens:
        return Finding("answer_unclosed", response[-60:])
    if cut := cut_end(trajectory.answer, is_answer=True):
        return Finding("answer_truncated", cut)
    if values := contradiction(response, trajectory.answer, seconds=seconds):
        return Finding("answer_contradictory", " | ".join(values))
    if values := against_thought(trajectory.thought, extract_answer(response) or ""):
        return Finding(AGAINST_THOUGHT, " | ".join(values))
    return None
