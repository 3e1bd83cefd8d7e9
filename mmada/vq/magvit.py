"""The MAGVIT-v2 image tokenizer: a convolutional encoder and decoder around lookup-free quantisation (LFQ).

The names of the modules give the keys of the published state dict, so a folder of published weights loads
strictly. Sizes that the published folder leaves out are the published ones.

Legend of shapes: B batch, H W picture height and width in pixels, h w grid height and width (H / factor, W /
factor), N = h * w codes, Z bits of a code, C channels.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn

from mmada.errors import CheckpointError, ContractError
from mmada.tensor_files import check_shapes, read_tensors
from mmada.vocab import check_range
from mmada.vq.magvit_layers import Decoder, Encoder, MagvitSizes
from mmada.vq.winograd import LEAST_WIDTH, band_threads

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "pytorch_model.safetensors"  # the published folder's own, odd, name
_IDENTITY: Final = {"_class_name": "MAGVITv2", "_diffusers_version": "0.32.2"}
__all__ = ["MAGVITv2", "MagvitSizes", "load_magvit", "save_magvit", "to_uint8"]


class LookupFreeQuantizer(nn.Module):
    """Codes are the signs of the latents; the buffers are only there because the published file holds
    them."""

    embedding: Float[Tensor, "K Z"]
    power_vals: Int[Tensor, "Z"]

    def __init__(self, bits: int) -> None:
        super().__init__()
        # In numpy: this arithmetic on the meta device would import torch's compiler, two seconds.
        places = np.arange(bits - 1, -1, -1)
        ones = (np.arange(2**bits)[:, None] >> places) & 1
        self.register_buffer("embedding", torch.tensor(ones * 2.0 - 1.0, dtype=torch.float32))
        self.register_buffer("power_vals", torch.tensor(1 << places))

    def codes(self, latents: Float[Tensor, "B Z h w"]) -> Int[Tensor, "B h w"]:
        """Bit is 1 where the latent is > 0 (an exact 0 gives 0); channel 0 is the most significant bit."""
        return ((latents > 0).permute(0, 2, 3, 1) * self.power_vals).sum(dim=-1)

    def latents(self, codes: Int[Tensor, "B h w"]) -> Float[Tensor, "B Z h w"]:
        return _signs(codes, self.power_vals).permute(0, 3, 1, 2).contiguous()


def _signs(codes: Int[Tensor, "*n"], power_vals: Int[Tensor, "Z"]) -> Float[Tensor, "*n Z"]:
    return ((codes[..., None] & power_vals) != 0).float() * 2.0 - 1.0


class MAGVITv2(nn.Module):
    """Encoder, quantiser and decoder; weights are random until a folder is loaded or the network is
    fitted."""

    def __init__(self, sizes: MagvitSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(sizes)
        self.quantize = LookupFreeQuantizer(sizes.z_channels)

    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Int[Tensor, "B N"]:
        """Row-major codes in [0, 2^Z) of pixels in [-1, 1].

        They come back on the network's device. Raises ContractError when the sides are no multiples of the factor.
        """
        return self.quantize.codes(self.latents(pixels)).flatten(1)

    @torch.no_grad()
    def latents(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B Z h w"]:
        """What the quantiser takes the signs of; raises as `encode`."""
        factor = self.sizes.factor
        if pixels.dim() != 4 or pixels.shape[1] != 3 or pixels.shape[2] % factor or pixels.shape[3] % factor:
            raise ContractError(
                f"pictures of shape {tuple(pixels.shape)}: expected [B, 3, H, W], sides multiples of {factor} pixels"
            )
        # One picture at a time: convolutions choose their algorithm by batch size, and a code must not
        # depend on its batch.
        with band_threads(), _exact_convolutions():
            return torch.cat([self.encoder(picture[None].contiguous()) for picture in pixels.to(self._device)])

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "B N"], *, height: int, width: int) -> Float[Tensor, "B 3 H W"]:
        """Pixels, nominally in [-1, 1] but not clipped, of row-major codes of a `height` x `width` grid.

        Raises ContractError for another number of codes, or for a code outside [0, 2^Z).
        """
        if codes.dim() != 2 or codes.shape[1] != height * width:
            raise ContractError(f"codes of shape {tuple(codes.shape)}: expected [B, {height} x {width}]")
        check_range(codes, 0, self.sizes.num_codes, "image code")
        latents = self.quantize.latents(codes.to(self._device).view(-1, height, width))
        # Narrow networks gain from torch's own threads; unlike codes, pixels may differ in their last bit with those.
        is_wide = self.sizes.ch >= LEAST_WIDTH
        with band_threads() if is_wide else nullcontext(), _exact_convolutions():
            return torch.cat([self.decoder(grid[None].contiguous()) for grid in latents])

    @property
    def _device(self) -> torch.device:
        return self.quantize.embedding.device


def _exact_convolutions() -> AbstractContextManager[None]:
    """fp32 throughout: CUDA rounds the inputs of convolutions to TF32 by default, which would change codes."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def to_uint8(pixels: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Decoded pixels as pictures; truncates like the published pipeline, it does not round."""
    scaled = ((pixels + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0
    return scaled.permute(0, 2, 3, 1).contiguous().to(torch.uint8).cpu().numpy()


def save_magvit(model: MAGVITv2, folder: Path) -> None:
    """Write config.json and the weights in the published layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps({**_IDENTITY, **asdict(model.sizes)}, indent=1) + "\n")
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})


def load_magvit(folder: str | Path) -> MAGVITv2:
    """Read a folder of published or of our own weights, in eval mode and fp32; CheckpointError if anything
    differs. The quantiser's two tables are constants and may be left out."""
    folder = Path(folder)
    sizes = _read_sizes(folder / CONFIG_FILE)
    constants = LookupFreeQuantizer(sizes.z_channels).state_dict(prefix="quantize.")
    state = {**constants, **read_tensors(folder / WEIGHTS_FILE)}
    with torch.device("meta"):
        model = MAGVITv2(sizes)
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    check_shapes(wanted, {key: tensor.shape for key, tensor in state.items()}, str(folder / WEIGHTS_FILE))
    model.load_state_dict(state, strict=True, assign=True)
    return model.float().eval().requires_grad_(False)


def _read_sizes(path: Path) -> MagvitSizes:
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable MAGVIT-v2 configuration ({error})") from error
    if config.get("_class_name", "MAGVITv2") != "MAGVITv2":
        raise CheckpointError(f"{path}: describes a {config['_class_name']}, not a MAGVITv2")
    known = {field.name for field in fields(MagvitSizes)}
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in config.items() if key in known
    }
    return MagvitSizes(**given)
