"""Fit a small MAGVIT-v2 on the ingested pictures, or take given weights."""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import UInt8
from safetensors.torch import load, save
from torch import Tensor

from mmada.contracts.ingested import picture_digests, read_pictures
from mmada.lineage.manifest import file_sha256, open_artifact
from mmada.numerics import numerics_class
from mmada.params_data import Corpus, Ingest, Vq
from mmada.params_schema import Paths
from mmada.progress import progress_bar
from mmada.stage_report import StageReport
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.image_quality import to_picture
from mmada.vq.magvit import MagvitSizes, load_magvit, save_magvit
from mmada.vq.preprocess import decode_picture, preprocess
from mmada.vq.train_magvit import FitSettings, fit_magvit

VERSION: Final = 2
OUT: Final = "magvit"


def train_magvit(
    *, out: Path, paths: Paths, store: UnitStore, corpora: dict[str, Corpus], ingest: Ingest, vq: Vq
) -> StageReport:
    """`config.json` and `pytorch_model.safetensors` in the published layout. A killed fit continues where it was."""
    if vq.weights:
        return _take_given(out, Path(vq.weights))
    inputs = {f"ingested {key}": open_artifact(Path(paths.ingested) / key) for key in corpora}
    folders = {name: artifact.path for name, artifact in inputs.items()}
    digests = pl.concat([picture_digests(folder, name) for name, folder in folders.items()])
    chosen = digests.unique().sort().head(vq.max_pictures).to_list()
    tables = [read_pictures(folder, name, wanted=chosen) for name, folder in folders.items()]
    pictures = pl.concat(tables).unique("image_sha256").sort("image_sha256")
    key = unit_key(
        "train_magvit",
        VERSION,
        pictures.get_column("image_sha256").to_list(),
        vq.model_dump(mode="json"),
        numerics_class(vq.threads),
    )
    images = _images(pictures, vq, ingest.max_image_pixels)
    with progress_bar("fit MAGVIT-v2", vq.steps, "step") as bar:

        def on_progress(step: int, losses: dict[str, float]) -> None:
            bar.update(step - bar.n)
            bar.set_postfix({"loss": f"{losses['reconstruction']:.3f}"}, refresh=False)

        def save_state(step: int, tensors: dict[str, Tensor]) -> None:
            store.put(key, save(tensors))

        stored = store.get(key)
        model = fit_magvit(
            images,
            sizes=_sizes(vq),
            settings=FitSettings(
                steps=vq.steps,
                batch_size=vq.batch_size,
                crop=vq.crop,
                learning_rate=vq.learning_rate,
                mosaic_share=vq.mosaic_share,
                seed=vq.seed,
                threads=vq.threads,
                save_every=vq.save_every,
            ),
            on_progress=on_progress,
            save_state=save_state,
            resume=None if stored is None else load(stored),
        )
    save_magvit(model, out)
    return StageReport(inputs=inputs, rows_in=len(images), rows_kept=len(images))


def _sizes(vq: Vq) -> MagvitSizes:
    return MagvitSizes(
        ch=vq.ch,
        ch_mult_encoder=vq.ch_mult_encoder,
        ch_mult_decoder=vq.ch_mult_decoder,
        num_res_blocks_encoder=vq.num_res_blocks_encoder,
        num_res_blocks_decoder=vq.num_res_blocks_decoder,
        z_channels=vq.z_channels,
    )


def _images(pictures: pl.DataFrame, vq: Vq, max_pixels: int) -> UInt8[np.ndarray, "n R R 3"]:
    size = (vq.resolution, vq.resolution)
    rows = pictures.get_column("bytes")
    decoded = (decode_picture(data, max_pixels=max_pixels) for data in rows)
    images = [to_picture(preprocess(pixels, size=size, policy=vq.crop_policy)) for pixels in decoded]
    return np.stack(images) if images else np.zeros((0, *size, 3), dtype=np.uint8)


def _take_given(out: Path, folder: Path) -> StageReport:
    save_magvit(load_magvit(folder), out)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return StageReport(raw_files={path.as_posix(): file_sha256(path) for path in files})
