"""How far a drawn picture shows what was asked, by the recogniser that evaluation uses too."""

import json

from mmada.errors import ContractError
from mmada.pictures import PictureSpec, picture_reward
from mmada.rewards.response import Response


def picture(response: Response) -> float:
    """Partial credit in [0, 1] of a picture against the specification in `reference`.

    Raises ContractError when there is no picture, one of other sides than the recogniser takes, or no specification.
    """
    if response.pixels is None or not response.draws:
        raise ContractError("the picture reward needs a task that draws; use it for t2i or r2i only")
    spec = picture_spec(response.prompt, response.reference)
    try:
        return picture_reward(response.pixels, spec)
    except ValueError as error:
        raise ContractError(
            f"the picture reward cannot look at a {error}; use another reward, or vq.resolution"
        ) from None


def picture_spec(prompt: str, reference: str) -> PictureSpec:
    """The specification that is the reference of a prompt (JSON of PictureSpec). Raises ContractError without one."""
    try:
        return PictureSpec.from_json(json.loads(reference))
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(
            f"reference {reference[:80]!r} of prompt {prompt[:80]!r} specifies no picture ({error}); "
            "map the corpus's specification column to `reference`"
        ) from error
