"""Load or train the text tokenizer, and the chat template. Imports neither torch nor transformers.

A tokenizer is a folder with `tokenizer.json` (Hugging Face `tokenizers`) that `transformers.AutoTokenizer`
also reads. Text is data: strings that look like special tokens are encoded as ordinary characters, so no
corpus can write control tokens; control tokens enter only as ids.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mmada.errors import ContractError, ParamsError
from mmada.vocab import Vocab

SPECIAL_TOKENS: Final[dict[str, str]] = {
    "bos": "<|startoftext|>",
    "eos": "<|endoftext|>",
    "mask": "<|mdm_mask|>",
    "ipad": "[iPAD]",
    "t2i": "<|t2i|>",
    "mmu": "<|mmu|>",
    "r2i": "<|r2i|>",
    "soi": "<|soi|>",
    "eoi": "<|eoi|>",
    "start_header": "<|start_header_id|>",
    "end_header": "<|end_header_id|>",
    "eot": "<|eot_id|>",
}
"""Names of `Vocab`'s special ids and the strings that stand for them in published tokenizers."""

PUBLISHED_LENGTH: Final = 126349
"""Length of the LLaDA tokenizer, whose control tokens are reserved ids and not all named as above."""

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n"
    "{{ message['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n{% endif %}"
)

NUM_BYTES: Final = 256

_PIECES: Final = (
    r"</?think>|\p{N}{1,3}| ?\p{L}+| ?(?:(?!</?think>)[^\s\p{L}\p{N}])+|\s+(?!\S)|\s+"  # merges stay within these
)

TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Files of a published tokenizer folder that say how text becomes ids."""


@dataclass(frozen=True)
class TextTokenizer:
    """A loaded tokenizer. `len()` is the number of ids, added tokens included."""

    backend: Tokenizer

    def __len__(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as it stands: nothing added, nothing normalised, special-looking strings kept as
        text.
        """
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """`encode` of many texts at once (faster)."""
        return [encoding.ids for encoding in self.backend.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, special tokens left out; `decode(encode(x)) == x` for a byte-level tokenizer."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=True)
        return text


def train_tokenizer(texts: Iterable[str], folder: Path, *, vocab_size: int) -> None:
    """Fit a byte-level BPE on `texts` and write it to `folder`. Equal texts in equal order give equal bytes.

    Reserved ids come first, then the 256 bytes, then merges. Numbers are cut into runs of at most three digits
    without the space before them (as GPT-4 and Llama 3 do), so that a frequent number is one token, the same
    wherever it stands: small models learn sums of whole numbers far sooner than sums of digits. The tags of a
    thought are never cut. The role words of the chat template are learned with the texts.
    `vocab_size` counts all ids; fewer come out when the corpus has fewer merges. Raises ParamsError when
    `vocab_size` cannot hold reserved ids and bytes.
    """
    least = len(SPECIAL_TOKENS) + NUM_BYTES
    if vocab_size < least:
        raise ParamsError(f"tokenizer.vocab_size is {vocab_size}; reserved ids and bytes alone need {least}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS.values()],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_roles(texts), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS["bos"],
        "eos_token": SPECIAL_TOKENS["eos"],
        "pad_token": SPECIAL_TOKENS["eos"],
        "mask_token": SPECIAL_TOKENS["mask"],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_tokenizer(folder: Path, *, vocab: Vocab | None = None) -> TextTokenizer:
    """Load a tokenizer folder, ours or a published one.

    Raises ContractError when it is missing or unreadable, or has not the length that `vocab` counts on: image codes
    begin after the last text id, so that one more token would turn every picture into another.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ContractError(f"{path} does not exist; name a folder that holds a Hugging Face tokenizer.json")
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises bare Exception
        raise ContractError(f"{path} is no tokenizer: {error}") from error
    backend.encode_special_tokens = True
    backend.no_padding()
    backend.no_truncation()
    tokenizer = TextTokenizer(backend)
    if vocab is not None and len(tokenizer) != vocab.num_text:
        raise ContractError(
            f"{path} has {len(tokenizer)} ids, but the model's image codes begin at {vocab.num_text}, which should be "
            "that number: tokens were added or removed; take the tokenizer that the model was trained with"
        )
    return tokenizer


def copy_tokenizer(source: Path, target: Path) -> list[Path]:
    """Copy the tokenizer files of a folder to another, unchanged; returns the files that were read.

    Raises ContractError when `source` holds no tokenizer.
    """
    load_tokenizer(source)
    files = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    for path in files:
        shutil.copyfile(path, target / path.name)
    return files


def make_vocab(tokenizer: TextTokenizer, *, num_codes: int) -> Vocab:
    """The id layout for a tokenizer and a picture tokenizer of `num_codes` codes.

    The published tokenizer gets the published layout. Raises ContractError when a reserved token is missing.
    """
    if len(tokenizer) == PUBLISHED_LENGTH and num_codes == Vocab.published().num_codes:
        return Vocab.published()
    special: dict[str, int] = {}
    for name, token in SPECIAL_TOKENS.items():
        token_id = tokenizer.backend.token_to_id(token)
        if token_id is None:
            raise ContractError(
                f"the tokenizer ({len(tokenizer)} ids) has no token {token!r} ({name}). The published one is known by "
                f"its {PUBLISHED_LENGTH} ids: restore it if tokens were added; else train one of your own"
            )
        special[name] = token_id
    num_text = len(tokenizer)
    return Vocab(num_text=num_text, num_codes=num_codes, size=num_text + num_codes, **special)


def chat_prompt_ids(prompt: str, tokenizer: TextTokenizer, vocab: Vocab) -> list[int]:
    """bos, the user's turn, and the opening of the assistant's turn: everything before the response."""
    return [
        vocab.bos,
        *_header("user", tokenizer, vocab),
        *tokenizer.encode(prompt),
        vocab.required("eot"),
        *_header("assistant", tokenizer, vocab),
    ]


def _header(role: str, tokenizer: TextTokenizer, vocab: Vocab) -> list[int]:
    start, end = vocab.required("start_header"), vocab.required("end_header")
    return [start, *tokenizer.encode(role), end, *tokenizer.encode("\n")]


def _with_roles(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield text
        yield "user"
        yield "assistant"
