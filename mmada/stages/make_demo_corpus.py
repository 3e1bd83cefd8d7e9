"""Make the embedded corpus from its seed."""

from pathlib import Path
from typing import Final

from mmada.demo_corpus import CorpusSizes, DirtCounts, make_corpus
from mmada.params_data import DemoCorpus
from mmada.stage_report import StageReport

VERSION: Final = 4
OUT: Final = "demo_corpora"
KEYED_BY: Final = "demo_corpora"


def make_demo_corpus(*, out: Path, demo_corpora: DemoCorpus) -> StageReport:
    """Scenes, questions, drawings, problems and texts, with dirt planted in known numbers (`planted.json`)."""
    sizes = CorpusSizes(**demo_corpora.counts.model_dump())
    dirt = DirtCounts(**demo_corpora.dirt.model_dump())
    make_corpus(out, seed=demo_corpora.seed, sizes=sizes, dirt=dirt)
    return StageReport(metrics={"planted": demo_corpora.dirt.model_dump()})
