"""What every section of params.yaml is made of."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_truth(value: object) -> object:
    """Refuse true and false, which would be taken as 1 and 0: limits that let everything pass."""
    if isinstance(value, bool):
        raise ValueError("a number belongs here, not true or false")
    return value


Number = Annotated[float, BeforeValidator(_no_truth)]
Whole = Annotated[int, BeforeValidator(_no_truth)]
Share = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(gt=0)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]
"""What every generator takes: numpy's refuses negative ones, torch's those of more than 64 bits."""
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
TaskName = Literal["t2i", "lm", "chat", "mmu", "r2i"]
PICTURE_TASKS: Final[tuple[TaskName, ...]] = ("t2i", "mmu", "r2i")
DRAWING_TASKS: Final[tuple[TaskName, ...]] = ("t2i", "r2i")
"""Tasks whose picture the model draws."""


class Section(BaseModel):
    """A closed, immutable block of params.yaml: an unknown key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
