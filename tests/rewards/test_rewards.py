import json
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertTokenizerFast, BlipConfig, CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from mmada.errors import CheckpointError, ContractError, ParamsError
from mmada.params_training import RewardName
from mmada.rewards import REWARD_MODELS, REWARDS, Response, build_rewards
from mmada.rewards.clip_score import prepare_pixels
from mmada.rewards.image_reward import ImageRewardModel
from mmada.text_tokenizer import train_tokenizer

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def _response(completion="", reference="", pixels=None, prompt="p", task="chat"):
    return Response(task, prompt, completion, reference, pixels)


def _score(name, completion="", reference="", **others):
    return REWARDS[name](_response(completion, reference, **others))


@pytest.mark.parametrize(
    ("completion", "reference", "score"),
    [
        ("<think>3 + 4 = 7.</think>7", "7", 1.0),
        ("<think>3 + 4 = 8.</think>8", "7", 0.0),
        ("7", "7", 1.0),
        ("", "7", 0.0),
        ("<think>is it 7?", "7", 0.0),
    ],
)
def test_correctness_reads_the_final_answer(completion, reference, score):
    assert _score("correctness", completion, reference) == score


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("<think>a</think>b", 1.0),
        ("\n<think>\na\n</think>\nb", 1.0),
        ("<think></think>b", 0.0),
        ("<think> </think>b", 0.0),
        ("<think>a</think>", 0.0),
        ("<think>a</think> ", 0.0),
        ("a</think>b", 0.0),
        ("<think>ab", 0.0),
        ("x<think>a</think>b", 0.0),
        ("<think>a</think><think>b</think>c", 0.0),
        ("b", 0.0),
    ],
)
def test_think_format(completion, score):
    assert _score("think_format", completion) == score


def test_a_picture_stands_for_the_answer_in_thinking_before_drawing():
    assert _score("think_format", "<think>a red circle</think>", pixels=PICTURE, task="r2i") == 1.0
    assert _score("think_format", "<think>a red circle</think>", pixels=PICTURE, task="mmu") == 0.0


def test_picture_reward_needs_a_picture_and_a_specification():
    spec = {
        "category": "single", "include": [{"shape": "circle", "count": 1, "colour": "red"}], "relation": None
    }  # fmt: skip
    blank = np.full((64, 64, 3), 255, dtype=np.uint8)
    assert 0.0 <= _score("picture", reference=json.dumps(spec), pixels=blank, task="t2i") < 1.0
    with pytest.raises(ContractError, match="draws"):
        _score("picture", reference=json.dumps(spec))
    with pytest.raises(ContractError, match="cannot look at a picture of 48x48 pixels"):
        _score("picture", reference=json.dumps(spec), pixels=blank[:48, :48], task="t2i")
    for bad in ("", "7", "{}", json.dumps(spec | {"category": "portrait"})):
        with pytest.raises(ContractError, match="specifies no picture"):
            _score("picture", reference=bad, pixels=blank, task="t2i")


def _clip_folder(folder):
    train_tokenizer(["a red circle", "a blue square"], folder, vocab_size=280)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = small | {"vocab_size": 280, "max_position_embeddings": 12, "eos_token_id": 1, "bos_token_id": 0}
    vision = small | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(folder).save_pretrained(folder)


def _cosine(reward, words):
    ids = reward.tokenizer(words, truncation=True, max_length=12, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        image = reward.model.visual_projection(reward.model.vision_model(prepare_pixels(PICTURE, 32)).pooler_output)
        text = reward.model.text_projection(reward.model.text_model(ids).pooler_output)
    return max(0.0, 100 * float(torch.cosine_similarity(image, text)))


def test_clip_score_is_the_cosine_of_a_local_model(tmp_path):
    _clip_folder(tmp_path)
    reward = build_rewards(["clip"], {"clip": tmp_path})["clip"]
    prompt = "a red circle " * 9
    value = reward(_response(prompt=prompt, pixels=PICTURE, task="t2i"))
    assert 0.0 <= value <= 100.0
    assert value == pytest.approx(_cosine(reward, prompt), abs=1e-3)
    with pytest.raises(CheckpointError, match="needs a picture"):
        reward(_response(prompt="a"))


def test_clip_judges_a_caption_by_what_is_said_after_the_thought(tmp_path):
    _clip_folder(tmp_path)
    reward = build_rewards(["clip"], {"clip": tmp_path})["clip"]

    def caption(text):
        return reward(_response(text, prompt="describe it", pixels=PICTURE, task="mmu"))

    assert caption("a blue square") == pytest.approx(_cosine(reward, "a blue square"), abs=1e-3)
    assert caption("<think>a red circle, or not</think>a blue square") == caption("a blue square")
    for silent in ("", "  ", "<think>a blue square", "<think>a blue square</think>"):
        assert caption(silent) == 0.0


def _image_reward_folder(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "circle"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"initializer_range": 0.5}  # large enough for the picture to matter in an untrained network
    text = small | {"vocab_size": 16, "max_position_embeddings": 40, "encoder_hidden_size": 16}
    config = BlipConfig(text_config=text, vision_config=small | {"image_size": 32, "patch_size": 16})
    config.save_pretrained(folder)
    torch.manual_seed(1)
    save_file(ImageRewardModel(config).state_dict(), folder / "model.safetensors")


def test_image_reward_depends_on_picture_and_prompt(tmp_path):
    _image_reward_folder(tmp_path)
    reward = build_rewards(["image_reward"], {"image_reward": tmp_path})["image_reward"]

    def value(prompt, pixels):
        return reward(_response(prompt=prompt, pixels=pixels, task="t2i"))

    assert value("a red circle", PICTURE) == value("a red circle", PICTURE)
    assert value("a red circle", PICTURE) != value("a blue circle", PICTURE)
    assert value("a red circle", PICTURE) != value("a red circle", 255 - PICTURE)
    with pytest.raises(CheckpointError, match="task that draws"):
        reward(_response(pixels=PICTURE, task="mmu"))


def test_params_name_the_rewards_that_there_are():
    assert set(get_args(RewardName)) == {*REWARDS, *REWARD_MODELS}


def test_rewards_that_cannot_be_built_say_why(tmp_path):
    with pytest.raises(ParamsError, match="no reward 'beauty'"):
        build_rewards(["beauty"], {})
    with pytest.raises(ParamsError, match=r"reward_models\.clip"):
        build_rewards(["clip"], {})
    for name in ("clip", "image_reward"):
        with pytest.raises(CheckpointError, match="holds no"):
            build_rewards([name], {name: tmp_path})


def test_pixels_are_cropped_to_the_middle_and_normalised():
    prepared = prepare_pixels(np.full((20, 60, 3), 128, dtype=np.uint8), 32)
    assert prepared.shape == (1, 3, 32, 32)
    wanted = (128 / 255 - 0.48145466) / 0.26862954
    assert float(prepared[0, 0].mean()) == pytest.approx(wanted, abs=1e-4)
