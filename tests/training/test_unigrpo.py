import numpy as np
import pytest
import torch

from mmada.errors import ContractError
from mmada.model.image_sampling import ImageSampling
from mmada.model.sequences import Row
from mmada.model.text_sampling import TextSampling
from mmada.training.loop import train
from mmada.training.objectives import Material
from mmada.training.policy_gradient import group_advantages
from mmada.training.rollouts import RolloutSettings, pack_phase, unpack_phase
from mmada.training.unigrpo import UniGrpo, UniGrpoSettings
from tests.tiny import sample, tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.jobs import ALONE, settings


class Memory(dict):
    """A store in memory."""

    def put(self, key, data):
        self[key] = data


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def share_of_vowels(*, prompt, completion, reference, pixels):
    """A reward that any model can raise: how much of the answer is the reference letter."""
    return sum(c == reference for c in completion) / max(1, len(completion))


def dark(*, prompt, completion, reference, pixels):
    """Share of low codes in a picture (pixels are codes here)."""
    return float((pixels < 8).mean())


PROMPTS = [
    sample("p0", "chat", "one", reference="e"),
    sample("p1", "mmu", "two", codes=1, reference="e"),
    sample("p2", "t2i", "red", codes=2),
    sample("p3", "r2i", "red", codes=3, reference="e"),
]
REWARDS = {"vowels": share_of_vowels, "dark": dark}
WEIGHTS = {
    "chat": {"vowels": 1.0}, "mmu": {"vowels": 2.0}, "t2i": {"dark": 1.0}, "r2i": {"dark": 1.0, "vowels": 0.5}
}  # fmt: skip


def _objective(tokenizer, store, *, prompts=PROMPTS, group=4, initial=None, run="x", **change):
    vocab = tiny_vocab(tokenizer)
    values = {
        "rollouts": RolloutSettings(group, TextSampling(4, 2, 4, temperature=1.0), ImageSampling(2)),
        "inner_updates": 2, "spacing": "formula", "clip": 0.2, "kl_weight": 0.01, "kl_reference": "old",
        "reward_weights": WEIGHTS, "vocabulary": "modality",
    }  # fmt: skip
    advantage = change.pop("advantage", group_advantages)
    keys = [prompt.key for prompt in prompts]
    material = Material(lambda i: [Row(p, i) for p in prompts], lambda i: keys, tokenizer, vocab, ALONE, 1, 1)
    return UniGrpo(
        material,
        UniGrpoSettings(**(values | change)),
        REWARDS,
        store,
        run,
        lambda codes: codes.numpy()[..., None].repeat(3, -1).astype(np.uint8),
        initial,
        advantage,
    )


def _run(model, objective, steps, state_dir, **change):
    log = []
    train(
        model,
        objective,
        settings(steps, **change),
        state_dir=state_dir,
        world=ALONE,
        on_metrics=lambda step, values: log.append(dict(values)),
        publish=lambda step: None,
        label="rl",
    )
    return log


def test_prompts_are_never_masked_and_scored_tokens_are_the_sampled_ones(tokenizer):
    model = tiny_model(tiny_vocab(tokenizer))
    objective = _objective(tokenizer, Memory())
    for step in range(4):
        (part,) = objective.parts(model, step)
        assert not (part.is_target & (part.x_t != tiny_vocab(tokenizer).mask)).any()
        changed = part.x_t != part.x0
        assert torch.equal(changed & ~part.is_target, changed & ~part.is_target & part.attendable)
        assert part.is_target.any(1).all(), "every answer has a scored token"
        pictures = part.x0[8:12] >= tiny_vocab(tokenizer).num_text
        assert not (part.is_target[8:12] & ~pictures).any(), "t2i scores its picture only"


def test_the_first_update_has_ratio_one_and_phases_are_made_once(tokenizer, tmp_path):
    store, model = Memory(), tiny_model(tiny_vocab(tokenizer))
    objective = _objective(tokenizer, store)
    (part,) = objective.parts(model, 0)
    _, metrics = part.loss(model, part.denominators)
    table = dict(zip(objective.metric_names, metrics.tolist(), strict=True))
    assert table["clip_share"][0] == 0
    assert table["kl"][0] == pytest.approx(0, abs=1e-5)
    assert len(store) == 2
    kept = dict(store)
    objective.parts(tiny_model(tiny_vocab(tokenizer), seed=9), 1)
    assert dict(store) == kept, "the second update of an iteration makes no new phase"
    objective.parts(model, 2)
    assert len(store) == 4


