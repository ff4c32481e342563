"""Scenarios of chaos.py with too little memory or disk."""

import resource
import subprocess

from benchmarks.chaos.site import Row, Site, ended, make, spec_of, states, trials, wait_all, words, work
from search.trials import REASON

LIMIT_S = 600.0


def memory(site: Site, quick: bool) -> Row:
    """A batch larger than the memory that the worker may have."""
    sizes = {"batch_size": {"choices": [8, 4_000_000]}}
    point = {"width": 8, "learning_rate": 1e-3}
    points = [point | {"batch_size": 4_000_000}, point | {"batch_size": 8}]
    spec = spec_of(site, "memory", 1, epochs=2, ranges=sizes, enqueue=points, fixed={"steps_per_epoch": 3})
    study = make(site, spec)
    limit = 12 << 30
    worker = [work(site, "memory", "w.log", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))]
    with ended(worker):
        codes = wait_all(worker, LIMIT_S)
    found = trials(site, study)
    reason = str(found[0].user_attrs.get(REASON, ""))
    return Row(
        "memory: the trial fails with the reason, the next one runs",
        f"a batch of 4,000,000 windows under RLIMIT_AS of {limit >> 30} GiB",
        f"trial 0 {found[0].state.name.lower()} ({reason[:40]} ...), trial 1 {found[-1].state.name.lower()}",
        codes == [0] and "memory" in reason and [t.state.name for t in found] == ["FAIL", "COMPLETE"],
    )


def disk_full(site: Site, quick: bool) -> Row:
    """Artifacts and checkpoints on a disk too small for them, which then grows."""
    study = make(site, spec_of(site, "disk", 2, epochs=2))
    site.artifacts.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "drivebeat-chaos", str(site.artifacts)]
    what = "a tmpfs of 16 KiB for checkpoints and artifacts, then one of 64 MiB"
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return Row("disk full: one clear reason, nothing corrupt", what, "not run: tmpfs cannot be mounted here", True)
    workers = [work(site, study.name, "full.log")]
    try:
        with ended(workers):
            codes = wait_all(workers, LIMIT_S)
            said = words(site, "full.log").strip().splitlines()[-1]
            left = [path for path in site.artifacts.rglob("*") if path.is_file()]
            remount = ["mount", "-o", "remount,size=64m", str(site.artifacts)]
            subprocess.run(remount, capture_output=True, check=True)
            workers.append(work(site, study.name, "again.log"))
            codes = wait_all(workers, LIMIT_S)
    finally:
        subprocess.run(["umount", str(site.artifacts)], capture_output=True, check=False)
    found = trials(site, study)
    reasons = [str(trial.user_attrs.get(REASON, "")) for trial in found if trial.state.name == "FAIL"]
    clear = sum("No space left on device" in reason for reason in reasons)
    return Row(
        "disk full: one clear reason, nothing corrupt, the worker says why it stops",
        what,
        f"{clear} of {len(reasons)} failed trials say so, {len(left)} files left, then {dict(states(site, study))}"
        f"; the worker: {said[:60]} ...",
        clear == len(reasons) == 3
        and not left
        and codes == [2, 0]
        and said.startswith("drivebeat: worker stops: 3 trials in a row failed")
        and states(site, study)["COMPLETE"] == 2,
    )
