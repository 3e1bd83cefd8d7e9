"""Planted personal data is found in every kind and form; in real mathematics, prompts and thoughts none is."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import phonenumbers
import polars as pl
import pytest
from stdnum import luhn

from mmada.curation.personal_data import HIDDEN, KINDS, personal_data, shown

NAMES = ("jane.doe", "li_wei", "m-garcia7", "Olga", "k+news")
HOSTS = ("gmail.com", "web.de", "mail.univ-lyon1.fr", "sub.company.co.uk")


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def _email(rng: random.Random) -> str:
    return f"{rng.choice(NAMES)}@{rng.choice(HOSTS)}"


def _phone(rng: random.Random) -> str:
    """A number of any country, as it is written to be called from another one, or North America's own way."""
    region = rng.choice(["DE", "FR", "GB", "IN", "JP", "BR", "CN", "NG", "US"])
    number = phonenumbers.example_number(region)
    form = phonenumbers.PhoneNumberFormat
    if region == "US":
        return phonenumbers.format_number(number, form.NATIONAL)
    return phonenumbers.format_number(number, rng.choice([form.INTERNATIONAL, form.E164]))


def _ip_address(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return ":".join(["2a00"] + [f"{rng.randrange(1, 65536):x}" for _ in range(7)])
    return f"{rng.choice([81, 151, 185, 203])}.{rng.randrange(100, 113)}.{rng.randrange(128, 256)}.{rng.randrange(256)}"


def _card_number(rng: random.Random) -> str:
    digits = rng.choice(["4", "51", "6011"])
    digits += _digits(rng, 15 - len(digits))
    digits += luhn.calc_check_digit(digits)
    return rng.choice(["", " ", "-"]).join(digits[start : start + 4] for start in range(0, 16, 4))


def _iban(rng: random.Random) -> str:
    account = _digits(rng, 18)
    check = 98 - int(account + "131400") % 97
    whole = f"DE{check:02d}{account}"
    return rng.choice([whole, " ".join(whole[start : start + 4] for start in range(0, 22, 4))])


def _us_social_security(rng: random.Random) -> str:
    return f"{rng.randrange(100, 600)}-{rng.randrange(10, 100)}-{rng.randrange(1000, 10000)}"


PLANTED: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "phone": _phone,
    "ip_address": _ip_address,
    "card_number": _card_number,
    "iban": _iban,
    "us_social_security": _us_social_security,
}


def _sentences(realdata: Path) -> list[str]:
    lines = (realdata / "text_math/gsm8k_train.jsonl").read_text("utf-8").splitlines()
    return [f"{row['question']}\n{row['answer']}" for row in map(json.loads, lines)]


@pytest.mark.parametrize("kind", KINDS)
def test_planted_data_is_found(realdata: Path, kind: str) -> None:
    rng = random.Random(kind)
    texts = []
    for text in rng.sample(_sentences(realdata), 300):
        words = text.split(" ")
        places = [place for place, word in enumerate(words) if word[:1].isalpha()]  # not within a formula
        words.insert(rng.choice(places), rng.choice(["({})", "{},", "{}"]).format(PLANTED[kind](rng)))
        texts.append(" ".join(words))
    found = personal_data(pl.Series(texts))
    missed = [text for text, kinds in zip(texts, found, strict=True) if kind not in kinds.split()]
    assert len(missed) <= 3, missed


