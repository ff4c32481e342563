"""The study page of the dashboard: the study's note and its plots."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from data.corpus import Corpus
from data.errors import shell_command
from data.files import path_part
from data.mixing.mixture import held_out
from search.pages.notes import code, finish_note, replace_note, split_text
from search.pages.plots import Classical, Plot, learning_curves, score_by_cost, score_by_snr, workers_over_time
from search.pages.trial_artifacts import remove_artifacts
from search.pages.weights import stored_files, update_weights
from search.queue.slots import progress, slot_trials
from search.storage.fast.reads import system_attributes
from search.storage.optuna_private import ArtifactStore
from search.storage.tables import database_time
from search.study.space import describe
from search.study.study import Study
from search.trials import (
    CLASSICAL_ROWS,
    LATENCY_MS,
    N_PARAMETERS,
    PAGE_AT,
    Fate,
    attributes_of,
    best_feasible,
    by_origin,
    count_fates,
    ranked,
)
from training.evaluation.scores import classical_rows, score_rows
from training.report import shown_snr

PLOT_DATA = "dashboard:plot_data:"  # prefix of optuna_dashboard's keys of plots; its import takes a second
PAGE_EVERY_S = 60.0


def draw_page(study: Study, trials: Sequence[FrozenTrial], engine: Engine, corpus: Corpus) -> None:
    """Write the study's note and plots. The first call for a study computes the scores of the classical methods."""
    maximize = study.optuna.direction.name == "MAXIMIZE"
    good, metric = ranked(trials, study.optuna.direction), study.spec.metric
    plots: dict[str, Plot] = {
        "1-snr": score_by_snr(good, _classical(study, engine, corpus)),
        "2-curves": learning_curves(trials, good, metric, maximize),
        "3-parameters": score_by_cost(good, N_PARAMETERS, "parameters", metric, maximize),
        "5-workers": workers_over_time(trials),
    }
    if any(LATENCY_MS in attributes_of(trial) for trial in good):
        plots["4-latency"] = score_by_cost(good, LATENCY_MS, "latency of a window in ms", metric, maximize)
    _put_plots(study, engine, plots)
    replace_note(study.optuna._storage, engine, study.optuna._study_id, None, study_note(study, trials, engine))


def study_note(study: Study, trials: Sequence[FrozenTrial], engine: Engine) -> str:
    """Return the study's note in Markdown: metric, progress, best trial, ranges and recordings."""
    spec = study.spec
    best, state = best_feasible(trials, study.optuna.direction), progress(engine, study.identity)
    budgeted, others = by_origin(trials, slot_trials(engine, study.identity))
    counts = count_fates(budgeted)
    limits = []
    if spec.constraints.max_parameters is not None:
        limits.append(f"at most {spec.constraints.max_parameters:,} parameters")
    if spec.constraints.max_latency_ms is not None:
        limits.append(f"at most {spec.constraints.max_latency_ms:g} ms a window")
    parts = [
        f"**{study.optuna.direction.name.lower()} {spec.metric}** of {study.space.model.name} on the validation "
        f"mixture, mean over {', '.join(map(shown_snr, spec.data.validation.snrs_db))} dB; "
        f"loss {spec.loss}, {spec.epochs} epochs, sampler {spec.sampler.name}, pruner {spec.pruner.name}"
        + (f"; {' and '.join(limits)}" if limits else ""),
        f"{state.finished} of {state.budget} trials finished: {counts[Fate.COMPLETE]} complete, "
        f"{counts[Fate.PRUNED]} pruned, {counts[Fate.INFEASIBLE]} infeasible; {counts[Fate.FAILED]} failed"
        + (f"; {len(others)} trials by other programs, which do not count" if others else ""),
    ]
    if best is None or best.value is None:
        parts.append("No complete, feasible trial yet.")
    else:
        parts.append(
            f"**Best so far: {best.value:+.3f}, trial {best.number}**. Export and train it: "
            f"{code(shell_command('export', study.name, '-o', 'best.yaml'))}, then "
            f"{code(shell_command('train', 'best.yaml', '-o', PurePath('runs') / path_part(study.name)))}"
        )
    files = stored_files(study, engine)
    if files:
        links = ", ".join(f"[{name}](/artifacts/{study.optuna._study_id}/{files[name]})" for name in files)
        parts.append(
            f"To download: {links}. Each zip is the folder of a trained trial, for `drivebeat apply` and `drivebeat "
            "evaluate`; `best.yaml` is the export of the best trial, for `drivebeat train`."
        )
    rows = [f"| {name} | {describe(range_)} |" for name, range_ in sorted(study.space.sampled.items())]
    parts.append("\n".join(["| searched | range |", "|---|---|", *rows]))
    clean, noise = (
        ", ".join(sorted({PurePath(file).name for source in sources for file in source.files}))
        for sources in (spec.data.clean, spec.data.noise)
    )
    parts.append(f"Recordings: clean {clean}; noise {noise}. Fingerprint `{study.fingerprint}`.")
    return "\n\n".join(parts) + "\n"


