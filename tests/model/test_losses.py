import math

import pytest
import torch

from mmada.contracts.sample import TASKS
from mmada.model import losses, tiled_log_probs
from mmada.model.losses import LOSSES, all_row_weights, by_task, row_weights, scored_tokens, token_log_probs
from tests.tiny import parity, parity_model, parity_vocab, tiny_model


@torch.no_grad()
def _loss(task, x0, x_t, is_target, p_mask, maskable):
    model = parity_model()
    log_probs = token_log_probs(model, model.hidden_states(x_t), x0, is_target, parity_vocab(), vocabulary="full")
    seen = torch.ones_like(is_target)
    weights, denominators = row_weights(LOSSES["published"][task], is_target, p_mask, maskable, seen)
    return float(-(weights * log_probs).sum() / denominators.sum())


def test_t2i_loss_equals_the_reference():
    tensors = parity()[1]
    x0, x_t = tensors["loss.t2i.x0"], tensors["loss.t2i.x_t"]
    target = torch.zeros_like(x0, dtype=torch.bool)
    target[:, 14:30] = tensors["loss.t2i.is_masked"]
    is_t2i = torch.ones(len(x0), dtype=torch.bool)
    target = scored_tokens("published", target, x0, is_t2i, parity_vocab())
    assert target[:, [13, 30]].all(), "soi and eoi"
    ones = torch.ones(x0.shape)
    assert _loss("t2i", x0, x_t, target, ones, target) == pytest.approx(float(tensors["loss.values"][0]), abs=1e-5)


@pytest.mark.parametrize(("task", "place"), [("lm", 1), ("chat", 2), ("mmu", 3)])
def test_text_losses_equal_the_reference(task, place):
    tensors = parity()[1]
    x0, x_t = tensors[f"loss.{task}.x0"], tensors[f"loss.{task}.x_t"]
    p_mask = tensors[f"loss.{task}.p_mask"].expand(x0.shape)
    maskable = torch.ones_like(x0, dtype=torch.bool)
    if task != "lm":
        maskable = ~tensors[f"loss.{task}.is_prompt"]
    value = _loss(task, x0, x_t, x_t == parity_vocab().mask, p_mask, maskable)
    assert value == pytest.approx(float(tensors["loss.values"][place]), abs=1e-5)


@pytest.mark.parametrize(("vocabulary", "text", "image"), [("full", 480, 480), ("modality", 400, 64)])
def test_a_model_that_knows_nothing_costs_log_v(vocabulary, text, image):
    vocab = parity_vocab()
    model = tiny_model(vocab)
    torch.nn.init.zeros_(model.model.transformer.ff_out.weight)
    x0 = torch.tensor([[5, 6, 401, 402]])
    every = torch.ones_like(x0, dtype=torch.bool)
    log_probs = token_log_probs(model, model.hidden_states(x0), x0, every, vocab, vocabulary=vocabulary)[0]
    assert log_probs.tolist() == pytest.approx([-math.log(n) for n in (text, text, image, image)])


def test_modality_slices_renormalise_the_full_distribution():
    model, vocab = parity_model(), parity_vocab()
    x0 = torch.tensor([[5, 6, 401, 402]])
    every = torch.ones_like(x0, dtype=torch.bool)
    hidden = model.hidden_states(x0)
    logits = model.logits(hidden)[0, 2]
    wanted = logits[400:464].log_softmax(-1)[1]
    got = token_log_probs(model, hidden, x0, every, vocab, vocabulary="modality")[0, 2]
    assert float(got.detach()) == pytest.approx(float(wanted.detach()), abs=1e-5)


def test_rows_of_a_mixed_batch_are_weighed_like_rows_of_their_own_task():
    generator = torch.Generator().manual_seed(1)
    task = torch.tensor([0, 1, 2, 3, 4, 0])
    target = torch.rand(6, 9, generator=generator) < 0.5
    p_mask = torch.rand(6, 9, generator=generator) + 0.1
    maskable, seen = torch.ones_like(target), torch.ones_like(target)
    weights, denominators = all_row_weights("published", task, target, p_mask, maskable, seen)
    for row, index in enumerate(task.tolist()):
        one = slice(row, row + 1)
        rule = LOSSES["published"][TASKS[index]]
        w, d = row_weights(rule, target[one], p_mask[one], maskable[one], seen[one])
        assert torch.equal(weights[one], w)
        assert torch.equal(denominators[one], d)
    assert by_task(torch.ones(6), task).tolist() == [2, 1, 1, 1, 1]


def test_inverse_p_weights_make_the_loss_independent_of_the_mask_ratio_in_expectation():
    generator = torch.Generator().manual_seed(2)
    for p in (0.2, 0.7):
        target = torch.rand(4000, 10, generator=generator) < p
        maskable = torch.ones_like(target)
        weights, _ = row_weights("inverse_p_per_answer", target, torch.full((4000, 10), p), maskable, maskable)
        assert float(weights.sum(1).mean()) == pytest.approx(1.0, abs=0.03)


def _gradients(model, x0, target, vocab, vocabulary):
    model.zero_grad()
    log_probs = token_log_probs(model, model.hidden_states(x0), x0, target, vocab, vocabulary=vocabulary)
    weights = torch.rand(x0.shape, generator=torch.Generator().manual_seed(3))
    (weights * log_probs).sum().backward()
    return log_probs.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("vocabulary", ["full", "modality"])
@pytest.mark.parametrize("tile", [1, 100, 999, 2**20])
def test_tiles_of_any_size_change_no_loss_and_no_gradient(monkeypatch, vocabulary, tile):
    model, vocab = parity_model(), parity_vocab()
    generator = torch.Generator().manual_seed(4)
    x0 = torch.randint(0, 464, (2, 9), generator=generator)
    target = torch.rand(2, 9, generator=generator) < 0.7
    whole, wanted = _gradients(model, x0, target, vocab, vocabulary)
    monkeypatch.setattr(losses, "_MOST_LOGITS", {"cpu": 0})
    monkeypatch.setitem(tiled_log_probs._TILE, "cpu", tile)
    tiled, got = _gradients(model, x0, target, vocab, vocabulary)
    assert (tiled - whole).abs().max() <= 1e-5
    assert max(float((a - b).abs().max()) for a, b in zip(wanted, got, strict=True)) <= 1e-5


def test_tiles_multiply_in_the_type_of_autocast():
    generator = torch.Generator().manual_seed(5)
    hidden, weight = torch.randn(7, 16, generator=generator), torch.randn(50, 16, generator=generator)
    targets = torch.randint(0, 50, (7,), generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = -torch.nn.functional.cross_entropy((hidden @ weight.T).float(), targets, reduction="none")
        tiled = tiled_log_probs.tiled_log_probs(hidden, weight, targets)
    exact = (hidden @ weight.T).log_softmax(1).gather(1, targets[:, None])[:, 0]
    assert tiled.dtype == torch.float32
    assert (tiled - whole).abs().max() <= 0.05
    assert (tiled - exact).abs().max() > 1e-5, "bf16 products were asked for"