def test_real_texts_hold_none(realdata: Path) -> None:
    texts = _sentences(realdata)
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        texts += [row["solution"] for row in json.loads(file.read_text("utf-8"))]
    for file in sorted(realdata.glob("long_cot/skythought/*/*.jsonl")):
        texts += [str(json.loads(line)["code"]) for line in file.read_text("utf-8").splitlines()]
    found = personal_data(pl.Series(texts))
    assert len(texts) > 7_000
    assert found.filter(found != "").to_list() == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\u8bf7\u8054\u7cfbolga@web.de\u83b7\u53d6", "email"),
        ("_jane.doe@gmail.com_, E-Mail:info@m\xfcller.de", "email"),
        ("<olga@web.de>: thanks", "email"),
        ("\u5361\u53f74111111111111111", "card_number"),
        ("3782 822463 10005", "card_number"),
        ("\u7535\u8bdd212-555-1234", "phone"),
        ("+49\u00a030\u00a0901820", "phone"),
        ("+1\u2011212\u2011456\u20111234", "phone"),
        ("0049 30 901820", "phone"),
        ("call +33.1.23.45.67.89, or so", "phone"),
        ("+49 (0)30 901820 12 times", "phone"),
        ("IP\u5730\u574081.100.128.45\u662f", "ip_address"),
        ("2a01:4f8::1", "ip_address"),
        ("IBAN_DE89370400440532013000", "iban"),
        ("BE68 5390 0754 7034 BIC GEBABEBB", "iban"),
        ("gb82 west 1234 5698 7654 32", "iban"),
        ("DE89 3704 0044 0532 0130 00 at the Bank of Germany", "iban"),
    ],
)
def test_it_is_found_whatever_stands_beside_it(text: str, kind: str) -> None:
    assert personal_data(pl.Series([text])).to_list() == [kind]
    assert shown(text) == HIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "write to someone@example.com or root@localhost, admin@db.internal, user@host.local",
        "git@github.com:user/repo.git logo@2x.png pkg@1.0.0-beta.rc postgres://user:pw@db.internal:5432",
        "a@b = a @ b, A@B.T, Q@K.mT, A@np.linalg.inv(B), q@k.transpose(-2,-1), np.dot(a@b.shape), x@self.weight",
        "3 : 4 : 5 = 6 : 8 : 10, 1:2:3:4:5:6:7:8, from 10:30:45 to 12:00:00, 12:30:45::10, dead:beef::cafe",
        "version 10.2.31.4, section 1.2.3.4, chapter 12.34.56.78, hosts 192.168.100.101 and 239.255.255.250",
        "08:00:27:ff:fe:12:34:56 and 00:1A:2B:FF:FE:3C:4D:5E",
        "4111 1111 1111 1112 is no card, 123456789012345678901234567890 no number of one, nor 2010 2011 2012 2013",
        "0.5454545454545454 2.6457513110645907 -0.4111111111111111 1.4111111111111111e3",
        "x = 123-456-7890 + 2024-01-15, 650-250-1000 = -600, 3*212-456-1234",
        "(-5.68324824+45.65336249j), 74+464/(623-155), 42.7974+49.337752, 20000000+4930901820",
        "DE00 3704 0044 0532 0130 00, ISBN 600-11-1234-5, 123-45-6789",
        "",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert personal_data(pl.Series([text, None])).to_list() == ["", ""]
    assert shown(text) == text


@pytest.mark.parametrize(
    "unit", ["_a", "ab12cdef0123456789abcdef0123456789abcdef01 ", "a@a", "a.a@", "+1 2-", "2001:", "1."]
)
def test_a_hostile_text_of_160_000_characters_takes_no_time_to_speak_of(unit: str) -> None:
    text = "x@" + unit * (160_000 // len(unit))
    started = time.process_time()
    assert personal_data(pl.Series([text]))[0] in {"", "email"}
    assert time.process_time() - started < 5


def test_numbers_are_none_of_it() -> None:
    rng = random.Random(1)
    floats = [repr(rng.random() * 10) for _ in range(2_000)]
    sums = [
        f"{rng.randrange(10**9, 10**11)}{sign}{rng.randrange(10**9, 10**11)}" for sign in "+-*/" for _ in range(500)
    ]
    chains = ["".join(f"{rng.randrange(1000)}{rng.choice('+-*/')}" for _ in range(6)) + "1" for _ in range(2_000)]
    assert set(personal_data(pl.Series(floats + sums + chains))) == {""}
