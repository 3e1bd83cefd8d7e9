"""Sections of params.yaml about data: from raw corpora to shards and benchmarks."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from mmada.params_section import Count, Number, Positive, Section, Seed, Share, TaskName


class CorpusCounts(Section):
    """How many clean rows of each kind the embedded corpus holds."""

    pictures: Positive
    questions: Positive
    drawings: Positive
    problems: Positive
    texts: Positive
    heldout_problems: Positive
    heldout_questions: Positive
    heldout_prompts: Positive


class Dirt(Section):
    """How many rows of each defect are planted, named by the reason that the drop ledger must give."""

    malformed_json: Count
    image_truncated: Count
    image_mislabelled: Count
    row_too_long: Count
    duplicate_exact: Count
    duplicate_near: Count
    answer_wrong: Count
    thought_unclosed: Count
    thought_loop: Count
    contaminated: Count


class DemoCorpus(Section):
    """The embedded corpus, made from a seed."""

    seed: Seed
    counts: CorpusCounts
    dirt: Dirt


Format = Literal[
    "jsonl",
    "json",
    "parquet",
    "arrow",
    "webdataset",
    "image_folder",
    "llava",
    "messages",
    "trajectories",
    "huggingface",
]
REQUIRED_FIELDS: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "t2i": ("prompt", "image"),
    "lm": ("response",),
    "chat": ("prompt",),
    "mmu": ("prompt", "image"),
    "r2i": ("prompt", "response", "image"),
}
"""What a row must have for each task. Without a response a chat or mmu row serves reinforcement learning only, and is
kept where `selection.leave_out` names answer_missing."""
_FROM_FORMAT: Final = dict.fromkeys(("llava", "messages"), ("prompt", "response", "image"))


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"reference_pattern {pattern!r} is no regular expression: {error}") from None
    if pattern and groups != 1:
        raise ValueError(f"reference_pattern {pattern!r} has {groups} groups; it needs one, around the answer")


def _check_glob(files: str) -> None:
    parts = PurePosixPath(files).parts
    if not parts or {"/", ".."} & set(parts) or any("**" in part and part != "**" for part in parts):
        raise ValueError(f"files {files!r} is no glob below `path`; '**' stands alone between slashes: '**/*.jsonl'")


class CaptionFile(Section):
    """Captions of WebDataset samples in a file beside the tars: JSON (key -> caption), JSON lines or parquet."""

    file: str
    """Its name; `{stem}` stands for the tar's, where each tar has one of its own ("{stem}.parquet")."""
    key: str = "key"
    """Column with the sample's key."""
    column: str = "caption"
    """Column with the caption; samples then have a field of this name."""


class Corpus(Section):
    """One raw corpus: where it lies, how it is written (declared, never guessed), what it is used for."""

    path: str
    format: Format
    task: TaskName
    files: str = "**/*"
    """Glob of the files to read below `path`."""
    columns: dict[Literal["prompt", "response", "reference", "image", "kind", "thought"], str] = Field(
        default_factory=dict
    )
    """Our field -> the corpus's column. A response or reference may be absent; a thought in a column of its own is put
    before the response."""
    prompt: str = ""
    """A fixed prompt for corpora whose rows have none (captioning)."""
    reference_pattern: str = ""
    """Regular expression with one group that finds the gold answer in the reference column (GSM8K: '#### (.+)')."""
    image_path: str = "{}"
    """Where a picture lies below `path`; `{}` stands for the image column ("images/{}.png")."""
    sidecar: str = ""
    """A JSON file beside each data file whose fields all rows of that file inherit (R1 dumps: problem.json)."""
    captions: CaptionFile | None = None
    """Where captions stand in a file of their own; a sample without one is dropped as missing_field."""
    max_rows: Positive | None = None
    """Read only the first raw rows of the corpus (smoke runs): lines, table rows, samples, conversations."""
    config: str = ""
    """Configuration of a Hugging Face dataset that has several."""
    split: str = "train"
    """Split of a Hugging Face dataset."""
    source: str
    licence: str

    @model_validator(mode="after")
    def _columns_fit(self) -> "Corpus":
        if self.captions and (self.format != "webdataset" or self.sidecar):
            raise ValueError("`captions` are joined by the keys of webdataset samples, and exclude a `sidecar`")
        given = {*self.columns, *_FROM_FORMAT.get(self.format, ()), *(["prompt"] if self.prompt else [])}
        absent = sorted(set(REQUIRED_FIELDS[self.task]) - given)
        if absent:
            raise ValueError(f"task {self.task} needs a column for each of {absent}: declare them in `columns`")
        _check_pattern(self.reference_pattern)
        _check_glob(self.files)
        return self


