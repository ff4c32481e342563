"""Find the recordings to denoise, and name the files that are written for each."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.cache import parts_of
from data.config import DataConfig, GroupTable
from data.corpus import start_of
from data.errors import FileError
from data.files import matching, recording_file
from data.readers.read import READERS
from data.synthetic.files import TRUTH
from training.apply import FORMATS
from training.denoising.denoise import ecg_file
from training.errors import ConfigError

DEFAULT_FORMAT = "wav"
# The endings of the files beside an estimate that could be read as recordings.
BESIDE = BEATS, HEART_RATE, AUDIBLE = (".beats.csv", ".heart_rate.csv", ".audible.wav")


@dataclass(frozen=True, slots=True)
class Extras:
    """What to write beside an estimate: tables of beats and heart rate, a picture, a sound that can be heard."""

    beats: bool = True
    picture: bool = False
    audible: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A recording, the file of its estimate, and the files beside it; None for those that are not wanted."""

    recording: Path
    estimate: Path
    beats: Path | None
    heart_rate: Path | None
    picture: Path | None
    audible: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files to write, the estimate first."""
        beside = (self.beats, self.heart_rate, self.picture, self.audible)
        return (self.estimate, *(path for path in beside if path is not None))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to denoise.

    folder: of all estimates; None if there is a single recording whose estimate has a file name of its own.
    notes: what was left out, a sentence each.
    """

    jobs: tuple[Job, ...]
    folder: Path | None
    notes: tuple[str, ...]


def plan(given: Sequence[str], output: Path, format: str | None, extras: Extras, data: DataConfig) -> Plan:
    """Find the recordings that `given` names, and name their files.

    The estimates of several recordings, or of a folder, go to the folder `output`. They keep the recordings' names and
    their folders below the deepest folder that holds all of `given`. A single recording is written to the file
    `output`, unless that is a folder or has no ending.

    given: recordings, folders and globs. A folder is searched with all folders in it for the formats of
        data.readers.read.READERS, except for hidden files, the files beside an estimate and the folder `output`. A
        WFDB record counts once, and the ECG of a listed recording is none.
    format: of the estimates in a folder: wav, csv, mat or npz; None for wav.
    data: of the model's run; it says which files are ECGs.

    Raises DataError if a name matches nothing or a folder has no recording; ConfigError if two recordings would be
    written to one file or a recording would be overwritten, and for a format or an output that cannot be.
    """
    if format is not None and f".{format}" not in FORMATS:
        raise ConfigError(f"--format is {format!r}; {', '.join(ending[1:] for ending in FORMATS)} are known")
    named = [path for name in given for path in matching(name)]
    folders = [path for path in named if path.is_dir()]
    paths, notes = _recordings(named, output, data)
    is_single = len(given) == len(paths) == 1 and not folders
    if is_single and output.suffix and not output.is_dir():
        if format is not None and output.suffix != f".{format}":
            raise ConfigError(f"{output}: --format is {format}, the file ends in {output.suffix}; give one of them")
        jobs, folder = [_job(paths[0], output, extras)], None
    else:
        folder = _output_folder(output, folders, len(paths))
        ending = f".{format or DEFAULT_FORMAT}"
        jobs = [
            _job(path, (folder / place).with_name(f"{place.name}{ending}"), extras)
            for path, place in _places(paths, named).items()
        ]
    _check_files(jobs)
    return Plan(tuple(jobs), folder, notes)


def _recordings(named: Iterable[Path], output: Path, data: DataConfig) -> tuple[list[Path], tuple[str, ...]]:
    """Return the recordings that paths and folders hold, each once, in their order, and notes."""
    listed: dict[str, Path] = {}
    notes = []
    manifests = _manifests(data)
    n_beside = 0
    for path in named:
        if path.is_dir():
            every = [file for file in _in_folder(path, output.resolve()) if file.resolve() not in manifests]
            found = [file for file in every if not file.name.endswith(BESIDE)]
            n_beside += len(every) - len(found)
            if not found:
                raise ConfigError(f"{path}: has no recording; files that end in {', '.join(READERS)} are looked for")
            if output.is_dir() and path.resolve() in output.resolve().parents:
                notes.append(f"{output}: the folder of the estimates is not searched for recordings")
        else:
            found = [path]
        for recording in map(_canonical, found):
            listed.setdefault(os.path.abspath(recording), recording)  # noqa: PTH100
    if n_beside:
        files = f"{n_beside} file{'s' if n_beside > 1 else ''}"
        notes.append(f"left out as tables and sounds of an estimate: {files} that end in {', '.join(BESIDE)}")
    paths = list(listed.values())
    parts = {part for path in paths for part in _parts(path) - {path.resolve()}}
    ecgs = {ecg.resolve() for path in paths if (ecg := ecg_file(data, path)) is not None}
    if n_ecgs := sum(path.resolve() in ecgs for path in paths):
        notes.append(f"left out as the ECG of another recording: {n_ecgs} file{'s' if n_ecgs > 1 else ''}")
    return [path for path in paths if path.resolve() not in parts | ecgs], tuple(notes)


