"""params.yaml: closed, validated as a whole, changed by patches that keep its comments."""

import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mmada.errors import ParamsError
from mmada.model.text_sampling import TextSampling
from mmada.params_patch import patch_params
from mmada.params_schema import load_params
from mmada.params_training import Answering, recorded_block

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))


def _patch(params: Path, text: str) -> None:
    patch = params.with_name("patch.yaml")
    patch.write_text(text)
    patch_params(params, patch)


def test_two_corpora_of_one_name_are_refused(params: Path) -> None:
    text = params.read_text()
    params.write_text(text.replace("  questions:\n    path", "  captions:\n    path", 1))
    line = 1 + params.read_text().splitlines().index("  captions:", text.splitlines().index("  captions:") + 1)
    with pytest.raises(ParamsError, match=rf'params\.yaml, line {line}: found duplicate key "captions"'):
        load_params(params)


def test_a_key_that_a_patch_has_twice_is_named_with_its_line(params: Path) -> None:
    with pytest.raises(ParamsError, match=r'patch\.yaml, line 2: found duplicate key "gate".*rename one of the two'):
        _patch(params, "gate: {min_rows: 1}\ngate: {min_rows: 2}\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  seed: 1\n", "  sed: 1\n", "vq.sed"),
        ("max_loop_share: 0.5", "max_loop_share: 1.5", "selection.max_loop_share"),
        ("max_drop_share: 0.2", "max_drop_share: true", "gate.max_drop_share: Value error, a number belongs here"),
        ("min_correct_share: 1.0", "min_correct_share: false", "gate.min_correct_share: Value error, a number belongs"),
        ("t2i: 500", "t2i: true", "gate.min_rows_per_task.t2i: Value error, a number belongs here"),
        ("score_limits: {}", "score_limits: {nsfw: {}}", "selection.score_limits.nsfw: Value error, give min, max, or"),
        (
            "score_limits: {}",
            "score_limits: {a: {min: 1, max: 0}}",
            "selection.score_limits.a: Value error, min 1.0 is",
        ),
        ("personal_data: [email,", "personal_data: [mail,", "selection.unwanted_personal_data.0"),
        ("min_psnr: 10.0", "min_psnr: true", "selection.min_psnr: Value error, a number belongs here"),
        ("  seed: 1\n", "  seed: true\n", "vq.seed: Value error, a number belongs here"),
        ("  seed: 1\n", "  seed: -1\n", "vq.seed: Input should be greater than or equal to 0"),
        ("seed: 13\n", f"seed: {2**64}\n", "training.stage3.seed: Input should be less than"),
        ("verify_seconds: 3.0", "verify_seconds: 0", "annotation.verify_seconds: Input should be greater than 0"),
        ("reference: none", "reference: 2026-11-05", "(got datetime.date(2026, 11, 5)); write it in quotes"),
        ("init: init", "init: stage3", "training: ['stage1', 'stage2', 'stage3'] wait for one another"),
        ("  stage3:\n    objective", "  init:\n    objective", "training.init: that is what the untrained model"),
        ("max_text_tokens: 128", "max_text_tokens: 257", "selection.max_text_tokens is 257, and the model takes"),
        ("format: image_folder", "format: folder", "corpora.captions.format"),
        ("init: stage2", "init: stage9", "training.stage3.init is 'stage9'; allowed: ['init', 'stage1', 'stage2']"),
        ("corpora: {captions: 5.4,", "corpora: {capshuns: 5.4,", "training.stage1.data.corpora names ['capshuns']"),
        (
            "objective: unigrpo",
            "objective: masked_prediction",
            "so its section belongs here and no other; has ['unigrpo']",
        ),
        ("noise_start: [0.0, 1.0]", "noise_start: [0.5, 0.1]", "is no range"),
        ("inner_updates: 4\n      likelihood: unigrpo", "inner_updates: 3\n      likelihood: coupled", "in pairs"),
        ("kl_estimator: k3", "kl_estimator: k4", "training.stage3.unigrpo.kl_estimator"),
        ("t2i: {picture: 1.0}", "t2i: {beauty: 1.0}", "training.stage3.unigrpo.rewards.t2i.beauty"),
        ("t2i: {picture: 1.0}", "t2i: {correctness: 1.0}", "rewards.t2i: 'correctness' judges lm, chat, mmu, r2i, not"),
        ("t2i: {picture: 1.0}", "t2i: {clip: 0.1}", "name its local folder in reward_models.clip"),
        ("        t2i: {picture: 1.0}\n", "", "rewards has no entry for t2i, the task of corpus captions"),
        (
            "        t2i: {picture: 1.0}\n",
            "      corpus_rewards: {captions: {correctness: 2.0}}\n",
            "corpus_rewards.captions: 'correctness' judges",
        ),
        (
            "        t2i: {picture: 1.0}\n",
            "        t2i: {picture: 1.0}\n      corpus_rewards: {drawings: {picture: 1.0}}\n",
            "stage3.unigrpo.corpus_rewards names ['drawings']; allowed: ['captions', 'problems', 'questions']",
        ),
        (
            "t2i: {picture: 1.0}",
            "t2i: {}",
            "rewards.t2i gives no reward a weight, so that nothing would be learned; allowed: [",
        ),
        ("t2i: {picture: 1.0}", "t2i: {picture: 0.0}", "rewards.t2i gives no reward a weight"),
        (
            "    seed: 13\n",
            "    seed: 13\n    keep_published: {best: 1}\n",
            "which says nothing of a policy",
        ),
        ("text_temperature: 0.5", "text_temperature: 0.0", "unigrpo.sampling.text_temperature is 0: all answers to a"),
        (
            "likelihood: unigrpo\n      noise: formula\n      noise_start: [0.0, 1.0]",
            "likelihood: trace\n      noise: formula\n      noise_start: [0.1, 1.0]",
            "`trace` draws no noise times",
        ),
        ("n_heads: 3", "n_heads: 5", "model: Value error, d_model 96 over 5 heads gives no even head width"),
        ("betas: [0.9, 0.99]", "betas: [0.9, 1.0]", "training.stage1.optimiser.betas.1: Input should be less than 1"),
        (
            "loss_weights: {t2i: 1.0, lm: 0.5,",
            "loss_weights: {t2i: 1.0,",
            "stage1.masked_prediction.loss_weights has no entry for lm, the",
        ),
        (
            "loss_weights: {t2i: 1.0,",
            "loss_weights: {t2i: -1.0,",
            "stage1.masked_prediction.loss_weights.t2i: Input should",
        ),
        ("max_steps: 24\n", "max_steps: 24\n    batch_size: 96\n", "training.stage3.batch_size: Extra inputs are not"),
        ("    unigrpo:\n", "    masked_prediction:\n", "training.stage3.masked_prediction.batch_size: Field required"),
        (
            "text_steps: 6",
            "text_steps: 5",
            "training.stage3.unigrpo.sampling: Value error, 12 text tokens in blocks of 4",
        ),
        (
            "text_steps: 12",
            "text_steps: 5",
            "evaluation.decoding.default.default: Value error, 12 text tokens in blocks",
        ),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_allowed(params: Path, old: str, new: str, message: str) -> None:
    text = params.read_text()
    assert old in text
    params.write_text(text.replace(old, new, 1))
    with pytest.raises(ParamsError, match=re.escape(message)):
        load_params(params)