class Ingest(Section):
    """Limits that bound what one raw row may cost, and the sizes of what is written."""

    max_row_bytes: Positive
    max_image_bytes: Positive
    max_image_pixels: Positive
    max_json_depth: Positive
    rows_per_unit: Positive
    pictures_per_part: Positive
    """Pictures in one file of ingested pictures and of codes; what is appended rewrites the last of each span."""


class TextTokenizer(Section):
    """Byte-level BPE fitted on the ingested text, or a published folder."""

    folder: str
    """Folder of a published tokenizer to use unchanged; empty: fit one."""
    vocab_size: Positive
    rows: Positive
    """Rows to fit on, taken in order of row_id."""


class Vq(Section):
    """The MAGVIT-v2 picture tokenizer: given weights, or a small one fitted here."""

    weights: str
    """Folder with published weights; empty: fit."""
    resolution: Positive
    crop_policy: Literal["centre_crop", "squash", "pad"]
    threads: Positive
    ch: Positive
    ch_mult_encoder: tuple[Positive, ...]
    ch_mult_decoder: tuple[Positive, ...]
    num_res_blocks_encoder: tuple[Positive, ...]
    num_res_blocks_decoder: tuple[Positive, ...]
    z_channels: Positive
    steps: Count
    batch_size: Positive
    crop: Positive
    """Side of the training crops in pixels, a multiple of the network's factor."""
    mosaic_share: Share
    """Share of each batch that is put together from tiles of different pictures."""
    learning_rate: Annotated[Number, Field(gt=0)]
    save_every: Positive
    max_pictures: Positive
    """Pictures to fit on, taken in order of their sha256."""
    seed: Seed


class Benchmark(Section):
    """A held-out set of items."""

    path: str
    kind: Literal["reasoning", "vqa", "pictures"]
    format: Literal["questions", "picture_specs"]
    columns: dict[Literal["prompt", "reference", "image", "kind", "spec"], str]
    reference_pattern: str = ""
    image_path: str = "{}"
    """Where a picture lies beside the file at `path`; `{}` stands for the image column."""
    first_row: Count = 0
    max_items: Positive


class Decontamination(Section):
    """When a row counts as holding a benchmark item."""

    ngram: Positive
    containment: Share


class Annotation(Section):
    """How facts are computed (changing one recomputes facts)."""

    minhash_permutations: Positive
    shingle: Positive
    near_duplicate_floor: Share
    """Pairs below this Jaccard similarity are not recorded, so a selection threshold cannot go lower."""
    near_picture_floor: Share
    """Likewise for the similarity of pictures (curation.alike_pictures)."""
    embeddings: str
    """Parquet file with `row_id` and `embedding`, made by any encoder (curation.semantic_duplicates); empty: none."""
    semantic_floor: Share
    """Likewise for the cosine similarity of embeddings."""
    scores: str
    """Parquet file with `row_id` or `image_sha256` and a column for each kind of score (curation.given_scores); empty:
    none."""
    decontamination: Decontamination
    verify_seconds: Annotated[Number, Field(gt=0)]


PersonalData = Literal["email", "phone", "ip_address", "card_number", "iban", "us_social_security"]
"""Kinds that curation.personal_data finds."""


