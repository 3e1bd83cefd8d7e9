import numpy as np
import pytest
import torch

from mmada.contracts.sample import TASKS
from mmada.model.mask_schedules import MASK_SCHEDULES
from mmada.model.masking import NoiseRule, add_noise, mask_by_count, uniforms
from mmada.model.sequences import collate, lay_out
from tests.tiny import mixed_samples, tiny_tokenizer, tiny_vocab


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def _layouts(tokenizer):
    vocab = tiny_vocab(tokenizer)
    return [lay_out(one, tokenizer, vocab, window=8, max_length=200) for one in mixed_samples()], vocab


def _noised(layouts, vocab, rule=NoiseRule(), epoch=0, seed=7, length=None):  # noqa: B008  # frozen
    batch = collate(layouts, vocab, padding="masked_out", length=length)
    return batch, add_noise(batch, [epoch] * len(layouts), rule, mask_id=vocab.mask, seed=seed)


@pytest.mark.parametrize("r2i", ["joint", "staged"])
def test_masks_do_not_depend_on_the_batch_its_order_or_its_padding(tokenizer, r2i):
    layouts, vocab = _layouts(tokenizer)
    rule = NoiseRule(r2i=r2i)
    _, together = _noised(layouts, vocab, rule)
    backwards_batch, backwards = _noised(layouts[::-1], vocab, rule, length=150)
    for row, layout in enumerate(layouts):
        batch, alone = _noised([layout], vocab, rule)
        mirror = len(layouts) - 1 - row
        start = int(backwards_batch.start[mirror])
        assert torch.equal(alone.is_masked[0], backwards.is_masked[mirror, start : start + len(layout.ids)]), (
            layout.task
        )
        width = together.is_masked.shape[1]
        start = width - len(layout.ids) if layout.task == "t2i" else 0
        assert torch.equal(alone.x_t[0], together.x_t[row, start : start + len(layout.ids)])
        assert float(alone.p_mask[0, -1]) == float(together.p_mask[row, -1])
        assert not (alone.is_masked & ~batch.maskable).any()


def test_text_floors_hold_for_their_task_alone(tokenizer):
    layouts, vocab = _layouts(tokenizer)
    batch, _ = _noised(layouts, vocab)
    rules = (NoiseRule(), NoiseRule({"chat": 0.8}))
    published, raised = ([_noised(layouts, vocab, rule, epoch)[1].p_mask for epoch in range(60)] for rule in rules)
    chat = batch.rows("chat")
    assert min(float(p[chat].min()) for p in published) < 0.2
    assert min(float(p[chat].min()) for p in raised) >= 0.8
    assert all(torch.equal(a[~chat], b[~chat]) for a, b in zip(published, raised, strict=True))


def test_epoch_and_seed_change_the_masks(tokenizer):
    layouts, vocab = _layouts(tokenizer)
    base = _noised(layouts, vocab)[1].is_masked
    assert not torch.equal(base, _noised(layouts, vocab, epoch=1)[1].is_masked)
    assert not torch.equal(base, _noised(layouts, vocab, seed=8)[1].is_masked)
    assert torch.equal(base, _noised(layouts, vocab)[1].is_masked)


def test_prompts_and_given_pictures_are_never_masked_and_targets_are_masked(tokenizer):
    layouts, vocab = _layouts(tokenizer)
    for epoch in range(30):
        for r2i in ("joint", "staged"):
            batch, noised = _noised(layouts, vocab, NoiseRule(r2i=r2i), epoch)
            assert not (noised.is_masked & ~batch.maskable).any()
            assert not (noised.is_target & ~noised.is_masked).any()
            assert torch.equal(noised.x_t == vocab.mask, noised.is_masked)
            mmu = batch.rows("mmu")
            assert not (noised.is_masked & batch.is_image)[mmu].any()


def test_staged_thinking_before_drawing_draws_one_half_at_a_time(tokenizer):
    layouts, vocab = _layouts(tokenizer)
    thought_first = picture_given_thought = 0
    for epoch in range(60):
        batch, noised = _noised(layouts, vocab, NoiseRule(r2i="staged"), epoch)
        for row in torch.nonzero(batch.rows("r2i")).flatten().tolist():
            image = batch.is_image[row]
            if noised.is_target[row][image].any():
                picture_given_thought += 1
                assert not noised.is_masked[row][~image].any(), "the thought is given"
            else:
                thought_first += 1
                assert noised.is_masked[row][image].all(), "the picture is still hidden"
    assert min(thought_first, picture_given_thought) > 30


def test_uniforms_are_uniform_and_fit_the_key():
    draws = uniforms([str(i) for i in range(400)], [0] * 400, seed=1, purpose="x", count=50)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert (abs(counts - 2000) < 5 * np.sqrt(2000)).all()
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.2
    longer = uniforms(["3"], [0], seed=1, purpose="x", count=80)
    assert (longer[0, :50] == draws[3]).all()


def test_counted_masks_hold_the_rounded_count_and_one_at_least():
    maskable = torch.zeros(3, 20, dtype=torch.bool)
    maskable[:2, 2:18] = True
    dice = torch.rand(3, 20, generator=torch.Generator().manual_seed(0))
    is_masked, share = mask_by_count(maskable, torch.tensor([0.5, 0.0, 0.5]), dice)
    assert is_masked.sum(1).tolist() == [8, 1, 0]
    assert share.tolist() == [0.5, 1 / 16, 1.0]
    assert not (is_masked & ~maskable).any()


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_schedules_fall_from_one_to_zero(name):
    values = MASK_SCHEDULES[name](torch.linspace(0, 1, 50))
    assert float(values[0]) == pytest.approx(1.0, abs=1e-6)
    assert float(values[-1]) == pytest.approx(0.0, abs=1e-6)
    assert (values.diff() <= 1e-6).all()


def test_published_image_rate_has_its_mean(tokenizer):
    u = torch.from_numpy(uniforms([str(i) for i in range(5000)], [0] * 5000, seed=0, purpose="u", count=1))
    assert float(MASK_SCHEDULES["cosine"](u).mean()) == pytest.approx(2 / np.pi, abs=0.02)


def test_every_task_is_covered(tokenizer):
    assert {layout.task for layout in _layouts(tokenizer)[0]} == set(TASKS)
