"""Values of constants, and nothing for what is not surely one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmada.constants import constant_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"2\sqrt{3}", 2 * math.sqrt(3)),
        (r"-\frac{\pi}{2}", -math.pi / 2),
        (r"\sqrt[3]{8}", 2.0),
        ("3-4*2", -5.0),
        ("2(3+4)", 14.0),
        ("2^{-1}", 0.5),
        ("--3", 3.0),
    ],
)
def test_constants_have_their_value(text: str, value: float) -> None:
    assert constant_value(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "2x", r"1\frac{4}{5}", "3 4", "4{10}", "2516_8", "5!", r"1/2\pi", "1/0", r"\sqrt{-1}", "9^{99999}"),
        *("5^{5^{5^{5}}}", "(" * 200, "(" * 90 + "1" + ")" * 90, "1" * 300, "2^3^4", "1e5"),
    ],
)
def test_anything_else_has_none(text: str) -> None:
    assert constant_value(text) is None


@given(st.text(alphabet="0123456789.+-*/^(){}[] \\fracsqtpi", max_size=60))
def test_any_text_ends_in_a_finite_number_or_none(text: str) -> None:
    value = constant_value(text)
    assert value is None or math.isfinite(value)
