"""An evaluation as files: JSON, CSV, Parquet, and tables for papers and pages."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from flows.evaluate import Scored
from flows.evaluate_pictures import write_pictures
from model.train import WEIGHTS_NAME
from pipeline.image_files import written_whole
from schemas.errors import EvaluateError
from schemas.evaluation import DEFINITIONS, Comparison, Evaluation, Scores

PAPER_METRICS = ("EN", "MI", "SD", "SSIM", "VIF", "flowD")

PAPER_ROWS: dict[str, tuple[float, ...]] = {
    "U2Fusion": (6.904, 2.490, 35.731, 0.600, 0.439, 6.547),
    "LRRNet": (6.889, 3.120, 38.251, 0.609, 0.452, 6.874),
    "MURF": (6.185, 1.825, 22.731, 0.543, 0.271, 6.840),
    "DDFM": (6.750, 2.656, 32.000, 0.609, 0.448, 6.778),
    "TC-MoA": (7.095, 2.800, 42.412, 0.593, 0.516, 5.102),
    "TIMFusion": (7.063, 3.015, 50.824, 0.580, 0.409, 5.890),
    "GIFNet": (7.042, 2.548, 44.207, 0.580, 0.389, 6.294),
    "RCVS": (6.551, 1.979, 37.468, 0.585, 0.471, 6.443),
    "TemCoCo": (7.174, 3.548, 50.421, 0.597, 0.490, 4.378),
    "VideoFusion": (7.167, 4.008, 52.465, 0.632, 0.526, 3.294),
}
"""M3SVD under degradation, in the order of PAPER_METRICS: VideoFusion, arXiv 2503.23359, table of
quantitative fusion. Its flowD has another flow (SEA-RAFT), so compare that column among the paper's
rows alone."""

PAPER_SOURCE = "VideoFusion, arXiv 2503.23359, M3SVD under degradation"

HEADS = {
    "EN": "EN (bits)",
    "MI": "MI (bits, sum)",
    "MI_nats": "MI (nats, sum)",
    "MI_matlab": "MI (bits, sum, MATLAB)",
    "SD": "SD (levels)",
    "SSIM": "SSIM (L=255)",
    "SSIM_L1": "SSIM (L=1)",
    "VIF": "VIF (sum)",
    "VIF_mean": "VIF (mean)",
    "AG": "AG",
    "SF": "SF",
    "CC": "CC",
    "SCD": "SCD",
    "Qabf": "Qabf",
    "flowD": "flowD",
    "BiSWE": "BiSWE",
    "MS2R": "MS2R",
    "PSNR_infrared": "PSNR infrared (dB)",
    "SSIM_infrared": "SSIM infrared",
    "PSNR_visible": "PSNR visible (dB)",
    "SSIM_visible": "SSIM visible",
}
"""Which variant a column shows."""


FOLLOWED = ("boxes a frame", "confidence", "tracks", "frames a track", "ID switches")
"""What is told of objects that are followed."""


def head(name: str, evaluation: Evaluation) -> str:
    """The head of a metric's column."""
    if name == "flowD":
        return f"flowD ({evaluation.settings.flow}, {evaluation.settings.direction})"
    return (
        f"{HEADS[name]} ({evaluation.settings.flow})" if name in ("BiSWE", "MS2R") else HEADS[name]
    )