def test_a_task_may_be_left_out_of_the_loss_by_an_explicit_weight_of_0(params: Path) -> None:
    _patch(params, "training: {stage1: {masked_prediction: {loss_weights: {mmu: 0}}}}\n")


def test_a_base_model_brings_its_own_sizes(params: Path) -> None:
    _patch(params, "model: {base: models/LLaDA-8B-Instruct, n_heads: 5}\n")


def test_params_allow_the_sampling_that_the_sampler_allows_and_no_other(params: Path) -> None:
    known = load_params(params).evaluation.decoding["default"]["default"].model_dump()
    for tokens, steps, block, threshold in product(range(1, 9), range(1, 9), range(1, 9), (None, 0.9)):
        sizes = {"text_tokens": tokens, "text_steps": steps, "text_block": block, "threshold": threshold}
        allowed = [
            _is_allowed(lambda sizes=sizes: Answering.model_validate(known | sizes)),
            _is_allowed(lambda sizes=sizes: TextSampling(*list(sizes.values())[:3], threshold=sizes["threshold"])),
        ]
        assert allowed[0] == allowed[1], sizes


def _is_allowed(make: Callable[[], object]) -> bool:
    try:
        make()
    except (ValueError, ParamsError):
        return False
    return True


def test_all_wrong_entries_are_told_at_once(params: Path) -> None:
    params.write_text(params.read_text().replace("ngram: 8", "ngram: no").replace("d_model: ", "d_modell: "))
    with pytest.raises(ParamsError) as caught:
        load_params(params)
    assert all(name in str(caught.value) for name in ("annotation.decontamination.ngram", "model.d_model"))


