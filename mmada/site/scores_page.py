"""Scores of all checkpoints side by side: intervals, baselines, change from the parent, and what models answered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mmada.evaluation.score_store import ScoreStore
from mmada.site import figures
from mmada.site.changes import Change, changes
from mmada.site.checkpoint_scores import CheckpointScores, benchmark_names, share_text
from mmada.site.html import Content, Html, Section, absent, columns, element, folded, join, page, table
from mmada.site.published_scores import published_scores
from mmada.site.shown_answers import flips, side_by_side

_OPEN_CATEGORIES: Final = 8


def scores_page(
    scores: Sequence[CheckpointScores],
    parents: Mapping[str, str],
    store: ScoreStore,
    *,
    missing: Sequence[str],
    outdated: Sequence[str],
) -> str:
    """The page; a section per benchmark.

    `store`: evaluations of published and registered checkpoints. `missing`: models without scores. `outdated`:
    checkpoints whose scores are of another model than lies here now.
    """
    lead = (
        "Share of correct held-out items with 95 % intervals. Beside each score: the best constant answer per "
        "kind of question, chosen with the answers known, and the same model with pictures or prompts permuted among "
        "items. A score means something where its interval lies above both, and above the untrained model."
    )
    why = {
        "Without scores yet": missing,
        "Changed since measured, so that scores of an earlier model stand here": outdated,
    }
    notes = [
        absent(f"{reason}: {', '.join(names)}.", f"dvc repro {' '.join(f'evaluate@{name}' for name in names)}")
        for reason, names in why.items()
        if names
    ]
    sections = [
        Section(name, join([*_benchmark(name, scores, parents), *published_scores(store, name)]))
        for name in benchmark_names(scores)
    ]
    return page(
        "scores",
        lead,
        sections or [Section("Scores", element("p", "Nothing has been evaluated yet."))],
        intro=join(notes),
        scripts=figures.SCRIPTS,
    )


def interval_figure(title: str, benchmark: str, scores: Sequence[CheckpointScores]) -> Html:
    """All checkpoints that were measured on a benchmark, one below the other."""
    rows = {}
    for one in scores:
        if benchmark in one.benchmarks:
            part = one.benchmarks[benchmark]
            baselines = {name: part[name]["share"] for name in ("constant", "permuted")}
            rows[one.name] = figures.Interval(part["share"], part["low"], part["high"], baselines)
    return figures.intervals(title, rows)


def _benchmark(name: str, scores: Sequence[CheckpointScores], parents: Mapping[str, str]) -> Iterator[Content]:
    measured = {one.name: one.benchmarks[name] for one in scores if name in one.benchmarks}
    yield columns([interval_figure("Share of correct items", name, scores), _totals(measured)])
    yield _ceiling(scores, measured)
    found = changes(scores, parents, name)
    if found:
        yield element("h3", "Change from the parent, item by item")
        yield _changes(found)
        for change in found:
            yield join(flips(change))
    categories = sorted({category for part in measured.values() for category in part["categories"]})
    if categories != [""]:  # items that have one
        yield element("h3", "By category")
        yield _categories(categories, measured)
    yield element("h3", "What they answered")
    yield side_by_side(name, scores)


def _totals(measured: Mapping[str, Mapping[str, float]]) -> Html:
    rows: list[Sequence[Content]] = [
        [element("b", checkpoint), share_text(part), f"{part['correct']} of {part['n']}", *_baselines(part)]
        for checkpoint, part in measured.items()
    ]
    return table(["checkpoint", "share (95 %)", "correct", "constant", "permuted"], rows, "scores")


def _baselines(part: Mapping[str, object]) -> list[str]:
    shares = [part[name] for name in ("constant", "permuted")]
    return [f"{100 * share['share']:.1f} %" for share in shares if isinstance(share, Mapping)]


def _ceiling(scores: Sequence[CheckpointScores], measured: Mapping[str, Mapping[str, object]]) -> Html:
    """Of benchmarks that draw: what the picture tokenizer lets through."""
    known = [one.body["ceiling"] for one in scores if one.body.get("ceiling")]
    if not known or next(iter(measured.values()))["kind"] != "pictures":
        return Html("")
    share = share_text(known[-1])
    return element("p", f"Ceiling: of the objects in held-out pictures, the picture tokenizer itself keeps {share}.")


def _changes(found: Sequence[Change]) -> Html:
    both = ["only it right", "only its parent right"]
    header = ["checkpoint", "parent", "change (95 %, paired)", "p (McNemar)", *both, "decoding"]
    rows: list[Sequence[Content]] = []
    for change in found:
        pair: list[Content] = [element("b", change.checkpoint), change.parent]
        decoding = "the same" if change.same_decoding else "differs"
        result = change.comparison
        if result is None:
            rows.append([*pair, element("span", change.refused, "bad"), "-", "-", "-", decoding])
            continue
        points = [100 * value for value in (result.difference, result.low, result.high)]
        css = "" if result.low <= 0 <= result.high else "good" if result.difference > 0 else "bad"
        moved = element("span", f"{points[0]:+.1f} points ({points[1]:+.1f} to {points[2]:+.1f})", css)
        rows.append([*pair, moved, f"{result.p_value:.2g}", result.only_first, result.only_second, decoding])
    return table(header, rows)


def _categories(names: Sequence[str], measured: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> Html:
    rows: list[Sequence[Content]] = []
    for category in names:
        parts = [part["categories"].get(category) for part in measured.values()]
        answers = next(int(part["n"]) for part in parts if part is not None)
        rows.append([category or "none", answers, *("-" if part is None else share_text(part) for part in parts)])
    return folded(
        "Shares per category", table(["category", "answers", *measured], rows, "scores"), is_open=len(names) <= 8
    )
