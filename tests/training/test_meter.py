"""What a run measures of itself."""

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmada.model.flops import training_flops
from tests.tiny import tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.jobs import ALONE, masked_objective
from tests.training.runs import run


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


@pytest.mark.parametrize("vocabulary", ["full", "modality"])
def test_the_formula_counts_what_torch_counts(tokenizer, vocabulary):
    model = tiny_model(tiny_vocab(tokenizer), d_model=64, n_layers=3)
    (part,) = masked_objective(tokenizer, ALONE, vocabulary=vocabulary).parts(model, 0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        part.loss(model, part.denominators)[0].backward()
    assert training_flops(model.config, part.work) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_every_logged_step_says_how_fast_it_was_and_what_was_padded(tokenizer, tmp_path):
    objective = masked_objective(tokenizer, ALONE, num_parts=2)
    log = run(tokenizer, tmp_path, 2, objective=objective).log
    parts = objective.parts(tiny_model(tiny_vocab(tokenizer)), 1)
    tokens, slots = (sum(getattr(part.work, name) for part in parts) for name in ("tokens", "slots"))
    assert log[2]["padding_share"] == pytest.approx(1 - tokens / slots)
    assert 0 < log[2]["data_wait"] < 1
    assert log[2]["flops_per_second"] > log[2]["tokens_per_second"] > 0
    assert "mfu" not in log[2], "the peak of this processor is not known"
