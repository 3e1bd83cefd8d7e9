"""What is kept of a run's answers for people to read."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from mmada import rollout_corpus
from mmada.dispatch.away import sent_away
from mmada.dispatch.ray import bring_answers
from mmada.errors import InputError
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.params_schema import load_params
from mmada.site.sampled_answers import answer_groups
from mmada.site.training_reports import read_rollouts
from mmada.training.job import _rollout_log
from mmada.training.phases import kept_groups, kept_places, open_phases
from mmada.training.policy_gradient import standardised
from mmada.training.rollout_log import RolloutLog, answer_records, log_place
from tests.dispatch.small_job import PARAMS, make_job
from tests.tiny import tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.toy_unigrpo import PROMPTS, WEIGHTS, Memory, toy


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def _sampled(tokenizer, folder, iterations, **options):
    objective = toy(tokenizer, Memory(), log=RolloutLog(str(folder), every=2), **options)
    for step in range(2 * iterations):
        objective.parts(tiny_model(tiny_vocab(tokenizer)), step)


def test_some_answers_of_every_task_are_logged_and_shown_with_their_rewards(tokenizer, tmp_path):
    _sampled(tokenizer, tmp_path, 4)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["iteration-000000.json", "iteration-000002.json"]
    groups = read_rollouts(tmp_path)
    assert [group[0]["iteration"] for group in groups] == [0] * len(PROMPTS) + [2] * len(PROMPTS)
    for group in groups:
        assert sum(answer["advantage"] for answer in group) == pytest.approx(0, abs=1e-6)
        assert all(answer["reward"] == pytest.approx(sum(answer["rewards"].values())) for answer in group)
    shown = "".join(one.text for one in answer_groups(groups))
    assert shown.count("<details") == len(groups)
    assert "letters" in shown
    assert "dark" in shown


def test_answers_are_shown_as_text_whatever_they_say(tokenizer, tmp_path):
    _sampled(tokenizer, tmp_path, 1)
    (group, *_) = read_rollouts(tmp_path)
    (shown,) = answer_groups([[{**group[0], "response": "<script>alert(1)</script>" + "x" * 9_000}]])
    assert "<script" not in shown.text
    assert len(shown.text) < 3_000


def test_a_run_that_begins_clears_the_log_of_the_one_before(tokenizer, tmp_path):
    _sampled(tokenizer, tmp_path, 4)
    _sampled(tokenizer, tmp_path, 1, prompts=PROMPTS[:1])
    assert len(list(tmp_path.iterdir())) == 1
    assert len(read_rollouts(tmp_path)) == 1


def test_answers_that_were_logged_away_from_the_project_come_home(tokenizer, tmp_path, s3_server, monkeypatch):
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    read = Artifact(Path("a/folder"), "id", "stage", "", {}, {})
    job = make_job(dict.fromkeys(("shards", "parent", "magvit"), read), tmp_path, steps=4)
    away = sent_away(job, f"{s3_server.make_bucket('answers')}/team")
    block = load_params(PARAMS).training["stage3"]
    for place in (job, away):
        objective = toy(tokenizer, Memory(), prompts=PROMPTS[: 1 + (place is job)])
        log = _rollout_log(block, block.unigrpo, place)
        replace(objective, log=log).parts(tiny_model(tiny_vocab(tokenizer)), 0)
    folder = Path(log_place(job.curves, job.name))
    assert len(read_rollouts(folder)) == 2, "of the run before"
    assert [path.name for path in tmp_path.iterdir()] == ["rollouts"], "nothing is left where the run was away"
    bring_answers(away, job)
    assert len(read_rollouts(folder)) == 1


def test_a_run_leaves_every_group_with_the_rewards_it_learned_from(tokenizer, tmp_path):
    seen = []
    phases = open_phases(tmp_path)
    objective = replace(toy(tokenizer, None, log=lambda *answers: seen.append(answers)), phases=phases)
    for step in range(4):
        objective.parts(tiny_model(tiny_vocab(tokenizer)), step)
    learned = [
        answer_records(group, own, standardised)
        for groups, rewards, _ in seen
        for group, own in zip(groups, rewards, strict=True)
    ]
    kept = open_phases(tmp_path)
    left = [answer_records(*one, standardised) for one in kept_groups(kept_places(kept), kept, WEIGHTS)]
    assert sorted(map(json.dumps, left)) == sorted(map(json.dumps, learned))


def test_groups_are_read_one_after_the_other_in_order(tokenizer, tmp_path, monkeypatch):
    objective = replace(toy(tokenizer, None), phases=open_phases(tmp_path))
    for step in range(6):
        objective.parts(tiny_model(tiny_vocab(tokenizer)), step)
    monkeypatch.setattr(rollout_corpus, "reward_weights", lambda choices: WEIGHTS)
    run = rollout_corpus.KeptRun(None, load_params(PARAMS).training["stage3"], "run", tmp_path)
    seen, places, most = [], [], 0
    for group, _ in run.groups():
        seen.append(weakref.ref(group))
        places.append((group.iteration, group.row.sample.key))
        most = max(most, sum(one() is not None for one in seen))
    assert places == [(iteration, prompt.key) for iteration in range(3) for prompt in PROMPTS]
    assert most <= 2, "all of a long run would not fit into memory"


def test_pictures_are_not_published_by_another_tokenizer_than_the_runs_own(tmp_path):
    folder = tmp_path / "magvit"
    folder.mkdir()
    (folder / "weights").write_bytes(b"trained again")
    write_manifest(folder, stage="train_magvit", version=1, metadata={})
    params = load_params(PARAMS)
    params = params.model_copy(update={"paths": params.paths.model_copy(update={"magvit": str(folder)})})
    model = Artifact(tmp_path, "id", "train", "stage3", {}, {"magvit": "id of the one before"})
    run = rollout_corpus.KeptRun(model, params.training["stage3"], "run", tmp_path)
    with pytest.raises(InputError, match=r"magvit is not the picture tokenizer that .* was trained with"):
        rollout_corpus.publish_rollouts(run, tmp_path / "out", params, min_reward=None)
    assert not (tmp_path / "out").exists()