def write_evaluation(scored: Scored, folder: Path) -> list[Path]:
    """Write scores.json, frames.csv, frames.parquet, table.tex and table.html; returns their paths.

    Raises:
        OSError: a file cannot be written.
    """
    evaluation = scored.evaluation
    frames = frame_table(scored.rows)
    texts = {
        "scores.json": evaluation.model_dump_json(indent=2) + "\n",
        "table.tex": latex_table(evaluation),
        "table.html": html_table(evaluation),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with written_whole(folder / name) as partial:
            partial.write_text(text)
    with written_whole(folder / "frames.csv") as partial:
        pa_csv.write_csv(frames, partial)
    with written_whole(folder / "frames.parquet") as partial:
        pq.write_table(frames, partial)
    pictures = write_pictures({subject(evaluation): scored}, folder)
    return [*(folder / name for name in (*texts, "frames.csv", "frames.parquet")), *pictures]


def frame_table(rows: Mapping[str, Sequence[Scores]]) -> pa.Table:
    """A row per frame: clip, frame and every metric."""
    names = dict.fromkeys(name for found in rows.values() for row in found for name in row)
    columns: dict[str, list[object]] = {name: [] for name in ("clip", "frame", *names)}
    for clip, found in rows.items():
        for frame, row in enumerate(found):
            columns["clip"].append(clip)
            columns["frame"].append(frame)
            for name in names:
                columns[name].append(row.get(name))
    types = {"clip": pa.string(), "frame": pa.int64()}
    return pa.table(
        {name: pa.array(values, types.get(name, pa.float64())) for name, values in columns.items()}
    )


def write_comparison(found: Sequence[Scored], folder: Path) -> list[Path]:
    """Write a folder of files for each subject, and table.tex, table.html, table.csv of them all.

    Raises:
        OSError: a file cannot be written.
    """
    evaluations = [one.evaluation for one in found]
    written = []
    for one in found:
        written += write_evaluation(one, folder / subject(one.evaluation))
    texts = {
        "scores.json": Comparison(subjects=tuple(evaluations)).model_dump_json(indent=2) + "\n",
        "table.tex": latex_table(*evaluations),
        "table.html": html_comparison(evaluations),
    }
    for name, text in texts.items():
        with written_whole(folder / name) as partial:
            partial.write_text(text)
    with written_whole(folder / "table.csv") as partial:
        pa_csv.write_csv(comparison_table(evaluations), partial)
    pictures = write_pictures({subject(one.evaluation): one for one in found}, folder)
    return [*written, *(folder / name for name in (*texts, "table.csv")), *pictures]


def metric_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Every metric that one of them has; of given outputs what was restored is not known."""
    found = {name for one in evaluations for name in one.overall}
    return [name for name in DEFINITIONS if name in found]


def subject(evaluation: Evaluation) -> str:
    """The name of what was scored."""
    return subject_name(evaluation.settings.fused)


def subject_name(fused: str) -> str:
    """A method, or the name of a file or folder without its way; of a run's weights, the run's."""
    path = Path(fused)
    return path.parent.name if path.name == WEIGHTS_NAME and path.parent.name else path.stem


def check_subjects(fused: Sequence[str]) -> None:
    """Refuse what would share a row's name and a folder of files.

    Raises:
        EvaluateError: names every such pair.
    """
    first: dict[str, str] = {}
    problems = []
    for one in fused:
        if (name := subject_name(one)) in first:
            problems.append(f"{first[name]} and {one} are both called {name}; rename one of them")
        first.setdefault(name, one)
    if problems:
        raise EvaluateError("\n".join(problems))


def comparison_table(evaluations: Sequence[Evaluation]) -> pa.Table:
    """A row per subject: the mean of every metric and the ends of its interval."""
    columns: dict[str, list[float | None]] = {}
    for name in metric_names(evaluations):
        spans = [one.intervals.get(name) or (None, None) for one in evaluations]
        columns[name] = [one.overall.get(name) for one in evaluations]
        columns[f"{name}_low"], columns[f"{name}_high"] = (
            [*ends] for ends in zip(*spans, strict=True)
        )
    made = {name: pa.array(values, pa.float64()) for name, values in columns.items()}
    return pa.table({"subject": pa.array([subject(one) for one in evaluations])} | made)


def compared_lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """The means of all subjects for a terminal: a column each."""
    names = metric_names(evaluations)
    width = max(len(head(name, evaluations[0])) for name in names)
    subjects = [subject(one) for one in evaluations]
    widths = [max(9, len(name)) for name in subjects]
    rows = [
        f"{'':<{width}}  " + "  ".join(f"{s:>{w}}" for s, w in zip(subjects, widths, strict=True))
    ]
    for name in names:
        values = [one.overall.get(name) for one in evaluations]
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        shown = "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
        rows.append(f"{head(name, evaluations[0]):<{width}}  {shown}")
    return rows


def latex_table(*evaluations: Evaluation) -> str:
    """The paper's table with its rows and ours, for LaTeX with booktabs."""
    heads = ["Method", *(head(name, evaluations[0]) for name in PAPER_METRICS)]
    lines = [
        f"% {PAPER_SOURCE}; its flowD has another optical flow",
        r"\begin{tabular}{l" + "r" * len(PAPER_METRICS) + "}",
        r"\toprule",
        " & ".join(map(_latex, heads)) + r" \\",
        r"\midrule",
        *(
            " & ".join([name, *(f"{v:.3f}" for v in row)]) + r" \\"
            for name, row in PAPER_ROWS.items()
        ),
        r"\midrule",
        *(" & ".join([_latex(subject(one)), *_shown(one.overall)]) + r" \\" for one in evaluations),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _shown(scores: Scores) -> list[str]:
    values = [scores.get(name) for name in PAPER_METRICS]
    return ["--" if value is None else f"{value:.3f}" for value in values]


def _latex(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)


def html_comparison(evaluations: Sequence[Evaluation]) -> str:
    """A page with a row per subject, and the paper's rows below."""
    names = metric_names(evaluations)
    cells = ""
    for one in evaluations:
        texts = []
        for name in names:
            value, ends = mean_and_ends(one, name)
            texts.append(f"{value}<br><small>{' to '.join(ends)}</small>" if ends else value)
        cells += _html_texts(subject(one), texts)
    return _html_page("Scores compared", evaluations, "subject", names, cells)


def mean_and_ends(evaluation: Evaluation, name: str) -> tuple[str, tuple[str, ...]]:
    """A metric's mean and the ends of its interval as tables show them; empty where unknown."""
    value, span = evaluation.overall.get(name), evaluation.intervals.get(name)
    if value is None:
        return "", ()
    return f"{value:.3f}", tuple(f"{end:.3f}" for end in span or ())


def html_table(evaluation: Evaluation) -> str:
    """A page with the means of every clip, tag and all, and the paper's rows below."""
    names = list(evaluation.overall)
    rows = [
        *((clip.clip, clip.scores) for clip in evaluation.clips),
        *((f"tag {tag.tag} ({tag.clips} clips)", tag.scores) for tag in evaluation.tags),
        ("all", evaluation.overall),
    ]
    settings = evaluation.settings
    cells = "".join(_html_row(name, [scores.get(n) for n in names]) for name, scores in rows)
    ends = [" to ".join(mean_and_ends(evaluation, name)[1]) for name in names]
    cells += _html_texts("95 % of all", ends)
    title = f"Scores of {html.escape(settings.fused)}"
    return _html_page(title, [evaluation], "clip", names, cells)


def _html_page(
    title: str, evaluations: Sequence[Evaluation], first: str, names: Sequence[str], cells: str
) -> str:
    """A page with one table, objects followed, the paper's rows; `title` and `cells` are HTML."""
    evaluation = evaluations[0]
    settings = evaluation.settings
    followed = "".join(_html_texts(what, list(row)) for what, row in detection_rows(evaluations))
    objects = (
        f"<h2>Objects followed by {html.escape(settings.detector)}</h2>\n"
        f"<div><table><tr><th>stream</th>{''.join(f'<th>{name}</th>' for name in FOLLOWED)}</tr>"
        f"{followed}</table></div>\n"
        if settings.detector
        else ""
    )
    paper = "".join(_html_row(name, list(row)) for name, row in PAPER_ROWS.items())
    heads = "".join(f"<th>{html.escape(head(n, evaluation))}</th>" for n in names)
    paper_heads = "".join(f"<th>{name}</th>" for name in PAPER_METRICS)
    defined = "".join(
        f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in settings.metrics.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Scores</title>\n'
        "<style>body{font:15px sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}"
        "td:first-child,th:first-child{text-align:left}div{overflow-x:auto}</style>\n"
        f"<h1>{title}</h1>\n"
        f"<p>Against {settings.sources} sources; optical flow {settings.flow}, "
        f"{settings.direction}.</p>\n"
        f"<div><table><tr><th>{first}</th>{heads}</tr>{cells}</table></div>\n"
        f"{objects}<h2>{PAPER_SOURCE}</h2>\n<p>Its flowD has another optical flow (SEA-RAFT): "
        f"compare that column within this table alone.</p>\n"
        f"<div><table><tr><th>method</th>{paper_heads}</tr>{paper}</table></div>\n"
        f"<h2>What they are</h2><dl>{defined}</dl>\n</html>\n"
    )


def detection_rows(
    evaluations: Sequence[Evaluation],
) -> list[tuple[str, tuple[str, ...]]]:
    """What was followed in both sources and in each subject's frames, as FOLLOWED has it."""
    shown = [
        (stream if stream != "fused" else subject(one), one.detections[stream])
        for index, one in enumerate(evaluations)
        for stream in one.detections
        if stream == "fused" or index == 0
    ]
    return [
        (
            name,
            (
                f"{found.boxes / max(found.frames, 1):.2f}",
                "-" if found.confidence is None else f"{found.confidence:.3f}",
                f"{found.tracks}",
                "-" if found.track_frames is None else f"{found.track_frames:.1f}",
                f"{found.id_switches}",
            ),
        )
        for name, found in shown
    ]


def detection_lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """The same for a terminal; nothing where no detector was asked for."""
    rows = detection_rows(evaluations)
    if not rows:
        return []
    width = max(len(name) for name, _ in rows)
    heads = "  ".join(FOLLOWED)
    told = [f"followed by {evaluations[0].settings.detector}:", f"{'':<{width}}  {heads}"]
    for name, cells in rows:
        shown = "  ".join(
            f"{cell:>{len(head)}}" for cell, head in zip(cells, FOLLOWED, strict=True)
        )
        told.append(f"{name:<{width}}  {shown}")
    return told


def _html_row(name: str, values: Sequence[float | None]) -> str:
    return _html_texts(name, ["" if value is None else f"{value:.3f}" for value in values])


def _html_texts(name: str, texts: Sequence[str]) -> str:
    return f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{t}</td>" for t in texts) + "</tr>"


def lines(evaluation: Evaluation) -> list[str]:
    """The means of all frames, for a terminal."""
    width = max(len(head(name, evaluation)) for name in evaluation.overall)
    found = []
    for name, value in evaluation.overall.items():
        span = evaluation.intervals.get(name)
        shown = "-" if value is None else f"{value:.4f}"
        spread = f"   95 % {span[0]:.4f} to {span[1]:.4f}" if span else ""
        found.append(f"{head(name, evaluation):<{width}}  {shown:>9}{spread}")
    return found
