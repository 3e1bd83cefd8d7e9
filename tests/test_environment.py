"""Numbers in the environment."""

import pytest

from mmada.environment import whole_number
from mmada.errors import ParamsError
from mmada.numerics import compute_device


@pytest.mark.parametrize(("value", "number"), [("", 3), ("0", 0), ("12", 12)])
def test_a_number_or_the_default(monkeypatch: pytest.MonkeyPatch, value: str, number: int) -> None:
    monkeypatch.setenv("MMADA_SOMETHING", value)
    assert whole_number("MMADA_SOMETHING", default=3) == number


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "1"])
def test_anything_else_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MMADA_SOMETHING", value)
    with pytest.raises(ParamsError, match="MMADA_SOMETHING is"):
        whole_number("MMADA_SOMETHING", default=3, least=2)


@pytest.mark.parametrize("device", ["gpu", "cuda:-1", "mps", "xpu", "meta"])
def test_a_device_without_a_numerics_class_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setenv("MMADA_DEVICE", device)
    with pytest.raises(ParamsError, match=f"no device '{device}'.*use cpu, cuda or cuda:N"):
        compute_device()
