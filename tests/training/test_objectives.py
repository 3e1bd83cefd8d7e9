import math
from dataclasses import replace

import pytest
import torch

from mmada.contracts.sample import TASKS
from mmada.training import objectives
from mmada.training.objectives import split_rows
from mmada.training.parallel import World
from tests.tiny import tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.jobs import ALONE, masked_objective


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


@pytest.mark.parametrize("parts", [1, 3, 9])
@pytest.mark.parametrize("alike", [True, False])
def test_every_row_is_trained_once_whatever_the_split(parts, alike):
    lengths = [5, 9, 2, 7, 7, 1, 3, 8, 4]
    split = split_rows(lengths, parts, alike=alike)
    assert len(split) == parts
    assert sorted(row for part in split for row in part) == list(range(9))
    spread = max(max(lengths[row] for row in part) - min(lengths[row] for row in part) for part in split)
    assert parts == 1 or spread == {(3, True): 3, (3, False): 6, (9, True): 0, (9, False): 0}[parts, alike]


@pytest.mark.parametrize("padding", ["masked_out", "eos"])
def test_the_loss_is_the_same_however_rows_are_split(tokenizer, padding, monkeypatch):
    model = tiny_model(tiny_vocab(tokenizer))
    (whole,) = masked_objective(tokenizer, ALONE, padding=padding).parts(model, 0)
    # What all processes would tell each other.
    monkeypatch.setattr(objectives, "all_max", lambda value, world: whole.batch.ids.shape[1])
    losses = []
    for size, parts in ((1, 1), (1, 5), (2, 2)):
        every = []
        for rank in range(size):
            objective = masked_objective(tokenizer, World(rank, size), num_parts=parts, padding=padding)
            every += objective.parts(model, 0)
        totals = torch.stack([part.denominators for part in every]).sum(0)
        losses.append(sum(float(part.loss(model, totals)[0].detach()) for part in every))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


def test_a_micro_batch_without_any_target_has_gradients_of_zeros(tokenizer):
    for vocabulary in ("full", "modality"):
        model = tiny_model(tiny_vocab(tokenizer))
        (part,) = masked_objective(tokenizer, ALONE, vocabulary=vocabulary).parts(model, 0)
        part = replace(part, noised=replace(part.noised, is_target=torch.zeros_like(part.noised.is_target)))
        loss, _ = part.loss(model, part.denominators)
        loss.backward()
        assert float(loss.detach()) == 0.0
        assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())


def test_metrics_are_sums_and_counts_by_task_and_masked_share(tokenizer):
    model, objective = tiny_model(tiny_vocab(tokenizer)), masked_objective(tokenizer, ALONE)
    torch.nn.init.zeros_(model.model.transformer.ff_out.weight)  # every code is as likely as any other
    seen = torch.zeros(len(objective.metric_names), 2)
    for step in range(12):
        (part,) = objective.parts(model, step)
        seen += part.loss(model, part.denominators)[1]
    table = dict(zip(objective.metric_names, seen.tolist(), strict=True))
    for task in ("t2i", "lm", "chat", "mmu", "r2i"):
        assert table[f"loss/{task}"][1] > 0
        bins = [table[f"cross_entropy/{task}/{end}"] for end in ("0.25", "0.50", "0.75", "1.00")]
        assert sum(count > 0 for _, count in bins) >= 2
    assert table["cross_entropy/t2i/1.00"][0] / table["cross_entropy/t2i/1.00"][1] == pytest.approx(math.log(32))


def test_a_task_without_coefficient_moves_nothing(tokenizer):
    model = tiny_model(tiny_vocab(tokenizer))
    (part,) = masked_objective(tokenizer, ALONE, coefficients={}).parts(model, 0)
    loss, _ = part.loss(model, part.denominators)
    assert float(loss.detach()) == 0.0


def test_the_published_loss_of_a_drawing_also_scores_soi_and_eoi(tokenizer):
    model = tiny_model(tiny_vocab(tokenizer))
    drawings = TASKS.index("t2i")
    scored = {}
    for loss in ("published", "unified"):
        (part,) = masked_objective(tokenizer, ALONE, loss=loss).parts(model, 0)
        scored[loss] = part.noised.is_target[part.batch.task == drawings].sum(1)
        masked = part.noised.is_masked[part.batch.task == drawings].sum(1)
    assert scored["published"].tolist() == (masked + 2).tolist()
    assert scored["unified"].tolist() == masked.tolist()


@pytest.mark.parametrize("parts", [1, 2])
def test_packing_changes_nothing_but_rounding_and_leaves_less_padding(tokenizer, parts):
    model = tiny_model(tiny_vocab(tokenizer))
    losses, slots = [], []
    for packing in (False, True):
        every = masked_objective(tokenizer, ALONE, num_parts=parts, packing=packing).parts(model, 0)
        totals = torch.stack([part.denominators for part in every]).sum(0)
        losses.append(sum(float(part.loss(model, totals)[0].detach()) for part in every))
        slots.append(sum(part.work.slots for part in every))
        tokens = sum(part.work.tokens for part in every)
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert tokens <= slots[1] < slots[0]