def _classical(study: Study, engine: Engine, corpus: Corpus) -> Classical:
    """Return method -> SNR -> SI-SDR in dB on the validation mixture.

    They do not change, so they are computed once and stored with the study.
    """
    storage, study_id = study.optuna._storage, study.optuna._study_id
    stored = system_attributes(engine, study_id, CLASSICAL_ROWS).get(CLASSICAL_ROWS)
    if stored is not None:
        found: Mapping[str, Mapping[str, float]] = json.loads(stored)
        return found
    data = study.spec.data
    mixture = held_out(corpus.splits["validation"], data, data.validation)
    rows = score_rows(classical_rows(mixture, data.band_hz), mixture, ("si_sdr_db",))
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.method != "zeros":  # its SI-SDR is about minus infinity
            table.setdefault(row.method, {})[f"{row.snr_db:+g}"] = round(row.scores["si_sdr_db"], 3)
    storage.set_study_system_attr(study_id, CLASSICAL_ROWS, json.dumps(table))
    return table


def _put_plots(study: Study, engine: Engine, plots: Mapping[str, Plot]) -> None:
    """Store plots as optuna_dashboard.save_plotly_graph_object does, which needs Plotly and reads all notes."""
    study_id, storage = study.optuna._study_id, study.optuna._storage
    all_stored = system_attributes(engine, study_id, f"{PLOT_DATA}%")
    for name, plot in plots.items():
        prefix = f"{PLOT_DATA}{name}:"
        stored = {key: value for key, value in all_stored.items() if key.startswith(prefix)}
        parts = split_text(json.dumps(plot, separators=(",", ":")), prefix)
        for key, value in {**dict.fromkeys(stored, ""), **parts}.items():
            if stored.get(key) != value:
                storage.set_study_system_attr(study_id, key, value)


def update_pages(
    study: Study,
    engine: Engine,
    trial_id: int,
    artifacts: ArtifactStore,
    corpus: Corpus,
    log: Callable[[str], None],
) -> None:
    """Write the note of a finished trial, remove artifacts that are not retained, and draw the study page if it is due.

    Call this after the slot is closed: if the worker dies here, a note is missing and no trial is lost. May be called
    twice for one trial.
    """
    finish_note(study.optuna, engine, trial_id)
    trials = study.optuna.get_trials(deepcopy=False)
    remove_artifacts(study, trials, engine, artifacts, log)
    update_weights(study, trials, engine, artifacts, log)
    if _page_is_due(study, engine):
        draw_page(study, trials, engine, corpus)


def _page_is_due(study: Study, engine: Engine) -> bool:
    """Return whether to draw the study page, and record the time if so.

    It is due every PAGE_EVERY_S seconds by the database's clock, and after the last trial.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        now = database_time(connection)
    drawn = system_attributes(engine, study.optuna._study_id, PAGE_AT).get(PAGE_AT)
    if drawn is not None and now - float(drawn) < PAGE_EVERY_S and not progress(engine, study.identity).spent:
        return False
    study.optuna._storage.set_study_system_attr(study.optuna._study_id, PAGE_AT, now)
    return True