def test_phases_survive_the_store_and_a_killed_run_ends_with_the_same_bytes(tokenizer, tmp_path):
    vocab = tiny_vocab(tokenizer)
    data = next(iter(_filled_store(tokenizer, vocab).values()))
    keys = tuple("k" for _ in range(16))
    assert pack_phase(unpack_phase(data, keys)) == data
    straight, cut, store = tiny_model(vocab), tiny_model(vocab), Memory()
    _run(straight, _objective(tokenizer, Memory()), 6, tmp_path / "a", checkpoint_every=2)

    class KilledError(Exception):
        pass

    def die(rewards):
        if len(store) >= 5:
            raise KilledError
        return group_advantages(rewards)

    with pytest.raises(KilledError):
        _run(cut, _objective(tokenizer, store, advantage=die), 6, tmp_path / "b", checkpoint_every=2)
    resumed = tiny_model(vocab)
    _run(resumed, _objective(tokenizer, store), 6, tmp_path / "b", checkpoint_every=2)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def _filled_store(tokenizer, vocab):
    store = Memory()
    _objective(tokenizer, store).parts(tiny_model(vocab), 0)
    return store


def test_the_reference_of_the_divergence_is_the_named_one(tokenizer):
    vocab = tiny_vocab(tokenizer)
    initial, model = tiny_model(vocab), tiny_model(vocab, seed=5)
    names = _objective(tokenizer, Memory()).metric_names
    kl = {}
    for name in ("old", "init"):
        objective = _objective(tokenizer, Memory(), kl_reference=name, initial=initial)
        (part,) = objective.parts(model, 0)
        kl[name] = part.loss(model, part.denominators)[1][names.index("kl"), 0]
    assert float(kl["old"]) == pytest.approx(0, abs=1e-5)
    assert float(kl["init"]) > 0.01


def test_groups_that_teach_nothing_are_counted(tokenizer):
    objective = _objective(tokenizer, Memory(), prompts=[sample("q", "chat", "one", reference="no letter")])
    model = tiny_model(tiny_vocab(tokenizer))
    (part,) = objective.parts(model, 0)
    loss, metrics = part.loss(model, part.denominators)
    total, count = metrics[objective.metric_names.index("zero_variance_groups")].tolist()
    assert total == count == 4
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)


def test_a_task_without_rewards_is_refused(tokenizer):
    objective = _objective(tokenizer, Memory(), reward_weights={"chat": {"vowels": 1.0}})
    with pytest.raises(ContractError, match="no entry for task"):
        objective.parts(tiny_model(tiny_vocab(tokenizer)), 0)


def shuffled(seed):
    """Advantages that are right in size and wrong in place."""
    generator = np.random.default_rng(seed)
    return lambda rewards: generator.permuted(group_advantages(rewards), axis=1)


def _gain(tokenizer, task, advantage, name, state_dir):
    """Mean reward of the last ten updates above that of the first four."""
    codes = (lambda n: n) if task == "t2i" else (lambda n: None)
    prompts = [sample(f"{task}-{n}", task, "one", codes=codes(n), reference="e") for n in range(4)]
    objective = _objective(tokenizer, Memory(), prompts=prompts, group=12, advantage=advantage, run=name, kl_weight=0.0)
    model = tiny_model(tiny_vocab(tokenizer))
    log = _run(model, objective, 60, state_dir / name, learning_rate=3e-3, min_learning_rate=3e-3)
    rewards = [values[f"reward/{task}/total"] for values in log]
    return np.mean(rewards[-10:]) - np.mean(rewards[:4])


@pytest.mark.parametrize("task", ["chat", "t2i"])
def test_reward_rises_and_does_not_rise_when_advantages_are_shuffled(tokenizer, tmp_path, task):
    right = _gain(tokenizer, task, group_advantages, "right", tmp_path)
    wrong = [_gain(tokenizer, task, shuffled(seed), f"wrong-{seed}", tmp_path) for seed in range(6)]
    assert right > 0.35
    assert np.mean(wrong) < 0.1, "shuffled advantages drift without direction"
