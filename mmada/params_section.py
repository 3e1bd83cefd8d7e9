"""What every section of params.yaml is made of."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
TaskName = Literal["t2i", "lm", "chat", "mmu", "r2i"]
PICTURE_TASKS: Final[tuple[TaskName, ...]] = ("t2i", "mmu", "r2i")
DRAWING_TASKS: Final[tuple[TaskName, ...]] = ("t2i", "r2i")
"""Tasks whose picture the model draws."""


class Section(BaseModel):
    """A closed, immutable block of params.yaml: an unknown key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
