import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from mmada.errors import ContractError
from mmada.training.likelihoods import NoiseRule
from mmada.training.phases import RewardWeights
from mmada.training.policy_gradient import DIVERGENCES, standardised
from mmada.training.rollouts import pack_group, unpack_group
from tests.tiny import sample, tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.runs import run
from tests.training.toy_unigrpo import PROMPTS, WEIGHTS, Memory, codes_as_pixels, score, toy


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tiny_vocab(tokenizer))


def _metrics(objective, model, step=0):
    """Sum and count by name, and the loss, over all micro-batches of a step."""
    parts = objective.parts(model, step)
    totals = sum(part.denominators for part in parts)
    losses, metrics = zip(*[part.loss(model, totals) for part in parts], strict=True)
    return dict(zip(objective.metric_names, sum(metrics).tolist(), strict=True)), float(sum(losses).detach())


def test_prompts_are_never_masked_and_scored_tokens_are_the_sampled_ones(tokenizer, model):
    vocab = tiny_vocab(tokenizer)
    objective = toy(tokenizer, Memory())
    for step in range(4):
        (part,) = objective.parts(model, step)
        assert not (part.is_target & (part.x_t != vocab.mask)).any()
        changed = part.x_t != part.x0
        assert torch.equal(changed & ~part.is_target, changed & ~part.is_target & part.attendable)
        assert part.is_target.any(1).all(), "every answer has a scored token"
        pictures = part.x0[8:12] >= vocab.num_text
        assert not (part.is_target[8:12] & ~pictures).any(), "t2i scores its picture only"


def test_the_first_update_has_ratio_one_and_phases_are_made_once(tokenizer, model):
    store = Memory()
    objective = toy(tokenizer, store)
    table, _ = _metrics(objective, model)
    assert table["clip_share"][0] == 0
    assert table["kl"][0] == pytest.approx(0, abs=1e-5)
    kept = dict(store)
    assert len(kept) > len(PROMPTS), "a unit for each group of answers, and one for each answer's scores"
    objective.parts(tiny_model(tiny_vocab(tokenizer), seed=9), 1)
    assert dict(store) == kept, "the second update of an iteration makes no new phase"
    objective.parts(model, 2)
    assert len(store) > len(kept)


def test_an_answer_is_scored_once_and_equal_answers_share_it(tokenizer, model):
    calls = []

    def counted(asked):
        calls.extend(asked)
        return score(asked)

    store = Memory()
    for _ in range(3):  # as a run that was killed twice
        objective = toy(tokenizer, store, scorer=counted, group=6)
        for step in range(4):
            objective.parts(model, step)
    contents = {json.dumps([one.names, vars(one.response)], default=lambda x: x.tolist()) for one in calls}
    assert len(calls) == len(contents) <= 2 * 6 * len(PROMPTS)


def test_pictures_are_decoded_for_rewards_that_look_at_them(tokenizer, model):
    decoded = []

    def decode(codes):
        decoded.append(codes)
        return codes_as_pixels(codes)

    def ones(asked):
        return ((index, dict.fromkeys(one.names, 1.0)) for index, one in enumerate(asked))

    for names, looks in ((("correctness", "think_format"), False), (("clip", "correctness"), True)):
        decoded.clear()
        weights = RewardWeights({"mmu": dict.fromkeys(names, 1.0)}, {})
        objective = toy(tokenizer, Memory(), prompts=PROMPTS[1:2], scorer=ones, weights=weights)
        replace(objective, decode_pictures=decode).parts(model, 0)
        assert bool(decoded) is looks


def test_a_group_survives_the_store(tokenizer, model):
    store = Memory()
    toy(tokenizer, store).parts(model, 0)
    groups = [data for data in store.values() if data.startswith(b"PK")]
    assert len(groups) == len(PROMPTS)
    for data in groups:
        assert pack_group(unpack_group(data)) == data


def test_answers_to_a_prompt_do_not_depend_on_the_others(tokenizer, model):
    together, alone = Memory(), Memory()
    toy(tokenizer, together).parts(model, 0)
    for prompt in reversed(PROMPTS):
        toy(tokenizer, alone, prompts=[prompt]).parts(model, 0)
    assert together == alone


def test_the_reference_of_the_divergence_is_the_named_one(tokenizer, model):
    other = tiny_model(tiny_vocab(tokenizer), seed=5)
    kl = {
        name: _metrics(toy(tokenizer, Memory(), kl_reference=name, initial=model), other)[0]["kl"][0]
        for name in ("old", "init")
    }
    assert kl["old"] == pytest.approx(0, abs=1e-5)
    assert kl["init"] > 0.01


def test_every_divergence_is_that_of_the_metric(tokenizer, model):
    other = tiny_model(tiny_vocab(tokenizer), seed=5)
    kl = {
        name: _metrics(toy(tokenizer, Memory(), kl_reference="init", initial=model, divergence=one), other)[0]["kl"][0]
        for name, one in DIVERGENCES.items()
    }
    assert len(set(kl.values())) == 3
    assert min(kl["k2"], kl["k3"]) > 0


def test_groups_that_teach_nothing_are_counted(tokenizer, model):
    objective = toy(tokenizer, Memory(), prompts=[sample("q", "chat", "one", reference="no letter")])
    table, loss = _metrics(objective, model)
    assert table["zero_variance_groups"] == [4, 4]
    assert loss == pytest.approx(0, abs=1e-5)