def test_a_missing_or_broken_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="does not exist"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1,")
    with pytest.raises(ParamsError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_a_patch_changes_what_it_names_and_keeps_comments(params: Path) -> None:
    before = yaml.safe_load(params.read_text())
    _patch(params, "selection: {max_loop_share: 0.25}\n")
    after = yaml.safe_load(params.read_text())
    assert after["selection"].pop("max_loop_share") == 0.25
    before["selection"].pop("max_loop_share")
    assert after == before
    assert "# thresholds: seconds to re-run" in params.read_text()


def test_null_deletes_also_the_last_entry(params: Path) -> None:
    _patch(params, "demo_corpora: {demo: null}\n")
    assert yaml.safe_load(params.read_text())["demo_corpora"] == {}


def test_a_project_without_held_out_items_is_refused(params: Path) -> None:
    with pytest.raises(ParamsError, match=r"benchmarks: .*name at least one set of held-out items"):
        _patch(params, f"benchmarks: {{{', '.join(f'{key}: null' for key in load_params(params).benchmarks)}}}\n")


def test_a_patch_that_is_not_allowed_changes_nothing(params: Path) -> None:
    before = params.read_bytes()
    with pytest.raises(ParamsError, match=r"1 entry is not allowed(.|\n)*selection\.no_such_limit"):
        _patch(params, "selection: {no_such_limit: 1}\n")
    assert params.read_bytes() == before


def test_a_patch_changes_one_place_of_those_that_an_alias_joins(params: Path, tmp_path: Path) -> None:
    before = load_params(params).evaluation.decoding
    (tmp_path / "patch.yaml").write_text(
        "evaluation: {decoding: {init: {default: {text_tokens: 24, text_steps: 24}, scene_questions: null}}}\n"
    )
    after = patch_params(params, tmp_path / "patch.yaml").evaluation.decoding
    assert after == load_params(params).evaluation.decoding
    assert {name: held for name, held in after.items() if name != "init"} == {
        name: held for name, held in before.items() if name != "init"
    }
    assert after["init"].keys() == before["init"].keys() - {"scene_questions"}
    assert (after["init"]["default"].text_tokens, before["init"]["default"].text_tokens) == (24, 12)
    assert after["init"]["scene_drawing"] == before["init"]["scene_drawing"]


def test_null_within_what_is_new_leaves_it_out(params: Path, tmp_path: Path) -> None:
    columns = "{prompt: q, reference: a, kind: null}"
    held = f"{{path: held.jsonl, kind: reasoning, format: questions, columns: {columns}, max_items: 3}}"
    (tmp_path / "patch.yaml").write_text(f"benchmarks: {{more: {held}}}\n")
    assert patch_params(params, tmp_path / "patch.yaml").benchmarks["more"].columns == {"prompt": "q", "reference": "a"}


@pytest.mark.parametrize("content", ["shards: 1".encode("utf-16"), None])
def test_what_is_no_text_or_no_file_is_a_clear_error(params: Path, tmp_path: Path, content: bytes | None) -> None:
    patch = tmp_path / "patch"
    patch.mkdir() if content is None else patch.write_bytes(content)
    with pytest.raises(ParamsError, match="is not valid YAML"):
        patch_params(params, patch)
    with pytest.raises(ParamsError, match="is not valid YAML"):
        load_params(patch)


def test_a_block_of_the_first_records_is_read_as_it_was_meant() -> None:
    training = load_params(ROOT / "params.yaml").training
    learned, rewarded = (training[name].model_dump(mode="json", exclude_none=True) for name in ("stage1", "stage3"))
    flat = learned["masked_prediction"]
    before = {name: value for name, value in learned.items() if name != "masked_prediction"} | flat
    assert recorded_block(before) == recorded_block(learned) == training["stage1"]
    assert recorded_block(rewarded | flat) == recorded_block(rewarded) == training["stage3"]
    with pytest.raises(ValidationError):
        recorded_block(before | {"batch_size": 0})
