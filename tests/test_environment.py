"""Numbers in the environment."""

import pytest

from mmada.environment import whole_number
from mmada.errors import ParamsError


@pytest.mark.parametrize(("value", "number"), [("", 3), ("0", 0), ("12", 12)])
def test_a_number_or_the_default(monkeypatch: pytest.MonkeyPatch, value: str, number: int) -> None:
    monkeypatch.setenv("MMADA_SOMETHING", value)
    assert whole_number("MMADA_SOMETHING", default=3) == number


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "1"])
def test_anything_else_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MMADA_SOMETHING", value)
    with pytest.raises(ParamsError, match="MMADA_SOMETHING is"):
        whole_number("MMADA_SOMETHING", default=3, least=2)
