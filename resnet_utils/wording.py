"""Numbers as a text writes them, for the sentences that cells print."""

import math

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(power: int) -> str:
    """10⁻¹²: where no formula can stand, as in a drawing."""
    return f"10{str(power).translate(_RAISED)}"


def rounded(number: float, digits: int = 1, formula: bool = True) -> str:
    r"""A number in Markdown with so many significant digits: 0.03, 7,000, or $4\cdot10^{-12}$ if zeros would be many.

    Args:
        number: what was measured, as 3.7e-12.
        digits: how many of its digits tell something.
        formula: whether a formula can stand there. Where it cannot, as in HTML, the last one is 4·10⁻¹².

    Raises:
        ValueError: there are no digits to write: the number is not finite, or `digits` is below 1.
    """
    if not math.isfinite(number) or digits < 1:
        raise ValueError(f"a finite number with at least one digit is needed, not {number} with {digits} digits")
    mantissa, _, exponent = f"{number:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if -4 <= power < 7:
        return f"{float(f'{mantissa}e{power}'):,.{max(0, digits - 1 - power)}f}"
    if not formula:
        return f"{mantissa}·{power_of_ten(power)}"
    return rf"${mantissa}\cdot10^{{{power}}}$"
