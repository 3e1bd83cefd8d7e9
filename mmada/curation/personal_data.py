"""Personal data in texts: what reaches or identifies one person, by its form and, where there is one, its check digits.

Rows are found, not rewritten: a text from which words are taken is another text, and no longer the raw row. Forms are
those that formulas, code, versions and times do not have; boundaries are those of ASCII letters and digits, for Chinese
or Japanese text stands beside an address without a blank.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, get_args

import polars as pl

from mmada.params_data import PersonalData

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

KINDS: Final[tuple[PersonalData, ...]] = get_args(PersonalData)
HIDDEN: Final = "(personal data)"
"""What stands on pages in place of a text that holds some."""

_HINTS: Final[Mapping[PersonalData, str]] = {
    "email": r"[A-Za-z0-9]@",
    "phone": r"\+[1-9]|00[1-9]|[0-9]{3}(?:\) ?|[-.\x{2010}\x{2011}])[0-9]{3}[-.\x{2010}\x{2011}][0-9]{4}",
    "ip_address": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[23][0-9A-Fa-f]{3}:",
    "card_number": r"[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}",
    "iban": r"[A-Za-z]{2}[0-9]{2} ?[A-Za-z0-9]{4}",
    "us_social_security": r"[0-9]{3}-[0-9]{2}-[0-9]{4}",
}
"""Stands in every text that holds one, and is looked for in all texts at once."""
_BLANK: Final = r"[ \u00a0\u202f]"
_DASH: Final = r"[-\u2010-\u2013]"
_NO_FORMULA: Final = r"(?!\s*[=*^+])"
_FORMS: Final[Mapping[PersonalData, re.Pattern[str]]] = {
    "email": re.compile(
        r"(?<![A-Za-z0-9.%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}@(?P<host>(?:[^\W_](?:[^\W_]|-){0,62}\.)+[A-Za-z]{2,})"
        r"(?![A-Za-z0-9(\[]|[:/][^\s]|-\w)"
    ),
    "phone": re.compile(
        rf"(?<![A-Za-z0-9)\]}}.^_=*/])(?:\+|00(?=[1-9][0-9]{{0,2}}{_BLANK}))[1-9]"
        rf"(?:(?:{_BLANK}?\(|\){_BLANK}?|{_BLANK}|{_DASH}|\.)?[0-9]){{7,14}}(?![0-9A-Za-z]){_NO_FORMULA}"
        rf"|(?<![0-9A-Za-z.+*/=^-])(?:\([2-9][0-9]{{2}}\){_BLANK}?|[2-9][0-9]{{2}}(?:{_DASH}|\.))"
        rf"[2-9][0-9]{{2}}(?:{_DASH}|\.)[0-9]{{4}}(?![0-9A-Za-z]|[-./][0-9]){_NO_FORMULA}"
    ),
    "ip_address": re.compile(
        r"(?<![0-9A-Za-z.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z-]|\.[0-9])"
        r"|(?<![0-9A-Za-z:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{1,4}(?![0-9A-Za-z:])"
    ),
    "card_number": re.compile(
        r"(?<![0-9A-Za-z.,-])(?:(?:4[0-9]{3}|5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720|35[2-8]"
        r"[0-9]|6011|62[0-9]{2}|64[4-9][0-9]|65[0-9]{2})([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}"
        r"|3[47][0-9]{2}([ -]?)[0-9]{6}\2[0-9]{5})(?![0-9A-Za-z-]|[.,][0-9])"
    ),
    "iban": re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]{1,4}+){3,8}+"),
    "us_social_security": re.compile(
        rf"(?<![0-9A-Za-z.+*/=-])[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}(?![0-9A-Za-z-]){_NO_FORMULA}"
    ),
}
_NOBODYS_HOST: Final = re.compile(r"(?:^|\.)example\.(?:com|net|org)\Z", re.IGNORECASE)
"""Domains that are reserved for examples (RFC 2606)."""
_NOBODYS_NUMBER: Final = "123-45-6789"
_MIN_PHONE_DIGITS: Final = 8
"""With a country's code."""
_MIN_ADDRESS_DIGITS: Final = 9
"""Of an IPv4 address: fewer are numbers of sections and versions, or addresses of services that everybody knows."""


def personal_data(texts: pl.Series) -> pl.Series:
    """Kinds (KINDS) that each text holds, by name with blanks between them; "" for none."""
    held: list[list[str]] = [[] for _ in texts]
    for kind in KINDS:
        for row in texts.str.contains(_HINTS[kind]).fill_null(value=False).arg_true():
            if any(map(_IS_MEANT[kind], _FORMS[kind].finditer(texts[row]))):
                held[row].append(kind)
    return pl.Series("personal_data", map(" ".join, held), dtype=pl.String)


def without_personal_data(texts: pl.Series) -> pl.Series:
    """Texts for pages that may be published: HIDDEN where one holds personal data."""
    return pl.select(pl.when(personal_data(texts) == "").then(texts).otherwise(pl.lit(HIDDEN))).to_series()


def shown(text: str) -> str:
    """One text without personal data."""
    return str(without_personal_data(pl.Series([text], dtype=pl.String))[0])


def _is_email(found: re.Match[str]) -> bool:
    """At a host below a public suffix: attributes, files and machines of a network's own have none."""
    host, ending = found["host"].lower(), found["host"].rpartition(".")[2]
    if _NOBODYS_HOST.search(host) or not (ending.islower() or ending.isupper()):
        return False
    return _suffixes().publicsuffix(host) not in {None, host}


@cache
def _suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)


def _is_phone(found: re.Match[str]) -> bool:
    """Of a country's numbering plan; without a country's code, that of North America."""
    import phonenumbers  # takes long, and few texts need it

    text = re.sub(rf"^00|{_DASH}", lambda part: "+" if part[0] == "00" else "-", found[0])
    if text.startswith("+") and text.count(".") == 1:  # a number with a fraction
        return False
    while sum(map(str.isdigit, text)) >= _MIN_PHONE_DIGITS:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(text, "US")):
                return True
        except phonenumbers.NumberParseException:
            pass
        text, _, _ = re.sub(_BLANK, " ", text).rpartition(" ")  # another number may stand behind it
    return False


def _is_ip_address(found: re.Match[str]) -> bool:
    if ":" not in found[0] and sum(map(str.isdigit, found[0])) < _MIN_ADDRESS_DIGITS:
        return False
    try:
        address = ipaddress.ip_address(found[0])
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _is_card_number(found: re.Match[str]) -> bool:
    from stdnum import luhn

    return bool(luhn.is_valid(re.sub(r"\D", "", found[0])))


def _is_iban(found: re.Match[str]) -> bool:
    from stdnum import iban

    words = found[0].upper().split(" ")  # other words may stand behind it
    return any(iban.is_valid("".join(words[:end]), check_country=False) for end in range(len(words), 0, -1))


def _is_us_social_security(found: re.Match[str]) -> bool:
    from stdnum.us import ssn

    return found[0] != _NOBODYS_NUMBER and bool(ssn.is_valid(found[0]))


_IS_MEANT: Final[Mapping[PersonalData, Callable[[re.Match[str]], bool]]] = {
    "email": _is_email,
    "phone": _is_phone,
    "ip_address": _is_ip_address,
    "card_number": _is_card_number,
    "iban": _is_iban,
    "us_social_security": _is_us_social_security,
}
