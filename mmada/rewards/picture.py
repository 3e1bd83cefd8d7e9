"""How far a drawn picture shows what was asked, by the recogniser that evaluation uses too."""

import json

from mmada.errors import ContractError
from mmada.pictures import PictureSpec, picture_reward
from mmada.rewards.response import Response


def picture(response: Response) -> float:
    """Partial credit in [0, 1] of a picture against the specification in `reference` (JSON of PictureSpec).

    Raises ContractError when there is no picture or no such specification.
    """
    reference = response.reference
    if response.pixels is None or not response.draws:
        raise ContractError("the picture reward needs a task that draws; use it for t2i or r2i only")
    try:
        spec = PictureSpec.from_json(json.loads(reference))
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(
            f"reference {reference[:80]!r} of prompt {response.prompt[:80]!r} specifies no picture ({error}); "
            "map the corpus's specification column to `reference`"
        ) from error
    return picture_reward(response.pixels, spec)
