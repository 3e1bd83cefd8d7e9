import dataclasses

import pytest
import torch

from mmada.errors import CheckpointError, ContractError
from mmada.model.transformer import RMSNorm, Transformer, attend, attention_bias, rope_tables, rotate
from tests.tiny import parity, parity_model, parity_vocab, tiny_model


@torch.no_grad()
def test_logits_equal_the_reference():
    tensors, model = parity()[1], parity_model()
    logits = model(tensors["forward.ids"])
    assert (logits - tensors["forward.logits"]).abs().max() <= 1e-5


@torch.no_grad()
def test_hidden_pads_equal_the_reference():
    tensors, model = parity()[1], parity_model()
    ids, seen = tensors["forward.ids"], tensors["forward.pad_mask"].bool()
    assert not seen.all(), "the fixture hides something"
    both_ways = seen[:, :, None] & seen[:, None, :]
    wanted = tensors["forward.logits_padmasked"]
    assert (model(ids, both_ways) - wanted).abs().max() <= 1e-5
    assert (model(ids, seen) - wanted)[seen].abs().max() <= 1e-5


@torch.no_grad()
def test_hidden_pads_are_as_if_absent_on_either_side():
    model, ids = parity_model(), torch.arange(5, 17)[None]
    alone = model(ids)
    for left, right in ((3, 0), (0, 4), (2, 2)):
        padded = torch.nn.functional.pad(ids, (left, right), value=9)
        seen = torch.nn.functional.pad(torch.ones_like(ids, dtype=torch.bool), (left, right))
        inside = model(padded, seen)[:, left : left + ids.shape[1]]
        assert (inside - alone).abs().max() <= 1e-4


@torch.no_grad()
def test_attention_policies_differ_as_they_say():
    tensors, base = parity()[1], parity_model()
    ids, seen = tensors["forward.ids"], tensors["forward.pad_mask"].bool()
    out = {}
    for policy in ("masked", "full", "plus_one"):
        model = Transformer(dataclasses.replace(base.config, attention=policy))
        model.load_state_dict(base.state_dict())
        out[policy] = model(ids, seen)
    assert torch.equal(out["full"], base(ids))
    row = ~seen.all(1)
    assert (out["plus_one"] - out["full"])[row].abs().max() > 1e-3, "+1 on some keys changes weights"
    assert (out["plus_one"] - out["masked"])[row].abs().max() > 1e-3, "+1 is no mask"


@torch.no_grad()
def test_logits_of_a_slice_are_the_slice_of_the_logits():
    model = parity_model()
    hidden = model.hidden_states(parity()[1]["forward.ids"])
    assert torch.equal(model.logits(hidden, slice(400, 464)), model.logits(hidden)[..., 400:464])


def test_attention_is_bidirectional():
    model = parity_model()
    ids = torch.arange(5, 17)[None]
    changed = ids.clone()
    changed[0, -1] = 99
    assert (model(ids)[0, 0] - model(changed)[0, 0]).abs().max() > 1e-6


def test_explicit_bf16_attention_agrees_with_the_fused_kernel():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 7, 8, generator=generator) for _ in range(3))
    bias = attention_bias(torch.rand(2, 7, generator=generator) < 0.7, "masked")
    exact = attend(q, k, v, bias)
    rough = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), bias).float()
    assert (exact - rough).abs().max() < 0.05


def test_activation_checkpointing_changes_no_gradient():
    vocab = parity_vocab()
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(vocab).train()
        model.activation_checkpointing = checkpointing
        model(torch.arange(12)[None]).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_initial_weights_are_a_function_of_the_seed_and_shrink_with_depth():
    vocab = parity_vocab()
    one, same, other = (tiny_model(vocab, seed=seed, n_layers=4) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.blocks[0].q_proj.weight, other.blocks[0].q_proj.weight)
    spread = [block.attn_out.weight.std().item() for block in one.blocks]
    assert spread == sorted(spread, reverse=True)


def test_too_long_sequences_and_odd_heads_are_refused():
    model = parity_model()
    with pytest.raises(CheckpointError, match="max_sequence_length"):
        model(torch.zeros(1, 257, dtype=torch.long))
    with pytest.raises(CheckpointError, match="heads"):
        dataclasses.replace(model.config, n_heads=7)


@pytest.mark.parametrize("bad", [-1, 480])
def test_ids_outside_the_vocabulary_are_refused(bad):
    with pytest.raises(ContractError, match=rf"found \[{min(bad, 3)}, {max(bad, 3)}\], allowed \[0, 480\)"):
        parity_model()(torch.tensor([[3, bad]]))


@pytest.mark.parametrize("autocast", [False, True])
def test_norms_and_rotary_positions_are_computed_in_fp32_whatever_the_weights(autocast):
    generator = torch.Generator().manual_seed(0)
    x = (100 * torch.randn(2, 3, 40, 16, generator=generator)).bfloat16()
    norm = RMSNorm(16, 1e-5).bfloat16()
    torch.nn.init.normal_(norm.weight, generator=generator)
    config = dataclasses.replace(parity_model().config, d_model=16, n_heads=1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        cos, sin = rope_tables(40, config, torch.device("cpu"))
        rotated, normed = rotate(x, cos, sin), norm(x)
    assert cos.dtype == sin.dtype == torch.float32
    wide = x.float()
    first, second = wide.chunk(2, dim=-1)
    assert torch.equal(rotated, (wide * cos + torch.cat([-second, first], -1) * sin).bfloat16())
    exact = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)
    assert torch.equal(normed, norm.weight * exact.bfloat16())
    in_bf16 = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
    assert not torch.equal(normed, norm.weight * in_bf16), "bf16 sums would show"
