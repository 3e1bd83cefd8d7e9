"""Ask any checkpoint folder: text, a picture, an answer about a picture, with or without thinking.

Legend of shapes: L tokens, h w grid height and width, H W picture height and width in pixels.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from mmada.contracts.sample import Task
from mmada.cot_dialects import THINK_REQUEST
from mmada.errors import CheckpointError, InputError
from mmada.lineage.manifest import MANIFEST_NAME, read_artifact
from mmada.model.from_params import sampling_settings
from mmada.model.generation import Query, generate, num_tokens
from mmada.model.image_sampling import ImageSampling
from mmada.model.text_sampling import TextSampling
from mmada.model.weights import load_model, load_vocab
from mmada.numerics import compute_device
from mmada.params_schema import Params, load_params
from mmada.progress import progress_bar
from mmada.single_pictures import PictureCodec, check_place, parse_size, read_picture, write_picture, writing
from mmada.text_tokenizer import load_tokenizer
from mmada.vocab import Vocab
from mmada.vq.magvit import load_magvit
from mmada.vq.preprocess import Policy

Dtype = Literal["float32", "bfloat16"]

PUBLISHED_TEXT: Final = TextSampling(new_tokens=256, steps=256, block=32)
PUBLISHED_IMAGE: Final = ImageSampling(steps=15, temperature=1.0, guidance=3.5)
PUBLISHED_SIZE: Final = "512"
_GREY: Final = 128


@dataclass(frozen=True)
class Wish:
    """What is asked for. `about`: picture that the prompt is a question about; `draw`: PNG to write; `frames`: GIF or
    PNG strip of the steps of a drawing.
    """

    prompt: str
    about: Path | None = None
    draw: Path | None = None
    frames: Path | None = None
    think: bool = False

    def __post_init__(self) -> None:
        try:
            self.prompt.encode()
        except UnicodeEncodeError:
            raise InputError("the prompt is no text in UTF-8; type it again, or mend the terminal's encoding") from None
        if self.about is not None and self.draw is not None:
            raise InputError("a picture is either asked about or drawn: give --about or --draw, not both")
        if self.frames is not None and self.draw is None:
            raise InputError("frames are the steps of a drawing: give --draw too")
        if self.frames is not None and self.frames.suffix.lower() not in (".gif", ".png"):
            raise InputError(f"{self.frames}: frames are written as .gif or, side by side, as .png")
        if self.frames is not None and self.draw is not None and self.frames.resolve() == self.draw.resolve():
            raise InputError(f"{self.draw} cannot hold both the drawing and its frames: give --frames another name")
        if self.draw is not None and self.draw.suffix.lower() != ".png":
            raise InputError(f"{self.draw}: pictures are written as PNG; give a name that ends in .png")

    @property
    def task(self) -> Task:
        """The layout of its sequence."""
        if self.draw is not None:
            return "r2i" if self.think else "t2i"
        return "chat" if self.about is None else "mmu"

    @property
    def question(self) -> str:
        """The prompt, with the published request to think where one is due."""
        return THINK_REQUEST + self.prompt if self.think and self.draw is None else self.prompt


@dataclass(frozen=True)
class Choices:
    """What the caller chooses; None leaves it to params.yaml for a model that the project made, and to the published
    settings for any other.
    """

    tokens: int | None = None
    steps: int | None = None
    block: int | None = None
    temperature: float | None = None
    guidance: float | None = None
    threshold: float | None = None
    cache: Literal["none", "prefix", "dual"] | None = None
    image_steps: int | None = None
    magvit: Path | None = None
    size: str | None = None
    policy: Policy | None = None
    seed: int = 0
    device: str | None = None
    dtype: Dtype = "float32"


@dataclass
class _Frames:
    """The states of a picture while it is drawn: ids of its places, step by step."""

    places: slice
    mask: int
    states: list[Int[Tensor, "N"]] = field(default_factory=list)

    def add(self, ids: Int[Tensor, "1 L"]) -> None:
        """Keep a step, once the picture has begun."""
        state = ids[0, self.places].cpu()
        if bool((state != self.mask).any()):
            self.states.append(state.clone())


def answer(model_folder: Path, wish: Wish, choices: Choices, params_file: Path) -> str:
    """Do what is wished; the text that the model wrote ("" for a drawing without a thought).

    Raises InputError, CheckpointError or ContractError for folders, pictures and lengths that do not fit.
    """
    for place in filter(None, (wish.draw, wish.frames)):
        check_place(place)
    params = load_params(params_file) if params_file.is_file() else None
    text, image = _settings(model_folder, choices, params)
    codec = _codec(model_folder, choices, params) if wish.about or wish.draw else None
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[choices.dtype]
    model = load_model(model_folder, device=compute_device(choices.device), dtype=dtype).eval()
    vocab = load_vocab(model_folder)
    tokenizer = load_tokenizer(model_folder, vocab=vocab)
    codes = codec.encode(read_picture(wish.about)) if wish.about is not None and codec is not None else None
    query, num_codes = Query(wish.question, codes), codec.grid[0] * codec.grid[1] if codec is not None else 0
    length = num_tokens(wish.task, query, tokenizer, vocab, text=text, num_image_tokens=num_codes)
    if length > (most := model.config.max_sequence_length):
        raise InputError(
            f"the prompt takes {length} tokens with its answer, but the model takes {most}; shorten it, or ask for "
            "less: --tokens of text, --size of a picture"
        )
    frames = _Frames(slice(-num_codes - 1, -1), vocab.mask)
    steps = (image.steps if wish.draw else 0) + (text.steps if wish.task != "t2i" else 0)
    with progress_bar(wish.task, None if text.is_parallel else steps, "step") as bar:

        def on_step(ids: Int[Tensor, "1 L"]) -> None:
            bar.update()
            if wish.frames is not None:
                frames.add(ids)

        made = generate(
            model,
            wish.task,
            [query],
            tokenizer,
            vocab,
            text=replace(text, stop_id=vocab.eos, revisit_masks=True, row_stops=True),
            image=image,
            num_image_tokens=num_codes,
            generator=torch.Generator(compute_device(choices.device)).manual_seed(choices.seed),
            on_step=on_step,
        )
    if wish.draw is not None and codec is not None:
        drawn = made.codes(vocab)[0].cpu().numpy().reshape(codec.grid)
        picture = codec.decode(drawn)
        write_picture(picture, wish.draw)
        if wish.frames is not None:
            _write_frames([*(_frame(state, codec, vocab) for state in frames.states), picture], wish.frames)
    return made.texts(tokenizer, vocab)[0]


def _settings(folder: Path, choices: Choices, params: Params | None) -> tuple[TextSampling, ImageSampling]:
    """Text and picture settings: the project's for its own models, else the published ones, with what was chosen."""
    text, image = PUBLISHED_TEXT, PUBLISHED_IMAGE
    if params is not None and (folder / MANIFEST_NAME).is_file():
        decoding = params.evaluation.decoding_for(folder.name, read_artifact(folder).key)
        text, image = sampling_settings(decoding["default"])
    tokens = choices.tokens or text.new_tokens
    block = choices.block or (text.block if tokens % text.block == 0 else tokens)
    steps = choices.steps or (text.steps if tokens == text.new_tokens else tokens)
    guidance = text.guidance if choices.guidance is None else choices.guidance
    text = replace(
        text,
        new_tokens=tokens,
        block=block,
        steps=steps,
        guidance=guidance,
        temperature=text.temperature if choices.temperature is None else choices.temperature,
        cache=choices.cache or text.cache,
        threshold=text.threshold if choices.threshold is None else choices.threshold,
    )
    guidance = image.guidance if choices.guidance is None else choices.guidance
    return text, replace(image, steps=choices.image_steps or image.steps, guidance=guidance)


