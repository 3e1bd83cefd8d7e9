"""The id layout: text ids, reserved ids, image-code range, mask id. The only arithmetic on ids.

Ids [0, num_text) belong to the text tokenizer, whose reserved ids double as control tokens; image code c is
id num_text + c; rows above num_text + num_codes are dead padding of the embedding (published models have 115
of them).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np

from mmada.errors import ContractError, ParamsError


class IntArray(Protocol):
    """What numpy integer arrays and torch integer tensors share."""

    def min(self) -> Any: ...
    def max(self) -> Any: ...
    def __add__(self, other: int, /) -> Any: ...
    def __sub__(self, other: int, /) -> Any: ...


ArrayT = TypeVar("ArrayT", bound=IntArray)
OptionalId = Literal["r2i", "start_header", "end_header", "eot"]


@dataclass(frozen=True)
class Vocab:
    """Sizes and special ids of one model's vocabulary.

    `num_text` is the length of the text tokenizer and the id of image code 0; `size` counts embedding rows. Ids that
    only some layouts need may be None; those layouts ask for them by `required`.
    Raises ParamsError when an id lies outside the text range or two special ids coincide.
    """

    num_text: int
    num_codes: int
    size: int
    bos: int
    eos: int
    mask: int
    ipad: int
    t2i: int
    mmu: int
    soi: int
    eoi: int
    r2i: int | None = None
    start_header: int | None = None
    end_header: int | None = None
    eot: int | None = None

    def __post_init__(self) -> None:
        if self.size < self.num_text + self.num_codes:
            raise ParamsError(
                f"vocab.size is {self.size}, but {self.num_text} text ids and {self.num_codes} image codes "
                f"need {self.num_text + self.num_codes} embedding rows"
            )
        for name, value in self.special.items():
            if not 0 <= value < self.num_text:
                raise ParamsError(f"vocab.{name} is {value}: use a reserved id of the text range [0, {self.num_text})")
        if len(set(self.special.values())) != len(self.special):
            raise ParamsError(f"vocab: two special ids coincide in {self.special}")

    @classmethod
    def published(cls) -> Self:
        """The layout of the released MMaDA-8B checkpoints (LLaDA tokenizer, 8192 codes, 134656 rows)."""
        return cls(
            num_text=126349, num_codes=8192, size=134656,
            bos=126080, eos=126081, soi=126084, eoi=126085, t2i=126088, mmu=126089, ipad=126093, r2i=126094,
            mask=126336, start_header=126346, end_header=126347, eot=126348,
        )  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The layout that a checkpoint's config.json describes: by its `special` ids, else by its published size.

        `special` holds `num_text` (or `image_offset`) and ids by the names of the fields here. Raises ContractError
        when it leaves out an id, when the image offset is not the number of text ids, or when there is no `special`
        and the embedding has not the published number of rows.
        """
        size = int(config.get("embedding_size") or config["vocab_size"])
        if "special" not in config:
            if size != cls.published().size:
                raise ContractError(
                    f"config.json names no `special` ids, and its {size} embedding rows are not the "
                    f"{cls.published().size} of a published model; add `special`, or vocab.json by Vocab.to_json"
                )
            return cls.published()
        special = config["special"]
        num_text = special.get("num_text", special.get("image_offset"))
        offset = special.get("image_offset", num_text)
        if offset != num_text:
            raise ContractError(f"config.json: image_offset is {offset}, expected {num_text}, the number of text ids")
        known = {f.name for f in fields(cls)} - set(_SIZES)
        ids = {name: value for name, value in special.items() if name in known}
        try:
            return cls(num_text=num_text, num_codes=config["codebook_size"], size=size, **ids)
        except (KeyError, TypeError) as error:
            raise ContractError(f"config.json: the vocabulary is incomplete or no numbers: {error}") from error

    @property
    def special(self) -> dict[str, int]:
        """Special ids by name, those that are None left out."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _SIZES}
        return {name: value for name, value in named.items() if value is not None}

    def required(self, name: OptionalId) -> int:
        """An id that not every vocabulary names. Raises ContractError when this one does not."""
        value: int | None = getattr(self, name)
        if value is None:
            raise ContractError(
                f"this vocabulary names no {name} id, which the sequence needs; it names {self.special}"
            )
        return value

    @property
    def text_range(self) -> slice:
        """Ids of the text tokenizer, reserved ids included."""
        return slice(0, self.num_text)

    @property
    def image_range(self) -> slice:
        """Ids that stand for image codes."""
        return slice(self.num_text, self.num_text + self.num_codes)

    def image_ids(self, codes: ArrayT) -> ArrayT:
        """Ids of image codes (any shape; numpy input of any integer type comes back as int64).

        Raises ContractError when a code lies outside [0, num_codes).
        """
        check_range(codes, 0, self.num_codes, "image code")
        wide: Any = codes.astype(np.int64) if isinstance(codes, np.ndarray) else codes
        ids: ArrayT = wide + self.num_text
        return ids

    def image_codes(self, ids: ArrayT) -> ArrayT:
        """Image codes of ids. Raises ContractError when an id is no image id."""
        check_range(ids, self.num_text, self.num_text + self.num_codes, "image id")
        codes: ArrayT = ids - self.num_text
        return codes

    def to_json(self) -> str:
        """A stable JSON text, stored in the model folder."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json`'s text. Raises ContractError when a field is missing, unknown or no integer."""
        try:
            values = json.loads(text)
            return cls(**values)
        except (json.JSONDecodeError, TypeError) as error:
            raise ContractError(f"vocabulary file: {error}; write it with Vocab.to_json") from error


_SIZES = ("num_text", "num_codes", "size")


def check_range(values: IntArray, low: int, high: int, what: str) -> None:
    """Raise ContractError when a value lies outside [low, high)."""
    if 0 in values.shape:  # type: ignore[attr-defined]  # both kinds have a shape; a Protocol cannot name its type
        return
    least, most = int(values.min()), int(values.max())
    if least < low or most >= high:
        raise ContractError(f"{what} out of range: found [{least}, {most}], allowed [{low}, {high})")
