"""The MAGVIT-v2 image tokenizer: a convolutional encoder and decoder around lookup-free quantisation (LFQ).

The names of the modules give the keys of the published state dict, so a folder of published weights loads
strictly. Sizes that the published folder leaves out are the published ones.

Legend of shapes: B batch, H W picture height and width in pixels, h w grid height and width (H / factor, W /
factor), N = h * w codes, Z bits of a code, C channels.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmada.errors import CheckpointError
from mmada.vq.magvit_layers import Decoder, Encoder, MagvitSizes

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "pytorch_model.safetensors"  # the published folder's own, odd, name
_IDENTITY = {"_class_name": "MAGVITv2", "_diffusers_version": "0.32.2"}
__all__ = ["MAGVITv2", "MagvitSizes", "load_folder", "save_folder", "to_uint8"]


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

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Int[Tensor, "B h w"]:
        """Codes in [0, 2^Z) of pixels in [-1, 1]; sides must be multiples of the factor, else ValueError."""
        height, width = pixels.shape[-2:]
        if height % self.sizes.factor or width % self.sizes.factor:
            raise ValueError(f"picture of {height}x{width} pixels: sides must be multiples of {self.sizes.factor}")
        # One picture at a time: convolutions choose their algorithm by batch size, and a code must not
        # depend on its batch.
        latents = [self.encoder(picture[None].contiguous()) for picture in pixels]
        return self.quantize.codes(torch.cat(latents))

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "B h w"]) -> Float[Tensor, "B 3 H W"]:
        """Pixels, nominally in [-1, 1] but not clipped, of a grid of codes; ValueError for a code out of
        range."""
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.sizes.num_codes:
            raise ValueError(f"codes in [{int(codes.min())}, {int(codes.max())}] leave [0, {self.sizes.num_codes})")
        latents = self.quantize.latents(codes)
        return torch.cat([self.decoder(grid[None].contiguous()) for grid in latents])


def to_uint8(pixels: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Decoded pixels as pictures; truncates like the published pipeline, it does not round."""
    scaled = ((pixels + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0
    return scaled.permute(0, 2, 3, 1).contiguous().to(torch.uint8).cpu().numpy()


def save_folder(model: MAGVITv2, folder: Path) -> None:
    """Write config.json and the weights in the published layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps({**_IDENTITY, **asdict(model.sizes)}, indent=1) + "\n")
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})


def load_folder(folder: Path) -> MAGVITv2:
    """Read a folder of published or of our own weights, in eval mode and fp32; CheckpointError if anything
    differs."""
    sizes = _read_sizes(folder / CONFIG_FILE)
    try:
        state = load_file(str(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: not a readable safetensors file ({error})") from error
    with torch.device("meta"):
        model = MAGVITv2(sizes)
    _check_state(folder, {k: v.shape for k, v in model.state_dict().items()}, {k: v.shape for k, v in state.items()})
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


def _check_state(folder: Path, wanted: dict[str, torch.Size], given: dict[str, torch.Size]) -> None:
    missing = sorted(wanted.keys() - given.keys())
    unknown = sorted(given.keys() - wanted.keys())
    reshaped = sorted(key for key in wanted.keys() & given.keys() if wanted[key] != given[key])
    if missing or unknown or reshaped:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}, {len(reshaped)} of another shape {reshaped[:3]}; "
            "use the config.json that belongs to these weights"
        )
