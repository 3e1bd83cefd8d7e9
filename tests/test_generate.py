"""`mmada generate`, `mmada tokenize` and `mmada detokenize` on a random model and a random picture tokenizer."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmada import cli
from mmada.cot_dialects import THINK_REQUEST
from mmada.generate import Choices, Wish, answer
from mmada.model.weights import save_model
from mmada.single_pictures import PictureCodec, parse_size, read_codes, read_picture, write_codes
from mmada.text_tokenizer import make_vocab
from mmada.vq.magvit import MagvitSizes, MAGVITv2, load_magvit, save_magvit
from tests.tiny import tiny_model, tiny_tokenizer

ONES = (1, 1, 1, 1, 1)
SETTINGS = ("--tokens", "16", "--steps", "4", "--block", "8", "--image-steps", "3", "--size", "64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project without params.yaml: `model`, `magvit`, `picture.png`."""
    folder = tmp_path_factory.mktemp("asked")
    tokenizer = tiny_tokenizer(tmp_path_factory)
    vocab = make_vocab(tokenizer, num_codes=8192)
    save_model(tiny_model(vocab), vocab, folder / "model")
    for file in (tmp_path_factory.getbasetemp() / "tokenizer").iterdir():
        shutil.copy(file, folder / "model")
    torch.manual_seed(0)
    save_magvit(MAGVITv2(MagvitSizes(32, ONES, ONES, ONES, ONES, 13)).eval(), folder / "magvit")
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "picture.png")
    return folder


