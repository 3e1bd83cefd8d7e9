"""`mmada show`: look at a row or a picture by its id."""

from pathlib import Path
from typing import Annotated

import typer

from mmada.commands.options import AsJson
from mmada.params_schema import PARAMS_FILE, load_params

show = typer.Typer(no_args_is_help=True, help="Look at a row or a picture by its id.")
app = typer.Typer()
app.add_typer(show, name="show", rich_help_panel="Data")

Out = typer.Option(metavar="FILE.png", help="Write the picture, as the tokenizer saw it and as its codes give it back.")


@show.command()
def rows(
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ROW...",
            help="A row_id, its first digits (6 or more), or the place of a raw row: captions/captions.jsonl:17.",
        ),
    ],
    picture: Annotated[Path | None, Out] = None,
    as_json: AsJson = False,
) -> None:
    """What a row says, every raw row with its content, what became of it and why, and where it lies in shards."""
    from mmada.show import known_rows, printing

    params = load_params(PARAMS_FILE)
    found = known_rows.find_rows(ids, params)
    if as_json:
        typer.echo(printing.as_json([printing.row_json(row) for row in found]))
    else:
        typer.echo("\n\n".join("\n".join(printing.row_lines(row)) for row in found))
    if picture is not None:
        from mmada.show.side_by_side import write_side_by_side

        write_side_by_side(known_rows.only_picture(found), picture, params)


@show.command()
def image(
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="Of the picture file, or its first digits.")],
    out: Annotated[Path | None, Out] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Print its codes too, a row of the grid a line.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a picture is, what its codes are worth, where they lie, and which rows show it."""
    from mmada.show import known_pictures, printing

    params = load_params(PARAMS_FILE)
    shown = known_pictures.find_picture(sha256, params)
    if as_json:
        typer.echo(printing.as_json(printing.shown_picture_json(shown, with_codes=codes)))
    else:
        lines = [*printing.shown_picture_lines(shown), *(printing.grid_lines(shown.picture) if codes else [])]
        typer.echo("\n".join(lines))
    if out is not None:
        from mmada.show.side_by_side import write_side_by_side

        write_side_by_side(shown.picture, out, params)
