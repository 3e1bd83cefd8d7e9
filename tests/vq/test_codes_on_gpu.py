"""On a CUDA device: the published picture tokenizer gives the same codes as on a CPU (`make test-gpu`)."""

import pytest
import torch

from mmada.vq.magvit import MagvitSizes, MAGVITv2

pytestmark = pytest.mark.gpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_codes_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    model = MAGVITv2(MagvitSizes()).eval()
    pixels = torch.rand(2, 3, 256, 256) * 2 - 1
    latents, codes = model.latents(pixels), model.encode(pixels)
    there = model.to("cuda")
    assert (there.latents(pixels).cpu() - latents).abs().max() <= 1e-4
    # A latent within rounding of 0 may change its sign; TF32 or bf16 would change some percent of the codes.
    assert (there.encode(pixels).cpu() == codes).float().mean() >= 0.999
    assert torch.equal(there.encode(pixels[:1]), there.encode(pixels)[:1]), "codes do not depend on the batch"
