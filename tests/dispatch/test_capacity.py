"""The forecast is what a model takes, and refuses what cannot fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from mmada.dispatch.capacity import (
    Machine,
    activation_bytes,
    check_fits,
    forecast,
    num_weights,
    refuse_idle_processes,
)
from mmada.dispatch.machines import named_machine
from mmada.dispatch.plans import print_forecast
from mmada.errors import CapacityError, ParamsError
from mmada.model import transformer
from mmada.model.transformer import Transformer, TransformerConfig
from mmada.params_patch import patch_params
from mmada.params_schema import load_params
from mmada.params_training import TrainingBlock
from mmada.training.optimisers import make_optimisers, state_tensors

PUBLISHED = TransformerConfig(4096, 32, 32, 12288, 134656, 4096)
TOKENS = 512
ROOT = Path(__file__).resolve().parents[2]


def _block(*, batch_size: int = 32, **change: Any) -> TrainingBlock:
    return _of_batches(load_params(ROOT / "params.yaml").training["stage1"], batch_size, **change)


def _of_batches(block: TrainingBlock, batch_size: int, **change: Any) -> TrainingBlock:
    """The block with other micro-batches, if it has any, and other changes."""
    raw = block.model_dump() | change
    if block.masked_prediction is not None:
        raw["masked_prediction"] |= {"batch_size": batch_size}
    return TrainingBlock.model_validate(raw)


@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_states_are_those_of_the_published_model_on_the_meta_device(muon):
    with torch.device("meta"):
        model = Transformer(PUBLISHED)
    assert sum(one.numel() for one in model.parameters()) == num_weights(PUBLISHED) == 8_082_690_048
    optimisers = make_optimisers(
        model, learning_rate=1e-4, muon_learning_rate=muon, weight_decay=0.01, betas=(0.9, 0.95)
    )
    sizes = [parameter.nbytes for parameter in model.parameters()]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            sizes += [one.nbytes for p in group["params"] for one in state_tensors(optimiser, p).values()]
    optimiser = _block().optimiser.model_dump() | {"muon_learning_rate": muon}
    needs = forecast(PUBLISHED, _block(optimiser=optimiser, ema_decay=0.0), processes=1, length=1024, flops=None)
    assert needs.device["weights, moments, average"] == pytest.approx(sum(sizes), rel=1e-3)


def _kept_bytes(model: Transformer) -> int:
    """What autograd keeps of a forward pass over TOKENS tokens, the weights left out."""
    ids = torch.zeros(4, TOKENS // 4, dtype=torch.long)
    kept: dict[int, torch.UntypedStorage] = {}
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.hidden_states(ids, torch.ones_like(ids, dtype=torch.bool))
    assert hidden.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("layers", [2, 4])
def test_activations_are_what_autograd_keeps(layers):
    config = TransformerConfig(256, layers, 4, 768, 512, 256)
    block = _block(precision="fp32", activation_checkpointing=False)
    kept = _kept_bytes(Transformer(config).train())
    assert activation_bytes(config, block, TOKENS) == pytest.approx(kept, rel=0.1)


def test_in_bf16_each_matrix_keeps_its_own_input_and_a_copy_of_itself(monkeypatch):
    config = TransformerConfig(256, 2, 4, 768, 512, 256)
    model = Transformer(config).train()
    # The CPU's own attention keeps scores, which CUDA's does not.
    monkeypatch.setattr(transformer, "attend", lambda q, k, v, bias: scaled_dot_product_attention(q, k, v.to(q.dtype)))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        kept = _kept_bytes(model)
    block = _block(precision="bf16", activation_checkpointing=False)
    copies = 2 * sum(one.numel() for one in model.parameters() if one.dim() == 2) - 4 * 512 * 256
    assert activation_bytes(config, block, TOKENS) + copies == pytest.approx(kept, rel=0.1)


def test_what_cannot_fit_is_refused_with_the_number_that_fails():
    block = _block(precision="bf16", activation_checkpointing=True, batch_size=64)
    room = Machine(device_memory=80 * 10**9, host_memory=10**12, disk=10**13, flops=989e12)
    alone = forecast(PUBLISHED, block, processes=1, length=1536, flops=room.flops)
    with pytest.raises(CapacityError, match=r"device's memory: needs [\d.]+ GB .*weights.* has 80.0 GB"):
        check_fits(alone, room)
    many = forecast(PUBLISHED, block, processes=64, length=1536, flops=room.flops)
    check_fits(many, room)
    assert many.seconds == pytest.approx(alone.seconds / 64)
    with pytest.raises(CapacityError, match=r"the disk: needs 2[\d.]+ GB"):
        check_fits(many, Machine(80 * 10**9, 10**12, 10**9, None))


def test_keeping_few_checkpoints_needs_less_disk():
    every = _block(publish_every=1, keep_published={"last": 0})
    few = _block(publish_every=1, keep_published={"last": 2})
    needs = [forecast(PUBLISHED, block, processes=8, length=512, flops=None).disk for block in (every, few)]
    assert needs[0] - needs[1] == (every.max_steps - 1 - 2) * 4 * num_weights(PUBLISHED)


@pytest.mark.parametrize(("processes", "device"), [(64, "A100"), (8, "H200")])
def test_the_published_recipe_fits_the_machines_that_its_plans_name(tmp_path, processes, device):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    params = patch_params(tmp_path / "params.yaml", ROOT / "docs" / "params" / "published_8b.yaml")
    assert list(params.training) == ["stage1_1", "stage1_2", "stage1_3", "stage2_1", "stage2_2", "stage3_unigrpo"]
    for block in params.training.values():
        share = 64 // processes
        parts = block.grad_accumulation * share
        block = _of_batches(block, block.samples_per_step // parts, grad_accumulation=parts)
        needs = forecast(PUBLISHED, block, processes=processes, length=1539, flops=None)
        check_fits(needs, named_machine(device))


def test_a_process_without_a_row_is_refused() -> None:
    block = _block(batch_size=4, grad_accumulation=3)
    refuse_idle_processes(block, "stage1", 4)
    with pytest.raises(ParamsError, match=r"training\.stage1\.masked_prediction\.batch_size is 4"):
        refuse_idle_processes(block, "stage1", 5)
    learned = load_params(ROOT / "params.yaml").training["stage3"]
    assert learned.unigrpo is not None
    few = learned.unigrpo.model_copy(update={"prompts_per_iteration": 4, "group_size": 2})
    block = learned.model_copy(update={"unigrpo": few, "grad_accumulation": 4})
    refuse_idle_processes(block, "stage3", 2)
    with pytest.raises(ParamsError, match="2 leave a process of 4 fewer rollouts"):
        refuse_idle_processes(block, "stage3", 4)


def test_the_forecast_is_of_params_whatever_was_made_before(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params, machine = load_params(project / "params.yaml"), named_machine("A100")
    print_forecast(params, "stage1", machine, processes=1, length=64)
    before = capsys.readouterr().out
    made = project / "data/models/init"
    made.mkdir(parents=True)
    sizes = {"d_model": 8, "n_layers": 1, "n_heads": 2, "mlp_hidden_size": 8, "max_sequence_length": 8, "vocab_size": 8}
    (made / "config.json").write_text(json.dumps(sizes))
    print_forecast(params, "stage1", machine, processes=1, length=64)
    assert capsys.readouterr().out == before