class ScoreLimit(Section):
    """What a given score may be."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "ScoreLimit":
        if self.min is None and self.max is None:
            raise ValueError("give min, max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no score would pass")
        return self

    def __repr__(self) -> str:
        ends = (("min", self.min), ("max", self.max))
        return " and ".join(f"{name} {value}" for name, value in ends if value is not None)


class Selection(Section):
    """Thresholds: which rows are kept. Moving one re-runs selection and what follows, nothing before."""

    max_text_tokens: Positive
    min_thought_words: Count
    max_loop_share: Share
    max_prompt_share: Share
    max_excess_repetition: Number
    """Multiple of Gopher's limits of repetition in plain text."""
    near_duplicate: Share
    """Jaccard similarity of word shingles from which on two texts of one task and picture are duplicates."""
    semantic_duplicate: Share
    """Cosine similarity of given embeddings from which on two rows of one task are duplicates."""
    languages: list[str]
    """Wanted ISO 639-1 codes; empty: all. A row that is too short to tell passes."""
    verifiable_only: bool
    image_near_duplicate: Share
    """Similarity from which on two pictures with one text are duplicates: no sixteenth by sixteenth of them differs
    by more than the rest of 1 in its mean colour."""
    require_correct: bool
    min_pass_rate: Share
    max_pass_rate: Share
    max_rows_per_question: Count
    """Kept rows that ask one question (of one picture); 0: all of them."""
    min_psnr: Number
    min_pixel_std: Number
    """Of a picture's pixels, in [0, 127.5]; below it is an empty page or one colour (image_flat)."""
    min_structure: Share
    """Below it a picture is noise (image_noise)."""
    max_lost_share: Share
    """A picture that has lost more is broken (image_broken): half of it grey, as decoders leave truncated files."""
    min_image_side: Positive
    """Shorter side of a picture's file, in pixels; a smaller one would be enlarged (image_small)."""
    max_image_aspect: Annotated[Number, Field(ge=1)]
    """Longer side by the shorter one; a crop to a square shows little of a longer one (image_elongated)."""
    max_blur: Share
    """Blur (Crete et al. 2007) of a picture's file, above which nothing in it is sharp (image_blurred)."""
    score_limits: dict[str, ScoreLimit]
    """By the name of a given score (annotation.scores); what has no score passes."""
    unwanted_personal_data: tuple[PersonalData, ...]
    """Kinds of personal data for which a row is dropped."""
    max_language_switches: Count
    leave_out: tuple[str, ...]
    """Reasons for which no row is dropped: `mmada ablate` measures what a filter is worth."""


NO_REFERENCE: Final = "none"
"""What stands in `gate.reference` when the rows are compared with no earlier version."""
VERSION_NAME: Final = r"^[a-z0-9][a-z0-9._-]{0,60}$"
"""What a data version may be called."""

Said = Annotated[str, Field(pattern=r"\S")]


class GateOverride(Section):
    """Lets one check that fails pass, for one version of the selected rows alone."""

    check: Said
    """Name of the check, as the gate's message gives it."""
    selected: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Id of the selected rows that it is meant for."""
    who: Said
    why: Said


class Gate(Section):
    """Limits of the validation gate; a limit that fails stops the pipeline."""

    min_rows: Positive
    max_drop_share: Share
    min_rows_per_task: dict[TaskName, Count]
    max_text_tokens: Positive
    min_correct_share: Share
    """Smallest share of correct answers among kept rows whose answer can be checked."""
    reference: Annotated[str, Field(pattern=VERSION_NAME)]
    """Name of the data version (`mmada promote`) whose distributions are compared with; `none`: no comparison."""
    max_shift: Share
    """Share of the rows that a distribution may have moved from the reference's, where chance does not explain it."""
    overrides: tuple[GateOverride, ...]


class Shards(Section):
    """Size of a WebDataset shard."""

    samples_per_shard: Positive
    """On average: boundaries depend on the samples themselves (shards.boundaries)."""
