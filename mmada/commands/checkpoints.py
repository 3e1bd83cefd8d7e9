"""Commands that ask checkpoints, make them known and compare them."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from mmada.commands.options import AsJson
from mmada.params_schema import PARAMS_FILE, load_params

app = typer.Typer()

Magvit = Annotated[Path | None, typer.Option(help="Folder of the picture tokenizer [default: paths.magvit].")]
Size = Annotated[str | None, typer.Option(help="Side of pictures in pixels, or HEIGHTxWIDTH [default: vq.resolution].")]
Crop = Annotated[
    Literal["centre_crop", "squash", "pad"] | None,
    typer.Option(help="How a picture is brought to that size [default: vq.crop_policy]."),
]
CacheName = Literal["none", "prefix", "dual"]
Dtype = Literal["float32", "bfloat16"]
SEEDS: Final = range(-(2**63), 2**64)
"""What torch's generators take."""


@app.command(rich_help_panel="Checkpoints")
def generate(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder: config.json, safetensors, its text tokenizer.")],
    prompt: Annotated[str, typer.Argument(help="What to ask, or what to draw.")],
    about: Annotated[Path | None, typer.Option(help="Ask about this picture.", metavar="PICTURE")] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw, and write the picture here.", metavar="FILE.png")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Write the steps of the drawing, as .gif or side by side as .png.")
    ] = None,
    think: Annotated[
        bool,
        typer.Option(
            "--think",
            help="Text: ask for a thought with the published words (the demo's models think unasked). "
            "With --draw: write a plan first, then draw.",
        ),
    ] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="Text tokens to sample.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps for them, shared evenly by the blocks.")] = None,
    block: Annotated[int | None, typer.Option(min=1, help="Tokens of a block; text is filled block by block.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Gumbel noise of text; 0 is greedy.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Faster, approximate: reveal text from this confidence at once (0.9).")
    ] = None,
    cache: Annotated[
        CacheName | None, typer.Option(help="Faster, approximate: keys and values of text that are kept.")
    ] = None,
    image_steps: Annotated[int | None, typer.Option(min=1, help="Steps of a drawing.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Classifier-free guidance; 0 is none.")] = None,
    magvit: Magvit = None,
    size: Size = None,
    crop: Crop = None,
    seed: Annotated[int, typer.Option(min=SEEDS[0], max=SEEDS[-1], help="Equal seeds give equal answers.")] = 0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda or cuda:N [default: a CUDA device where there is one].", envvar="MMADA_DEVICE"),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the weights.")] = "float32",
) -> None:
    """Ask a checkpoint: text, a picture, or an answer about a picture.

    \b
    mmada generate data/models/stage3 "what is 7 + 4 - 2?"
    mmada generate data/models/stage3 "a red circle left of a blue square" --draw circle.png --frames steps.gif
    mmada generate data/models/stage3 "how many shapes are there?" --about circle.png

    What is not given is taken from params.yaml (evaluation.decoding) for models that this project made, and from the
    published settings for others: 256 tokens in blocks of 32, pictures of 512 pixels in 15 steps with guidance 3.5.
    """
    from mmada.generate import Choices, Wish, answer

    choices = Choices(
        tokens, steps, block, temperature, guidance, threshold, cache, image_steps, magvit, size, crop, seed, device,
        dtype,
    )  # fmt: skip
    text = answer(model, Wish(prompt, about, draw, frames, think), choices, PARAMS_FILE)
    if text:
        typer.echo(text)
    if draw is not None:
        typer.echo(f"drawn: {draw}", err=True)


@app.command(rich_help_panel="Checkpoints")
def tokenize(
    picture: Annotated[Path, typer.Argument(help="Picture file.")],
    out: Annotated[Path | None, typer.Option(help="File to write, .json or .npy; else they are printed.")] = None,
    magvit: Magvit = None,
    size: Size = None,
    crop: Crop = None,
) -> None:
    """The codes of one picture: a grid of numbers, row by row, one for each 16x16 pixels."""
    from mmada import generate, single_pictures

    codec = generate.open_codec(generate.Choices(magvit=magvit, size=size, policy=crop), PARAMS_FILE)
    codes = codec.encode(single_pictures.read_picture(picture))
    if out is None:
        typer.echo(single_pictures.codes_text(codes), nl=False)
    else:
        single_pictures.write_codes(codes, out)


@app.command(rich_help_panel="Checkpoints")
def detokenize(
    codes: Annotated[Path, typer.Argument(help="File of codes, .json (rows of numbers) or .npy.")],
    out: Annotated[Path, typer.Argument(help="Picture to write, .png.")],
    magvit: Magvit = None,
) -> None:
    """The picture of a grid of codes, which may have any height and width."""
    from mmada import generate, single_pictures

    codec = generate.open_codec(generate.Choices(magvit=magvit), PARAMS_FILE)
    single_pictures.write_picture(codec.decode(single_pictures.read_codes(codes)), out)


@app.command(rich_help_panel="Checkpoints")
def register(
    folder: Annotated[Path, typer.Argument(help="Model folder: config.json, safetensors, tokenizer.")],
    name: Annotated[str, typer.Argument(help="Name under which it is evaluated.")],
    external: Annotated[bool, typer.Option("--external", help="It was made elsewhere: its lineage ends here.")] = False,
) -> None:
    """Register a checkpoint in models.yaml, so that it is evaluated like those that were trained here."""
    from mmada.external_checkpoints import register_checkpoint

    entry = register_checkpoint(folder, name, load_params(PARAMS_FILE), external=external)
    typer.echo(f"{name} is {entry.origin} checkpoint {entry.id[:12]} in {entry.path}; `dvc repro evaluate@{name}`")


@app.command(rich_help_panel="Checkpoints")
def scores(
    as_json: AsJson = False,
    check_falls: Annotated[
        bool, typer.Option("--check", help="Exit with 2 when a checkpoint fell significantly against its parent.")
    ] = False,
) -> None:
    """All evaluations, by the graph and of published checkpoints: intervals, and the paired change from the parent."""
    from mmada.evaluation.graph_scores import collect_scores, score_store
    from mmada.evaluation.stored_scores import print_scores

    collect_scores(Path(), Path())
    print_scores(score_store(Path()), as_json=as_json, check=check_falls)