def _manifests(data: DataConfig) -> frozenset[Path]:
    """Return the tables of groups that the run's data name, which are no recordings."""
    rules = (source.group for source in (*data.clean, *data.noise))
    start = start_of(data)[0]
    return frozenset((start / rule.manifest).resolve() for rule in rules if isinstance(rule, GroupTable))


def _in_folder(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the recordings in a folder and in the folders in it, sorted.

    Hidden files, texts called README, the ground truth of generated recordings and `output` are left out.
    """
    seen: set[Path] = set()  # a link may lead back to a folder above it
    for place, names, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(place)
        if here.resolve() in seen or (here != folder and here.resolve() == output):
            names.clear()
            continue
        seen.add(here.resolve())
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            is_aside = name.startswith(".") or name == TRUTH or name.casefold().startswith("readme")
            if not is_aside and Path(name).suffix.lower() in READERS:
                yield here / name


def _refuse(error: OSError) -> None:
    raise FileError.of(Path(error.filename), error, "read") from error


def _canonical(path: Path) -> Path:
    """Return the path by which a recording is read: for each name of a WFDB record, its header."""
    path = recording_file(path)
    header = path.with_suffix(".hea")
    return header if path.suffix.lower() == ".dat" and header.is_file() else path


def _parts(path: Path) -> set[Path]:
    """Return all files of a recording, resolved."""
    try:
        return {part.resolve() for part in parts_of(path)}
    except OSError:
        return {path.resolve()}  # reading it will say what is wrong


def _output_folder(output: Path, folders: Sequence[Path], n_recordings: int) -> Path:
    """Return `output` if it can be the folder of the estimates. Raises ConfigError."""
    counted = f"{n_recordings} recording{'s' if n_recordings != 1 else ''}"
    if output.is_file() or (output.suffix in FORMATS and not output.is_dir()):
        raise ConfigError(
            f"{output}: a file for the estimates of {counted}; name a folder with -o, and their format by --format"
        )
    for folder in folders:
        if folder.resolve() == output.resolve():
            raise ConfigError(
                f"{output}: is the folder of the recordings, where estimates would be taken for recordings next time; "
                "name another with -o"
            )
    return output


def _places(paths: Sequence[Path], named: Sequence[Path]) -> dict[Path, Path]:
    """Return the place of each recording below the output folder: its folder, and its name without the ending."""
    tops = [os.path.abspath(path if path.is_dir() else path.parent) for path in named]  # noqa: PTH100
    root = os.path.commonpath(tops)
    # Not resolved: a link keeps the place and the name that it was given by.
    return {path: Path(os.path.relpath(path.parent, root)) / path.stem for path in paths}


def _job(recording: Path, estimate: Path, extras: Extras) -> Job:
    def beside(ending: str, is_wanted: bool) -> Path | None:
        return estimate.with_name(f"{estimate.stem}{ending}") if is_wanted else None

    return Job(
        recording,
        estimate,
        beside(BEATS, extras.beats),
        beside(HEART_RATE, extras.beats),
        beside(".png", extras.picture),
        beside(AUDIBLE, extras.audible),
    )


def _check_files(jobs: Sequence[Job]) -> None:
    """Raise ConfigError if a file would be written twice, or in the place of a recording."""
    recordings: Mapping[Path, Path] = {part: job.recording for job in jobs for part in _parts(job.recording)}
    written: dict[Path, Job] = {}
    for job in jobs:
        for file in job.files:
            if (recording := recordings.get(file.resolve())) is not None:
                raise ConfigError(
                    f"{file}: is the recording itself, which is never written; name another place with -o"
                    if recording == job.recording
                    else f"{file}: is a file of the recording {recording}, which is never written; "
                    "name another place with -o"
                )
            other = written.setdefault(file.resolve(), job)
            if other is not job:
                raise ConfigError(
                    f"{file}: would be written for {other.recording} and for {job.recording}; rename one of them, or "
                    "denoise them into different folders"
                )