@pytest.fixture
def mmada(folder, tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder: (exit code, what it printed, what it complained)."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "magvit", "picture.png"):
        (tmp_path / name).symlink_to(folder / name)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mmada", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, printed.out, printed.err

    return run


def _generate(mmada, *arguments, magvit=True):
    return mmada("generate", "model", *arguments, *SETTINGS, *(("--magvit", "magvit") if magvit else ()))


def test_text_is_a_function_of_the_seed(mmada):
    warm = ("how many shapes are there?", "--temperature", "1.0")
    code, text, err = _generate(mmada, *warm)
    assert code == 0, err
    assert "step" in err, "a progress bar, and not among the text"
    assert _generate(mmada, *warm)[1] == text
    assert _generate(mmada, *warm, "--seed", "1")[1] != text


def test_a_drawing_is_the_picture_of_its_last_frame(mmada, tmp_path):
    code, text, err = _generate(mmada, "a red circle", "--draw", "out/drawn.png", "--frames", "out/steps.gif")
    assert (code, text) == (0, ""), err
    drawn = np.asarray(Image.open(tmp_path / "out/drawn.png"))
    assert drawn.shape == (64, 64, 3)
    assert Image.open(tmp_path / "out/steps.gif").n_frames == 4, "three steps and the picture"
    _generate(mmada, "a red circle", "--draw", "again.png", "--frames", "strip.png")
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape == (64, 4 * 64, 3)
    assert np.array_equal(strip[:, -64:], drawn), "equal seeds, equal pictures"
    grey = [(strip[:, k * 64 : (k + 1) * 64] == 128).all(-1).sum() // 256 for k in range(4)]
    assert grey == sorted(grey, reverse=True)
    assert grey[0] > grey[-1]


def test_thinking_before_drawing_writes_a_plan_and_draws(mmada, tmp_path):
    code, _, err = _generate(mmada, "a red circle", "--think", "--draw", "drawn.png")
    assert code == 0, err
    assert (tmp_path / "drawn.png").is_file()


def test_an_answer_depends_on_the_picture(mmada, tmp_path):
    Image.new("RGB", (64, 64), (200, 10, 40)).save(tmp_path / "red.png")
    noise = _generate(mmada, "which is left of it?", "--about", "picture.png")
    red = _generate(mmada, "which is left of it?", "--about", "red.png")
    assert noise[0] == red[0] == 0
    assert noise[1] != red[1]


def test_thinking_is_asked_for_in_the_published_words_except_before_drawing(tmp_path):
    assert Wish("3 + 4", think=True).question == THINK_REQUEST + "3 + 4"
    assert Wish("a circle", draw=tmp_path / "x.png", think=True).question == "a circle"


def test_short_cuts_are_taken_on_request(folder, tmp_path):
    choices = Choices(tokens=16, block=8, steps=16, cache="dual", threshold=1e-9)
    one_step_a_block = Choices(tokens=16, block=8, steps=2)
    wish, none = Wish("how many shapes?"), tmp_path / "params.yaml"
    assert answer(folder / "model", wish, choices, none) == answer(folder / "model", wish, one_step_a_block, none)


def test_a_place_that_was_only_asked_about_is_left_as_it_was(mmada, tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    for name in ("old.png", "new.png"):
        assert mmada("generate", "model", "x", "--draw", name, "--magvit", "magvit", "--size", "60")[0] == 2
    assert (tmp_path / "old.png").read_bytes() == b"old"
    assert not (tmp_path / "new.png").exists()


def test_a_seed_that_no_generator_takes_is_refused(mmada):
    code, out, err = _generate(mmada, "x", "--seed", "99999999999999999999")
    assert (code, out) == (2, "")
    assert "Invalid value for '--seed'" in err


@pytest.mark.parametrize("config", ["[]", "3", "{", "{}", '{"d_model": 0}'])
def test_a_folder_whose_config_describes_no_model_is_one_message_and_exit_2(mmada, tmp_path, config):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/config.json").write_text(config)
    code, _, err = mmada("generate", "odd", "x")
    assert code == 2
    assert err.splitlines()[-1].startswith("mmada: odd/config.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--about", "picture.png", "--draw", "y.png"), "not both"),
        (("x", "--frames", "y.gif"), "give --draw too"),
        (("x", "--draw", "y.jpg"), "ends in .png"),
        (("x", "--draw", "y.png", "--frames", "y.mp4"), "written as .gif"),
        (("x", "--about", "none.png"), "none.png cannot be read"),
        (
            ("x", "--about", "model/config.json"),
            "model/config.json is no picture that can be shown to a model: image_mislabelled",
        ),
        (("x", "--draw", "y.png", "--size", "60"), "multiples of 16"),
        (("x", "--draw", "y.png", "--size", "16"), "is one code"),
        (("x", "--about", "picture.png", "--size", "64x32"), "centre_crop makes squares"),
        (("x", "--size", "big", "--draw", "y.png"), "HEIGHTxWIDTH"),
        (("x", "--tokens", "15"), "do not split evenly"),
        (("x", "--tokens", "256", "--steps", "256"), "the model takes 256; shorten it, or ask for less: --tokens"),
        (("x", "--draw", "y.png", "--size", "512"), "the prompt takes 1030 tokens with its answer"),
        (("x", "--threshold", "2"), r"lies in (0, 1]"),
        (("x", "--threshold", "0"), r"lies in (0, 1]"),
        (("x", "--temperature", "inf"), "temperature inf and guidance 0.0 finite"),
        (("x", "--draw", "y.png", "--guidance", "inf"), "guidance inf finite"),
        (("x", "--draw", "y.png", "--frames", "./y.png"), "both the drawing and its frames"),
        (("x", "--about", "picture.png", "--size", "99984"), "6249x6249 codes"),
        (("x", "--draw", "/proc/y.png"), "/proc/y.png cannot be written"),
        (("x", "--draw", "y.png", "--frames", "/proc/y.gif"), "/proc/y.gif cannot be written"),
        (("x", "--device", "cuda:99"), "0 CUDA devices"),
    ],
)
def test_wishes_that_cannot_be_met_are_one_message_and_exit_2(mmada, arguments, message):
    given = [one for one in SETTINGS if one not in ("64",)] if "--size" in arguments else list(SETTINGS)
    given = [one for one in given if one != "--size"] if "--size" in arguments else given
    if "cuda:99" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    code, out, err = mmada("generate", "model", *given, "--magvit", "magvit", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.strip().splitlines()[-1].startswith("mmada: ")


def test_without_a_project_the_picture_tokenizer_must_be_named(mmada):
    code, _, err = _generate(mmada, "x", "--draw", "y.png", magvit=False)
    assert code == 2
    assert "--magvit" in err


@pytest.mark.parametrize("name", ["codes.json", "codes.npy"])
def test_codes_of_one_picture_go_out_and_come_back(mmada, folder, tmp_path, name):
    options = ("--magvit", "magvit", "--size", "64x32", "--crop", "squash")
    assert mmada("tokenize", "picture.png", "--out", name, *options)[0] == 0
    codes = read_codes(tmp_path / name)
    assert codes.shape == (4, 2)
    printed = mmada("tokenize", "picture.png", *options)[1]
    assert json.loads(printed) == codes.tolist()
    assert mmada("detokenize", name, "back.png", "--magvit", "magvit")[0] == 0
    codec = PictureCodec(load_magvit(folder / "magvit"), (64, 32), "squash")
    assert np.array_equal(read_picture(tmp_path / "back.png"), codec.decode(codes))
    assert np.array_equal(codec.encode(read_picture(folder / "picture.png")), codes)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[1, 8192]], "found [1, 8192], allowed [0, 8192)"),
        ([[-1, 2]], "found [-1, 2]"),
        ([1, 2], "shape (2,) found"),
        ([[]], "shape (1, 0) found"),
        ([[1.5, 2.0]], "float64"),
        ("{", "holds no codes"),
        ("[" * 100_000, "holds no codes"),
        ([[1] * 129] * 128, "128x129 codes"),
    ],
)
def test_what_is_no_grid_of_codes_is_refused(mmada, tmp_path, codes, message):
    (tmp_path / "codes.json").write_text(codes if isinstance(codes, str) else json.dumps(codes))
    code, _, err = mmada("detokenize", "codes.json", "back.png", "--magvit", "magvit")
    assert code == 2
    assert message in err


def _pickle(file):
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _archive(file):
    np.savez(file, codes=np.zeros((2, 2), dtype=np.uint16))


def _of_a_size_that_it_has_not(file):
    np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (10**7, 10**7)})


@pytest.mark.parametrize("write", [_pickle, _archive, _of_a_size_that_it_has_not])
def test_what_is_no_array_of_numbers_is_refused(mmada, tmp_path, write):
    with (tmp_path / "codes.npy").open("wb") as file:
        write(file)
    code, _, err = mmada("detokenize", "codes.npy", "back.png", "--magvit", "magvit")
    assert code == 2
    assert "holds no codes" in err


def test_sizes_are_sides_or_height_by_width(tmp_path):
    assert (parse_size("512"), parse_size("384x256")) == ((512, 512), (384, 256))
    with pytest.raises(Exception, match="codes are files named"):
        write_codes(np.zeros((2, 2), dtype=np.int64), tmp_path / "codes.txt")
