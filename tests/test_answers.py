"""One meaning of "correct": what is extracted, what counts as equal, and that no input can take longer than
its time.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmada.answers import answers_match, compare_answers, extract_answer, normalise_answer

# huggingface/Math-Verify#65: sympy computes this power inside C code, for longer than the universe lasts.
ENDLESS = r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>3 + 4 = 7</think>7", "7"),
        (r"<think>\boxed{1}</think>So it is \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"Thus \boxed{k = 45} and \boxed{n = 2}.", "k = 45, n = 2"),
        ("He sold 24.\n#### 72", "72"),
        ("The answer is 12. I hope it helps.", "12"),
        ("The answer is for sure D, it can't be A or B", "D"),
        ("<think>so</think>Final answer: **blue**", "blue"),
        ("Final Answer: The final answer is $5$. I hope it is correct.", "$5$"),
        ("<reasoning>x</reasoning><answer>\n\\boxed{4}\n</answer>", "4"),
        ("(B)", "B"),
        ("B\u4e0d\u662f A", "B"),
        ("Yes, the circle is left of the square.", "Yes"),
        ("blue", "blue"),
        ("There are 3 boxes with 5 apples, so 15 apples in all.", "15"),
        ("It costs $\\frac{3}{4}$ of it.", "$\\frac{3}{4}$"),
        (r"So the answer is $\$22$.", r"$\$22$"),
        ("The answer is $18 + $5 = $23.", "23"),
        ("The answer is exactly 12.", "12"),
        ("The result is therefore equal to $12$.", "$12$"),
        ("The answer is .5.", ".5"),
        ("The answer is 3 million people in the whole city.", "3 million"),
        ("The answer is $x = 3$ or $x = -3$.", "$x = 3$, $x = -3$"),
        ("The answer is $5$ and $6$, which $7$ divides.", "$5$, $6$"),
        ("The correct option is (B) 12.", "B"),
        ("The answer is C because it is 5.", "C"),
        ("Thus the answer is yes since 5 is prime.", "yes"),
        ("The answer is 12 because of 3.", "12"),
        ("#### Step 1\nAdd 5.\n#### Step 2\nDo 6 and get 11.", "11"),
        ("#### 1. Add\nWe get 5.\n#### 2. Result\nSo 7.", "7"),
        ("#### Final Answer\n5", "5"),
        ("#### The answer is 5", "5"),
        ("It is the sky.\n#### blue", "blue"),
        ("The total is 15.\n\n**Final Answer**", "15"),
        ("The ratio is 3:4.", "3:4"),
        ("We meet at 3:45 PM.", "3:45"),
        ("Week 3:210 pages are read.", "210"),
        ("She has 2 1/4 cups left.", "2 1/4"),
        ("\u7b54\u6848\uff1a12", "12"),
        ("\u7b54\u6848\u662f5\u3002", "5"),
        ("\u7b54\u6848\uff1aB", "B"),
        ("\u56e0\u6b64,\u7b54\u6848\u4e3a12\u5143\u3002", "12\u5143"),
        ("\u7b54\u6848\u662f\uff1a12", "12"),
        ("\u7b54\u6848\uff08B\uff09", "B"),
        ("\u7b54\u6848\uff1a\u9009B", "B"),
        ("The answer is 5.\nThe final answer is:", "5"),
        ("The answer is", None),
        ("The final answer is:", None),
        ("**Final Answer**", None),
        ("<think>I never stop thinking, 42", None),
        ("<think>done</think>", None),
        ("", None),
        ("#### Monday\n\nHope this helps!", "Monday"),
        ("Some steps.\n#### Saturday\nNote: dates count.", "Saturday"),
        ("#### Red\n<|im_end|>", "Red"),
        ("The answer is $5$. $x=2$ satisfies it.", "$5$"),
        ("The answer is $12$, $x = 3$ being the root.", "$12$"),
        ("The answer is $7$; $8$ is wrong", "$7$"),
        ("The answer is:\n\\[\n12\n\\]", "$12$"),
        ("The answer is\n$$\n12\n$$\nas 7 is odd.", "$12$"),
        ("The answer is 12, which is 3 more than 9.", "12"),
        ("The answer is 5 and not 6.", "5"),
        ("The answer is 5 (not 6).", "5"),
        ("The answer is not enough information.", "not enough information"),
        ("The answers are 2 and 3.", "2 and 3"),
        ("The answers are as follows.\nFor Tom it is 2.", "2"),
        ("The answer is 3 hours and 20 minutes.", "3 hours and 20 minutes"),
        ("The answer is Dr. Smith.", "Dr. Smith"),
        ("It is 1,000,000.", "1,000,000"),
        ("It is blue.", "blue"),
        ("B is correct.", "B"),
        ("I choose B", "B"),
        ("Total: 12", "12"),
        ("<answer>x^3 - 6x^2 + 64</answer>", "x^3 - 6x^2 + 64"),
        (r"<think>so</think>3 \pm 2 \sqrt{2}", r"3 \pm 2 \sqrt{2}"),
        (r"<answer>\left( 3, \frac{\pi}{2} \right)</answer>", r"\left( 3, \frac{\pi}{2} \right)"),
        ("x = 1, y = 2", "x = 1, y = 2"),
        ("3 + 4 = 7, 7 * 2 = 14", "14"),
        ("<answer>She sold 48 + 24 = 72 clips</answer>", "72"),
        ("The answer is clearly 12.", "12"),
        ("The answer is given by 3+4=7.", "3+4=7"),
        ("Yes it is", "Yes"),
        ("The statement is true.", "true"),
        ("The ratio is 3 : 2.", "3 : 2"),
        ("\\boxed{5}. As asked, \\boxed is used.", "5"),
    ],
)
def test_the_final_answer_is_found(response: str, answer: str | None) -> None:
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1,000", "1000"),
        ("1 000", "1000"),
        ("$16", "16"),
        ("16 dollars", "16"),
        (".5", "1/2"),
        (r"\dfrac{1}{2}", r"\frac12"),
        ("Blue", "blue."),
        (r"\text{yes}", "Yes"),
        ("(18, -24)", "(18,-24)"),
        (r"486\sqrt{3}", r"486 \sqrt{3}"),
        (r"\left( \dfrac{8}{3}, 3 \right]", r"(\tfrac83, 3]"),
        ("2^{10}", "1024"),
        ("x+1", "1+x"),
        ("7 1/2", "7.5"),
        (r"-7\frac12", "-15/2"),
        (r"0.\overline{3}", r"\frac13"),
        (r"0.1\overline{6}", "1/6"),
        ("3 million", "3,000,000"),
        ("2.5 dozen", "30"),
        ("2/3 cup", "2/3"),
        (r"\frac{2}{3}\text{ cup}", "2/3"),
        ("3 cups of sugar", "3"),
        ("15 km/h", "15"),
        ("25 cm^2", "25"),
        ("15 m\u00b2", "15"),
        (r"5\text{cm}", "5"),
        ("-5 degrees Celsius", "-5"),
        ("5\u00b0C", "5"),
        ("5 USD", "5"),
        ("\u20b9500", "500"),
        ("12 sq. ft.", "12"),
        ("12\u5143", "12"),
        ("3:45 PM", "3:45"),
        ("\u00bd", "1/2"),
        ("1\u00bd", "3/2"),
        ("10\u00b2", "100"),
        ("10\u207b\u00b3", "0.001"),
        ("2\u221a3", r"2\sqrt{3}"),
        ("(-\u221e, 3)", r"(-\infty, 3)"),
        ("x\u00b2+1", "x^2+1"),
        ("\u20131", "-1"),
        (r"\varnothing", r"\emptyset"),
        ("2+2 = 4", "4"),
        ("2*300", "600"),
        ("5!", "120"),
        ("**5**", "5"),
        ("12 dollars!", "12"),
        ("(B) 5", "B"),
        ("B) 5", "B"),
        ("A. Paris", "A"),
        (r"\text{B. }5", "B"),
        (r"\textbf{(B)}\ 5", "(B) $-5$"),
        ("2:00 pm", "2:00 PM"),
        ("6 PM", "6 p.m."),
        ("14:00", "2:00 PM"),
        ("9:05 a.m.", "9:05 AM"),
        ("3e5", "300000"),
        ("1.5e-3", "0.0015"),
        (r"3 \cdot 10^{5}", "3E5"),
        ("3 x 10^5", r"3\times10^5"),
        (r"6.02 \times 10^{23}", "6.02e23"),
        ("2pi", r"2\pi"),
        ("2*pi*r", r"2\pi r"),
        ("sin(x)", r"\sin x"),
        ("Option B", "B"),
        ("option (B)", "(b)"),
        ("five", "5"),
        ("Twenty-five", "25"),
        ("Two shapes", "2"),
        ("five hundred", "500"),
        ("a circle", "Circle"),
        ("the blue circle", "blue circle"),
        (r"50\%", "0.5"),
        ("50%", "1/2"),
        ("10~000", "10000"),
        (r"\bigl(1,2\bigr)", "(1,2)"),
        (r"0.\bar{3}", "1/3"),
        ("2/3 of a cup", "2/3"),
        ("f(2) = 5", "5"),
        ("f^{-1}(2) = 5", "5"),
        ("Area = 5", "5"),
        ("16 (rounded)", "16"),
        (r"\frac{1}{2} (one half)", "0.5"),
        (r"x = \$5", "5"),
        ("16 sqrt(3)", r"16\sqrt{3}"),
        ("(3, pi/2)", r"\left( 3, \frac{\pi}{2} \right)"),
        (r"\frac{9}{pi^2}", r"\frac{9}{\pi^2}"),
        ("Total = 5 dollars", "5"),
        ("3*4=12 apples", "12"),
        (r"\textsf{B}", "B"),
        (r"\color{red}12", "12"),
        ("3 : 2", "3:2"),
        ("1010_2", "1010_{2}"),
        ("1010_2", "10_{10}"),
    ],
)
def test_equal_answers_match_both_ways(left: str, right: str) -> None:
    assert answers_match(left, right)
    assert answers_match(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("7", "8"),
        ("-3", "3"),
        ("1/3", "0.33"),
        ("blue", "green"),
        ("yes", "no"),
        ("(1,2)", "(2,1)"),
        ("x+1", "x-1"),
        ("18", r"18+2\pi"),
        ("1-2i", "1+2i"),
        (r"3\sqrt{3}", r"3\sqrt{13}"),
        ("1", "1,-2"),
        (r"112\frac{1}{2}", r"137 \frac{1}{2}"),
        ("2b", "2k"),
        ("5x", "5"),
        ("3i", "3"),
        ("2ab", "2"),
        ("5 x^2", "5"),
        ("2pi", "2"),
        ("3 million", "3"),
        ("2 dozen", "2"),
        ("2 and a half", "2"),
        ("2 thirds", "2"),
        ("3 squared", "3"),
        ("25 base eight", "25"),
        ("7 3/2", "17/2"),
        ("10 less than x", "10"),
        ("5!", "5"),
        ("n!", "n"),
        ("f'", "f"),
        ("f''", "f'"),
        ("2*300", "2300"),
        ("2**3", "23"),
        ("10\u00b2", "102"),
        ("3\u20135", "-2"),
        ("2+2 = 5", "5"),
        ("(a)(b)", "a"),
        ("(a)^2", "a"),
        ("(A) - 5", "A"),
        ("A. 5", "B. 5"),
        ("A) 5", "B) 5"),
        (r"1.6\times10^{-19}", r"3.2\times10^{-19}"),
        ("2^{-40}", "3^{-40}"),
        ("10^{-20}", "0"),
        ("", "3"),
        ("3", ""),
        ("E. coli", "E. faecalis"),
        ("J. K. Rowling", "J. R. R. Tolkien"),
        ("A: 2, B: 1, C: 3", "A: 1, B: 2, C: 3"),
        ("A) 3, B) 4", "A) 3, B) 5"),
        ("(A) 3, B) 4", "(C) 5, D) 7"),
        ("I. only", "I. and II."),
        ("F: 32", "F: 212"),
        ("3:45 am", "3:45 pm"),
        ("14:00", "2:00 am"),
        ("101_2", "101_3"),
        ("129_2", "1_2"),
        ("50%", "5"),
        (r"3\%", "0.3"),
        ("f(2) = 5", "2"),
        ("2x = 5", "5"),
        ("five", "six"),
        ("two thirds", "2"),
        ("two dozen", "2"),
        ("a b", "b"),
        ("on the circle", "circle"),
        ("5 (mod 7)", "5"),
        ("2 (log x)", "2"),
        ("3e5", "3e6"),
        ("raspberry pi", "raspberry"),
    ],
)
def test_different_answers_do_not_match(left: str, right: str) -> None:
    assert not answers_match(left, right)
    assert not answers_match(None, right)


def test_normalisation_is_idempotent() -> None:
    for text in [
        "32, 349",
        "(98, 2), (99, 503)",
        "1,234,567",
        "14 {, }916",
        "$1,000$",
        r"\boxed{\dfrac{1}{2}}",
        "(B) blue",
        " Yes. ",
        "50\\%",
        "3 apples",
        "A. Paris",
        "\u22122\u221a3 \u2265 1\u00bd",
        "**'blue'!**",
    ]:
        once = normalise_answer(text)
        assert normalise_answer(once) == once


def test_an_endless_comparison_ends_in_time_in_any_thread() -> None:
    seconds = 2.5
    took: list[float] = []

    def ask() -> None:
        started = time.monotonic()
        assert compare_answers(ENDLESS, "17", seconds=seconds) == "timeout"
        took.append(time.monotonic() - started)

    ask()
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 3
    assert max(took) <= 1.2 * seconds + 0.5  # half a second for a busy machine to schedule us
    assert answers_match("2+x", "x+2"), "a killed worker is replaced"


def test_ten_thousand_mixed_comparisons_all_end() -> None:
    """Numbers, words and formulas with endless powers among them, asked from four threads."""
    easy = [
        ("7", "7"),
        ("1/2", "0.5"),
        ("blue", "red"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("x+1", "1+x"),
        ("(1,2)", "(1,3)"),
    ]
    pairs = [(ENDLESS, str(number)) if number % 2500 == 7 else easy[number % 6] for number in range(10_000)]

    def ask(pair: tuple[str, str]) -> str:
        return compare_answers(*pair, seconds=1.0 if pair[0] == ENDLESS else 60.0)  # a busy machine is no reason

    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(ask, pairs))
    for pair, verdict in zip(pairs, verdicts, strict=True):
        assert (verdict == "timeout") == (pair[0] == ENDLESS), pair


@pytest.mark.parametrize("begin", ["", "The answer", "!"])
@pytest.mark.parametrize(
    "unit",
    [
        *[
            "\\[",
            "\\(",
            "$$ x ",
            "$",
            "\\boxed{",
            "\\boxed{1} and ",
            "<answer>",
            "the answer is ",
            "{",
            "7 ",
            "\\text{",
        ],
        *[" ", "\n", " *\n", "answer \n", "#### ab\n ", "7 / ", "3:", "exactly ", "\\$", "\u7b54\u6848\u662f"],
    ],
)
def test_long_loops_are_read_in_linear_time(begin: str, unit: str) -> None:
    text = f"{begin}{unit * (160_000 // len(unit))}z 5"
    started = time.process_time()
    compare_answers(extract_answer(text), text)
    compare_answers(text, "7")
    assert time.process_time() - started < 2