def open_codec(choices: Choices, params_file: Path) -> PictureCodec:
    """The picture tokenizer that is chosen, by default the project's."""
    return _codec(None, choices, load_params(params_file) if params_file.is_file() else None)


def _codec(model_folder: Path | None, choices: Choices, params: Params | None) -> PictureCodec:
    if choices.magvit is None and params is None:
        raise InputError("no params.yaml here that names a picture tokenizer: give its folder with --magvit")
    folder = choices.magvit or Path(params.paths.magvit if params else "")
    if model_folder is not None:
        _check_match(model_folder, folder)
    size = choices.size or (str(params.vq.resolution) if params else PUBLISHED_SIZE)
    policy = choices.policy or (params.vq.crop_policy if params else "centre_crop")
    return PictureCodec(load_magvit(folder).to(compute_device(choices.device)), parse_size(size), policy)


def _check_match(model_folder: Path, folder: Path) -> None:
    """A model that says which tokenizer it was trained with is used with no other that says who it is."""
    if not all((one / MANIFEST_NAME).is_file() for one in (model_folder, folder)):
        return
    expected, found = read_artifact(model_folder).metadata.get("magvit"), read_artifact(folder).id
    if expected is not None and expected != found:
        raise CheckpointError(
            f"{model_folder} was trained with picture tokenizer {str(expected)[:12]}, but {folder} is {found[:12]}: "
            "its codes would mean other pictures. Give the folder of that tokenizer with --magvit"
        )


def _frame(state: Int[Tensor, "N"], codec: PictureCodec, vocab: Vocab) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of the codes that are known; the places of the others are grey."""
    unknown = (state == vocab.mask).reshape(codec.grid).numpy()
    codes = torch.where(state == vocab.mask, 0, state - vocab.image_range.start).reshape(codec.grid).numpy()
    picture = codec.decode(codes).copy()
    factor = codec.magvit.sizes.factor
    picture[unknown.repeat(factor, axis=0).repeat(factor, axis=1)] = _GREY
    return picture


def _write_frames(frames: list[UInt8[np.ndarray, "H W 3"]], path: Path) -> None:
    if path.suffix.lower() == ".png":
        write_picture(np.concatenate(frames, axis=1), path)
        return
    first, *rest = (Image.fromarray(frame) for frame in frames)
    durations = [200] * len(rest) + [2000]  # milliseconds; the finished picture stays
    with writing(path):
        first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)
