"""Quality facts tell equal from different, flat from varied."""

import numpy as np
from PIL import Image, ImageFilter

from mmada.vq.image_quality import blur, code_entropy, pixel_std, psnr


def test_psnr_falls_with_the_error() -> None:
    picture = np.full((8, 8, 3), 100, dtype=np.uint8)
    values = [psnr(picture, picture + np.uint8(error)) for error in (0, 1, 10, 50)]
    assert values == sorted(values, reverse=True)
    assert abs(values[1] - 48.13) < 0.01


def test_flat_pictures_have_no_deviation() -> None:
    assert pixel_std(np.full((8, 8, 3), 7, dtype=np.uint8)) == 0.0
    framed = np.zeros((64, 64, 3), dtype=np.uint8)
    framed[4:60, 4:60] = 250
    assert pixel_std(framed) == 0.0
    assert pixel_std(np.eye(8, dtype=np.uint8)[..., None].repeat(3, axis=2) * 255) > 50.0


def test_blur_grows_with_the_radius_and_needs_no_contrast() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    image = Image.fromarray(sharp)
    values = [blur(np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4, 8)]
    assert values == sorted(values)
    assert values[0] < 0.3 < 0.6 < values[-1] <= 1.0
    assert abs(blur(sharp // 2) - values[0]) < 0.02
    assert abs(blur(np.asarray(image.resize((384, 384), Image.Resampling.NEAREST))) - values[0]) < 0.02
    assert blur(np.full((64, 64, 3), 9, dtype=np.uint8)) == 0.0
    assert 0.0 <= blur(np.zeros((1, 1, 3), dtype=np.uint8)) <= 1.0


def test_code_entropy_counts_bits() -> None:
    assert code_entropy(np.full((4, 4), 9)) == 0.0
    assert code_entropy(np.arange(16).reshape(4, 4)) == 4.0
