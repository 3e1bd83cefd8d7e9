"""On a CUDA device: the loop trains there, agrees with the CPU, and continues where it was (`make test-gpu`)."""

import contextlib

import pytest
import torch

from mmada.model.transformer import compile_blocks
from mmada.training.loop import train
from tests.tiny import tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.jobs import ALONE, masked_objective, settings

pytestmark = pytest.mark.gpu


@pytest.fixture
def device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def _losses(tokenizer, state_dir, device, steps, *, stop_at=None, compiled=False, **change):
    """Step -> loss of every task."""
    model = tiny_model(tiny_vocab(tokenizer)).to(device)
    if compiled:
        compile_blocks(model)
    log = {}

    def on_metrics(run, step, values):
        log[step] = {name: value for name, value in values.items() if name.startswith("loss/")}
        if step == stop_at:
            raise KeyboardInterrupt

    objective = masked_objective(tokenizer, ALONE, fixed_noise=True)
    options = {"state_dir": state_dir, "world": ALONE, "publish": lambda step: None, "label": "test"}
    with contextlib.suppress(KeyboardInterrupt):
        train(model, objective, settings(steps, **change), on_metrics=on_metrics, **options)
    return log


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_the_loss_on_a_fixed_batch_falls(tokenizer, tmp_path, device, precision, muon):
    log = _losses(tokenizer, tmp_path, device, 60, precision=precision, muon_learning_rate=muon)
    for task in ("loss/t2i", "loss/lm", "loss/r2i"):
        assert log[60][task] < 0.5 * log[1][task], task


def test_the_first_steps_equal_those_on_the_cpu(tokenizer, tmp_path, device):
    there = _losses(tokenizer, tmp_path / "there", device, 5)
    here = _losses(tokenizer, tmp_path / "here", torch.device("cpu"), 5)
    for step, losses in here.items():
        assert there[step] == pytest.approx(losses, rel=1e-3), step


def test_compiled_blocks_train_alike(tokenizer, tmp_path, device):
    eager = _losses(tokenizer, tmp_path / "eager", device, 5)
    compiled = _losses(tokenizer, tmp_path / "compiled", device, 5, compiled=True)
    for step, losses in eager.items():
        assert compiled[step] == pytest.approx(losses, rel=1e-3), step


@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_a_stopped_run_continues(tokenizer, tmp_path, device, muon):
    options = {"checkpoint_every": 2, "muon_learning_rate": muon}
    straight = _losses(tokenizer, tmp_path / "straight", device, 8, **options)
    _losses(tokenizer, tmp_path / "cut", device, 8, stop_at=5, **options)
    later = _losses(tokenizer, tmp_path / "cut", device, 8, **options)
    assert list(later) == [5, 6, 7, 8]
    for step, losses in later.items():
        assert losses == pytest.approx(straight[step], rel=1e-2), step