def test_answers_that_cannot_be_scored_count_as_worthless_and_are_told(tokenizer, model):
    def failing(asked):
        for index, scores in score(asked):
            yield index, None if asked[index].response.task == "chat" else scores

    table, _ = _metrics(toy(tokenizer, Memory(), scorer=failing), model)
    assert table["unscored_answers"] == [4, 16]
    assert table["reward/chat/total"] == [0, 4]
    assert table["zero_variance_groups"][0] >= 4


def test_an_answer_that_cannot_be_scored_is_not_the_best_among_bad_ones(tokenizer, model):
    def negative(asked):
        assert len(asked) == 4, "four pictures that differ"
        return enumerate([{"dark": -0.1}, None, {"dark": -0.3}, {"dark": -0.2}])

    prompts = [sample("p2", "t2i", "red", codes=2)]
    weights = RewardWeights({"t2i": {"dark": 2.0}}, {})
    table, _ = _metrics(toy(tokenizer, Memory(), prompts=prompts, scorer=negative, weights=weights), model)
    assert table["unscored_answers"] == [1, 4]
    assert table["reward/t2i/total"] == [pytest.approx(2 * (-0.1 - 0.3 - 0.3 - 0.2)), 4]


def test_a_corpus_can_have_rewards_of_its_own(tokenizer, model):
    prompts = [sample("p0", "chat", "one", reference="e"), sample("p2", "t2i", "red", codes=2)]
    weights = RewardWeights({"chat": {"letters": 1.0}}, {"corpus": {"letters": 0.5}})  # the corpus of tiny samples
    table, _ = _metrics(toy(tokenizer, Memory(), prompts=prompts[:1], weights=weights), model)
    twice, _ = _metrics(toy(tokenizer, Memory(), prompts=prompts[:1]), model)
    assert table["reward/corpus/letters"][0] == 0.5 * twice["reward/chat/letters"][0]
    assert table["reward/chat/total"] == [0, 0]
    with pytest.raises(ContractError, match="no entry for task"):
        toy(tokenizer, Memory(), prompts=prompts, weights=RewardWeights({"chat": {"letters": 1.0}}, {})).parts(model, 0)


def test_rewards_of_a_corpus_that_is_called_like_a_task_are_its_alone():
    weights = RewardWeights({"chat": {"letters": 1.0}}, {"chat": {"dark": 0.5}})
    own, other = sample("p0", "chat", "one"), sample("p1", "chat", "one")
    own = msgspec.structs.replace(own, corpus="chat")
    assert [dict(weights.of(one)) for one in (own, other)] == [{"dark": 0.5}, {"letters": 1.0}]
    assert weights.label(own) != weights.label(other)


def test_micro_batches_add_up_to_the_whole(tokenizer, model):
    whole, loss = _metrics(toy(tokenizer, Memory()), model)
    cut, sum_of_losses = _metrics(toy(tokenizer, Memory(), num_parts=3), model)
    assert sum_of_losses == pytest.approx(loss, abs=1e-6)
    for name, values in whole.items():
        assert cut[name] == pytest.approx(values, abs=1e-5), name


def shuffled(seed):
    """Advantages that are right in size and wrong in place."""
    generator = np.random.default_rng(seed)
    return lambda rewards: generator.permuted(standardised(rewards), axis=1)


def _gain(tokenizer, task, advantage, state_dir, *, steps=60, **change):
    """Mean reward of the last ten updates above that of the first four."""
    codes = (lambda n: n) if task == "t2i" else (lambda n: None)
    prompts = [sample(f"{task}-{n}", task, "one", codes=codes(n), reference="e") for n in range(2)]
    objective = toy(tokenizer, Memory(), prompts=prompts, group=24, advantage=advantage, kl_weight=0.0, **change)
    finished = run(tokenizer, state_dir, steps, objective=objective, learning_rate=3e-3, min_learning_rate=3e-3)
    rewards = [values[f"reward/{task}/total"] for values in finished.log.values()]
    return np.mean(rewards[-10:]) - np.mean(rewards[:4])


@pytest.mark.parametrize("task", ["chat", "t2i"])
def test_reward_rises_and_does_not_rise_when_advantages_are_shuffled(tokenizer, tmp_path, task):
    right = _gain(tokenizer, task, standardised, tmp_path / "right")
    wrong = [_gain(tokenizer, task, shuffled(seed), tmp_path / f"wrong-{seed}") for seed in range(2)]
    assert right > 0.35
    assert np.mean(wrong) < 0.1, "shuffled advantages drift without direction"


@pytest.mark.parametrize("estimator", ["diffu_grpo", "random_masking", "coupled", "trace"])
def test_reward_rises_by_every_estimator_of_the_likelihood(tokenizer, tmp_path, estimator):
    assert _gain(tokenizer, "chat", standardised, tmp_path, steps=30, estimator=estimator) > 0.2


def test_weights_are_used(tokenizer, model):
    table, _ = _metrics(toy(tokenizer, Memory()), model)
    assert set(WEIGHTS.labelled()) == {name.split("/")[1] for name in table if name.startswith("reward/")}
    assert table["reward/r2i/total"][0] == pytest.approx(table["reward/r2i/dark"][0] + table["reward/r2i/letters"][0])


def test_later_noise_starts_hide_more(tokenizer, model):
    shares = []
    for start in [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]:
        (part,) = toy(tokenizer, Memory(), noise=NoiseRule(1, "formula", start)).parts(model, 0)
        shares.append(float(part.is_target.sum()))
    assert shares == sorted(shares)
    assert shares[0] == len(PROMPTS) * 4, "one token of each answer"
