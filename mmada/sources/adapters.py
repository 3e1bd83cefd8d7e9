"""The formats that a corpus can declare, by name."""

from typing import Final

from mmada.sources.arrow_ipc import arrow_texts, read_arrow, split_arrow
from mmada.sources.conversations import read_llava, read_messages
from mmada.sources.hugging_face import FORMAT, no_split, read_hub
from mmada.sources.image_folder import read_table_rows, split_table
from mmada.sources.json_documents import (
    read_array_or_lines,
    read_document,
    split_array_or_lines,
    split_document,
    texts_of_lines,
)
from mmada.sources.json_lines import read_lines, read_texts, split_lines
from mmada.sources.parquet import parquet_texts, read_parquet, split_parquet
from mmada.sources.raw_rows import Adapter
from mmada.sources.trajectories import without_echo
from mmada.sources.webdataset import read_tar, split_tar

_CONVERSATION: Final = (("prompt", "prompt"), ("response", "response"), ("image", "image"))

ADAPTERS: Final[dict[str, Adapter]] = {
    "jsonl": Adapter(split_lines, read_lines, texts=read_texts),
    "json_or_lines": Adapter(split_array_or_lines, read_array_or_lines, texts=texts_of_lines),
    "json": Adapter(split_document, read_document),
    "parquet": Adapter(split_parquet, read_parquet, texts=parquet_texts),
    "arrow": Adapter(split_arrow, read_arrow, texts=arrow_texts),
    "webdataset": Adapter(split_tar, read_tar),
    "image_folder": Adapter(split_table, read_table_rows),
    "llava": Adapter(split_array_or_lines, read_llava, _CONVERSATION),
    "messages": Adapter(split_array_or_lines, read_messages, _CONVERSATION),
    "trajectories": Adapter(split_array_or_lines, read_array_or_lines, response=without_echo),
    FORMAT: Adapter(no_split, read_hub),
}
