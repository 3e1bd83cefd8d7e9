"""Facts of each row's picture, from the token table."""

import polars as pl

from mmada.errors import ContractError

_FACTS = ("psnr", "pixel_std", "structure", "lost_share", "blur", "image_side", "image_aspect", "code_entropy")


def with_image_facts(rows: pl.DataFrame, codes: pl.DataFrame) -> pl.DataFrame:
    """`rows` (image_sha256, ...) with pixels_sha256 ("" without a picture) and _FACTS (null).

    `codes`: the token table (contracts.image_codes). Raises ContractError when a row's picture is not in it.
    """
    pictures = codes.select("image_sha256", "pixels_sha256", *_FACTS).with_columns(has_codes=pl.lit(True))
    joined = rows.join(pictures, on="image_sha256", how="left", maintain_order="left")
    lost = joined.filter((pl.col("image_sha256") != "") & pl.col("has_codes").is_null())
    if lost.height:
        example = lost.row(0, named=True)
        where = f"{example['source_file']} row {example['row']} ({example['image_sha256'][:12]})"
        raise ContractError(
            f"{lost.height} rows show a picture that the token table lacks, the first in {where}; "
            "run `dvc repro tokenize_images`"
        )
    return joined.drop("has_codes").with_columns(pl.col("pixels_sha256").fill_null(""))
