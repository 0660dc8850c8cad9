"""Exact money: fractions inside, whole minor units on paper, 18 decimals on the wire.

An amount is a `fractions.Fraction` in major units of one currency and is never rounded on its
way. There is one place where it becomes a number that someone pays: `round_half_up`, called
through `to_minor` once per invoice line, balance or posting (DESIGN §7). The wire carries
`to_wire(F(q + d)) - to_wire(F(q))`: floors of a running total, so that any sum of differences is
exactly the floor of the total, however the usage was cut into rows.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

ZERO = Fraction(0)

WIRE_DECIMALS = 18
"""Decimals of `usage.rated.charge`; see `rating.records.CHARGE_DTYPE`."""

_WIRE_SCALE = 10**WIRE_DECIMALS
_WIRE_CONTEXT = decimal.Context(prec=38)
_AMOUNT = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)

_MINOR_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_MINOR_2 = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD "
    "HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN "
    "QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TOP TRY "
    "TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW"
)
_MINOR_3 = "BHD IQD JOD KWD LYD OMR TND"

CURRENCIES: Mapping[str, int] = (
    dict.fromkeys(_MINOR_0.split(), 0)
    | dict.fromkeys(_MINOR_2.split(), 2)
    | dict.fromkeys(_MINOR_3.split(), 3)
)
"""Decimals of the minor unit per ISO 4217 code: JPY 0, BDT 2, KWD 3."""


def minor_decimals(currency: str) -> int:
    """Return the decimals of a currency's minor unit; ValueError for an unknown code."""
    try:
        return CURRENCIES[currency]
    except KeyError:
        raise ValueError(f"unknown currency {currency!r}") from None


def check_currency(currency: str) -> None:
    """Raise ValueError, naming the field, for an unknown currency code."""
    try:
        minor_decimals(currency)
    except ValueError as error:
        raise ValueError(f"currency: {error}") from None


def parse_amount(text: str) -> Fraction:
    """Return the exact value of a plain decimal such as ``-12.50``.

    At most 18 digits on either side; no exponent, no sign but minus: ValueError otherwise.
    """
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"expected a plain decimal such as '12.50', got {text!r}")
    return Fraction(text)


def format_amount(amount: Fraction) -> str:
    """Return the shortest plain decimal that is exactly the amount.

    ValueError where no decimal of at most 18 places is (one third).
    """
    for decimals in range(WIRE_DECIMALS + 1):
        scaled = amount * 10**decimals
        if scaled.denominator == 1:
            return _place_point(scaled.numerator, decimals)
    raise ValueError(f"{amount} has no exact decimal of {WIRE_DECIMALS} places")


def round_half_up(value: Fraction, decimals: int = 0) -> int:
    """Return value x 10^decimals rounded to a whole number, halves away from zero.

    This is the only rounding of money in Flowrate. Away from zero, so that a credit note is the
    mirror image of its invoice line.
    """
    numerator, denominator = value.numerator, value.denominator
    if not numerator:
        return 0
    rounded: int = (2 * 10**decimals * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


def to_minor(amount: Fraction, currency: str) -> int:
    """Return an amount in whole minor units, half-up; ValueError for an unknown currency."""
    return round_half_up(amount, minor_decimals(currency))


def from_minor(amount_minor: int, currency: str) -> Fraction:
    """Return the exact amount in major units of a count of minor units."""
    return Fraction(amount_minor, 10 ** minor_decimals(currency))


def format_minor(amount_minor: int, currency: str) -> str:
    """Return minor units as a plain decimal in major units: 123450 BDT is ``1234.50``."""
    return _place_point(amount_minor, minor_decimals(currency))


def to_wire(amount: Fraction) -> int:
    """Return a running total in wire units of 10^-18, floored."""
    scaled: int = amount.numerator * _WIRE_SCALE
    return scaled // amount.denominator


def wire_decimal(units: int) -> Decimal:
    """Return a difference of wire units as the Decimal(38, 18) of `usage.rated`."""
    return _WIRE_CONTEXT.scaleb(Decimal(units), -WIRE_DECIMALS)


def encode_exact(amount: Fraction) -> str:
    """Return ``numerator/denominator``, the form of every ``amount_exact`` column."""
    return f"{amount.numerator}/{amount.denominator}"


def decode_exact(text: str) -> Fraction:
    """Return the fraction that `encode_exact` wrote."""
    if text == "0/1":
        return ZERO
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator))


def _place_point(units: int, decimals: int) -> str:
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(decimals + 1, "0")
    return sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)
