"""Personal data in texts: what reaches or identifies one person, by its form and, where there is one, its check digits.

Rows are found, not rewritten: a text from which words are taken is another text, and no longer the raw row.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final, get_args

import polars as pl

from mmada.params_data import PersonalData

KINDS: Final[tuple[PersonalData, ...]] = get_args(PersonalData)

_FORMS: Final[Mapping[PersonalData, str]] = {
    "email": r"[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b",
    "phone": r"\+[1-9][0-9 .()/-]{6,20}[0-9]|(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[-.])[2-9][0-9]{2}[-.][0-9]{4}\b",
    "ip_address": r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b|\b(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4})+\b",
    "card_number": r"\b(?:[2-6][0-9]{3}(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})\b",
    "iban": r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "us_social_security": r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
}
_NOBODYS: Final = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|net|org)|(?:example|invalid|localhost|test))\Z", re.I)
"""Domains that are reserved for examples (RFC 2606)."""
_MIN_PHONE_DIGITS: Final = 8
"""With a country's code."""
_MIN_ADDRESS_DIGITS: Final = 8
"""Of an IPv4 address: fewer are numbers of sections and versions, or addresses of a network's own machines."""


def personal_data(texts: pl.Series) -> pl.Series:
    """Kinds (KINDS) that each text holds, by name with blanks between them; "" for none."""
    held: list[list[str]] = [[] for _ in texts]
    for kind in KINDS:
        found = texts.str.extract_all(_FORMS[kind])
        for row in (found.list.len() > 0).arg_true():
            if any(map(_IS_MEANT[kind], found[row])):
                held[row].append(kind)
    return pl.Series("personal_data", map(" ".join, held), dtype=pl.String)


def _is_email(text: str) -> bool:
    return not _NOBODYS.search(text)


def _is_phone(text: str) -> bool:
    """Of a country's numbering plan; without a country's code, that of North America."""
    import phonenumbers  # takes long, and few texts need it

    while sum(map(str.isdigit, text)) >= _MIN_PHONE_DIGITS:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(text, "US")):
                return True
        except phonenumbers.NumberParseException:
            pass
        text = re.sub(r"\D*\d+\Z", "", text)  # another number may stand behind it
    return False


def _is_ip_address(text: str) -> bool:
    if ":" not in text and sum(map(str.isdigit, text)) < _MIN_ADDRESS_DIGITS:
        return False
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _is_card_number(text: str) -> bool:
    from stdnum import luhn

    return bool(luhn.is_valid(re.sub(r"\D", "", text)))


def _is_iban(text: str) -> bool:
    from stdnum import iban

    return bool(iban.is_valid(text))


def _is_us_social_security(text: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(text))


_IS_MEANT: Final[Mapping[PersonalData, Callable[[str], bool]]] = {
    "email": _is_email,
    "phone": _is_phone,
    "ip_address": _is_ip_address,
    "card_number": _is_card_number,
    "iban": _is_iban,
    "us_social_security": _is_us_social_security,
}
