"""resnet_utils.wording: numbers as a text writes them."""

import math

import pytest

from resnet_utils import wording


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (3.7e-12, 1, r"$4\cdot10^{-12}$"),
        (-2.345e-6, 2, r"$-2.3\cdot10^{-6}$"),
        (9.96e-6, 2, r"$1.0\cdot10^{-5}$"),
        (4.2e7, 1, r"$4\cdot10^{7}$"),
        (7_231.0, 1, "7,000"),
        (7_231.0, 3, "7,230"),
        (9_960.0, 2, "10,000"),
        (0.0324, 1, "0.03"),
        (0.0324, 2, "0.032"),
        (0.00041, 1, "0.0004"),
        (12.5, 3, "12.5"),
        (0.0, 1, "0"),
    ],
)
def test_a_number_has_the_digits_that_were_asked_for_and_no_exponent_of_a_program(number, digits, text) -> None:
    assert wording.rounded(number, digits) == text


def test_where_no_formula_can_stand_the_power_is_raised() -> None:
    assert wording.rounded(-3.7e-12, 2, formula=False) == "-3.7·10⁻¹²"
    assert wording.rounded(432.0, 2, formula=False) == "430"


@pytest.mark.parametrize(("number", "digits"), [(math.nan, 1), (math.inf, 1), (1.0, 0)])
def test_what_has_no_digits_is_refused(number, digits) -> None:
    with pytest.raises(ValueError, match=f"not {number} with {digits} digits"):
        wording.rounded(number, digits)
