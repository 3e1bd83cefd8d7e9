"""Questions whose answer no comparison with a reference can judge."""

from typing import Final

import polars as pl

_PROOF: Final = r"(?i)\b(?:prove|disprove|show)\s+(?:that|the|if|this|whether)\b|\bgive\s+an?\s+proof\b|\bprove:"
_PARTS: Final = (
    r"(?s)(?:^|\s)\(?a[).]\s.+(?:^|\s)\(?b[).]\s|\(i\)\s.+\(ii\)\s|(?i:\bpart\s+(?:a|1|i)\b.+\bpart\s+(?:b|2|ii)\b)"
)
_CHOICE: Final = r"(?s)(?:^|\s)\(?a[).]\s.+(?:^|\s)\(?b[).]\s.+(?:^|\s)\(?c[).]\s|(?i)\bwhich (?:of|one)\b|\bchoose\b"
_FIGURE: Final = (
    r"(?i)\b(?:figure|diagram|graph|picture|image|drawing)\s+(?:below|above|shown|on the (?:right|left))\b"
    r"|\b(?:in|from|of) the (?:given |following |accompanying |above )?(?:figure|diagram)\b"
    r"|\bas shown (?:below|above|in)\b|\b(?:shown|pictured) (?:below|above)\b"
)
_DRAWN: Final = r"\[asy\]|\\begin\{(?:tikzpicture|tabular|array)\}|!\[|<svg"


def unverifiable() -> pl.Expr:
    """Why a row's question (columns prompt, pixels_sha256) has no answer to compare: "proof", "multi_part",
    "figure_missing"; "" where it has one.
    """
    prompt = pl.col("prompt")
    has_figure = (pl.col("pixels_sha256") != "") | prompt.str.contains(_DRAWN)
    return (
        pl.when(prompt.str.contains(_PROOF))
        .then(pl.lit("proof"))
        .when(prompt.str.contains(_PARTS) & ~prompt.str.contains(_CHOICE))
        .then(pl.lit("multi_part"))
        .when(prompt.str.contains(_FIGURE) & ~has_figure)
        .then(pl.lit("figure_missing"))
        .otherwise(pl.lit(""))
    )
