"""What can be wrong with the form of a response: broken tags, cut ends, leaked tokens, contradictions.

Each row has the first defect that is found, with the piece of text that shows it.
"""

import re
from dataclasses import dataclass
from typing import Final

from ftfy.badness import badness

from mmada.answers import VERIFY_SECONDS
from mmada.cot_dialects import Tag, find_tags, parse_trajectory
from mmada.curation.cut_ends import cut_end
from mmada.curation.stated_values import contradiction
from mmada.final_answer import marked_answer

DEFECTS: Final = {
    "text_garbled": "The text holds control characters or letters of a wrongly decoded file.",
    "special_token_leaked": "A control token or image placeholder of a chat template stands in the text.",
    "tags_escaped": "The tags of the thought are written as HTML entities.",
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
}
"""Name of each defect and the sentence that explains it, in the order in which they are looked for."""

ANSWERING_TASKS: Final = ("chat", "mmu")
"""Tasks whose response ends in an answer in words or numbers; that of a drawing task ends in a picture."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ufffe\uffff\ue000-\uf8ff]")
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
_STRUCK_OUT: Final = r"(?:(?<=\S)|(?<=\S\s))<s>[^<\n]{1,200}</s>|<s>[^<\n]{1,200}</s>(?=\s*\S)"
"""HTML within a text; around a whole text it is the token."""
_SPECIAL_TOKEN: Final = re.compile(
    _STRUCK_OUT
    + r"|(?P<token><\|(?!(?:begin|end)_of_(?:thought|solution)\|>)/?[A-Za-z][A-Za-z0-9_.-]{2,40}\|>"
    + r"|<\uff5c[^\uff5c<>\n]{1,40}\uff5c>|<\|[a-z_]{1,20}\u2581[a-z_\u2581]{1,40}\|>"  # DeepSeek's bars and blanks
    + r"|\[/?INST\]|<</?SYS>>|</?s>|\[(?:gMASK|TOOL_CALLS|AVAILABLE_TOOLS|IMG|IMG_BREAK|IMG_END|PAD|CLS|SEP|UNK|MASK)\]"
    + r"|\[(?:EOS|BOS|unused\d+)\]"
    + r"|<(?:bos|eos|pad|unk|mask|sop|eop|eoa|eoh|eot_id|start_of_turn|end_of_turn|start_of_image|end_of_utterance)>"
    + r"|<(?:EOS|BOS|PAD|UNK|MASK|extra_id_\d+|reserved_\d+|unused\d+)>"
    + r"|<(?:image|image_\d+|image_soft_token|im_start|im_end|im_patch|Img|IMG_CONTEXT|ImageHere|fim_\w+)>)"
)
_ESCAPED_TAG: Final = re.compile(
    r"&lt;/?(?:think|thinking|thought|reasoning|answer|output)&gt;|&lt;\|(?:begin|end)_of_\w+\|&gt;", re.IGNORECASE
)
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
    if misread := _MISREAD_LETTERS.search(text):
        return Finding("text_garbled", misread[0])
    leaked = next((match["token"] for match in _SPECIAL_TOKEN.finditer(text) if match["token"]), None)
    return Finding("special_token_leaked", leaked) if leaked else None


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
    return None
