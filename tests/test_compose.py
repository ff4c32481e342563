"""The container files hold what docs/guide/deploying.md promises; scripts/compose_check.sh runs them for real."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BASE, GPU = "docker-compose.yml", "docker-compose.gpu.yml"
OURS = ("init", "create", "worker", "dashboard", "cli")
# keys of Compose 2 that docker-compose 1.29 refuses, and one that Compose 2 warns of
NOT_IN_BOTH = {"name", "gpus", "include", "develop", "start_interval", "version", "additional_contexts", "pre_start"}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text_of(name))["services"]
    return found


def keys_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys_of(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in keys_of(inner)}
    return set()


def passed_on(service: dict[str, Any]) -> set[str]:
    """Variables that a service has where the one who starts it has them."""
    environment = service.get("environment", {})
    return {name for name, value in environment.items() if value is None}


def lines_that_run(name: str) -> list[str]:
    """A Dockerfile's instructions, continued lines joined, comments left out."""
    kept = [line for line in text_of(name).splitlines() if line and not line.startswith("#")]
    return "\n".join(kept).replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("name", [BASE, GPU])
def test_both_files_are_valid_by_the_compose_specification(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [BASE, GPU])
def test_both_files_keep_to_what_compose_1_29_and_2_read(name: str) -> None:
    document = yaml.safe_load(text_of(name))
    volumes = document.get("volumes", {})
    assert not NOT_IN_BOTH & (set(document) | keys_of(document["services"])), name
    assert not re.search(r"\$\{[^}]*\$\{", text_of(name)), "1.29 reads no variable inside another's default"
    assert all(value is None for value in volumes.values())


def test_every_published_port_is_on_this_host_only() -> None:
    """A port without an address would be open to the network, and passwords would cross it in plain HTTP."""
    published = [port for service in services(BASE).values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:${DASHBOARD_PORT:-8080}:8080"]


def test_the_passwords_have_no_default_and_stand_in_no_url() -> None:
    for name, n_uses in (("POSTGRES_PASSWORD", 2), ("DASHBOARD_PASSWORD", 1)):
        uses = re.findall(rf"\$\{{{name}[^}}]*\}}", text_of(BASE))
        assert len(uses) == n_uses
        assert all(use.startswith(f"${{{name}:?") for use in uses)
        assert re.search(rf"^{name}=$", text_of(".env.example"), re.MULTILINE)
    assert "@postgres" in text_of(BASE)
    assert not re.search(r"://[^@\s]*:[^@\s]*@", text_of(BASE))


def test_the_servers_say_whether_they_are_healthy() -> None:
    """Over TCP for PostgreSQL: its socket answers before the database is made."""
    found = services(BASE)
    assert {"pg_isready", "-h", "127.0.0.1"} <= set(found["postgres"]["healthcheck"]["test"])
    assert "status == 401" in found["dashboard"]["healthcheck"]["test"][-1], "up, and its door is shut"
    assert all(
        {"interval", "timeout", "retries"} <= set(found[name]["healthcheck"]) for name in ("postgres", "dashboard")
    )


def test_services_start_in_order_tables_then_study_then_workers() -> None:
    order = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in services(BASE).items()
    }
    done = "service_completed_successfully"
    assert order == {
        "postgres": {},
        "init": {"postgres": "service_healthy"},
        "create": {"init": done},
        "worker": {"create": done},
        "dashboard": {"init": done},
        "cli": {"init": done},
    }


def test_workers_can_be_scaled_and_come_back_after_a_failure_only() -> None:
    worker = services(BASE)["worker"]
    assert not {"container_name", "ports", "hostname"} & set(worker), "--scale needs these free"
    assert worker["restart"] == "on-failure:5", "one that has spent the budget stays ended, one that cannot work too"
    assert worker["shm_size"] == "1gb"
    assert worker["command"].startswith("work ${STUDY:-demo} ")


def test_recordings_and_studies_are_read_only_wherever_a_search_runs() -> None:
    for name in ("create", "worker"):
        binds = [volume for volume in services(BASE)[name]["volumes"] if volume.startswith("./")]
        assert {bind.split(":")[0] for bind in binds} == {"./data/raw", "./data/demo", "./search/studies"}
        assert all(bind.endswith(":ro") for bind in binds)
    assert [v for v in services(BASE)["cli"]["volumes"] if not v.endswith(":ro")] == [
        "./data/demo:/app/data/demo",
        "./runs:/app/runs",
    ]


def test_database_and_artifacts_outlive_their_containers() -> None:
    found = services(BASE)
    assert set(yaml.safe_load(text_of(BASE))["volumes"]) == {"database", "artifacts"}
    assert "database:/var/lib/postgresql/data" in found["postgres"]["volumes"]
    assert all("artifacts:/app/artifacts" in found[name]["volumes"] for name in ("worker", "dashboard"))


def test_our_services_run_without_privileges_under_an_init() -> None:
    for name in OURS:
        service = services(BASE)[name]
        assert service["init"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_a_gpu_is_reserved_by_the_override_alone() -> None:
    assert "nvidia" not in text_of(BASE)
    found = services(GPU)
    assert set(found) == {"worker", "cli"}
    for service in found.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": ["${GPU:-0}"], "capabilities": ["gpu"]}
        assert service["image"] == "drivebeat:cuda", "its torch is another, so must its image be"


def test_build_arguments_are_those_the_dockerfile_takes_and_the_same_in_both_files() -> None:
    taken = {line.split()[1].split("=")[0] for line in lines_that_run("Dockerfile") if line.startswith("ARG ")}
    for service in (services(BASE)["init"], services(GPU)["worker"]):
        given = {argument.split("=")[0] for argument in service["build"]["args"]}
        assert given == taken - {"BASE"}


def test_the_example_names_every_variable_and_no_other() -> None:
    used = {name for file in (BASE, GPU) for name in VARIABLE.findall(text_of(file))}
    used |= {argument for argument in services(BASE)["init"]["build"]["args"] if "=" not in argument}
    used |= {name for service in services(BASE).values() for name in passed_on(service)}
    of_compose, _, _ = text_of(".env.example").partition("# Trackers and messages")
    named = set(re.findall(r"^(?:# )?([A-Z0-9_]+)=(?!\$)", of_compose, re.MULTILINE))
    assert named - {"DRIVEBEAT_COMMIT"} == used - {"DRIVEBEAT_COMMIT"}
    assert "DRIVEBEAT_COMMIT=" in text_of(".env.example")


def test_the_examples_values_are_the_defaults() -> None:
    """Copying the example changes nothing but the passwords."""
    defaults = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", text_of(BASE) + text_of(GPU)))
    told = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text_of(".env.example"), re.MULTILINE))
    assert {name: value for name, value in told.items() if name not in ("POSTGRES_PASSWORD", "DASHBOARD_PASSWORD")} == {
        name: value for name, value in defaults.items() if name != "DRIVEBEAT_COMMIT"
    }


@pytest.mark.parametrize("name", OURS)
def test_a_bucket_and_the_caches_reach_every_service_that_may_need_them(name: str) -> None:
    """Only where they are set: an empty DRIVEBEAT_CACHE means no cache, an empty AWS_ENDPOINT_URL no address."""
    wanted = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "DRIVEBEAT_SCRATCH", "DRIVEBEAT_CACHE"}
    assert wanted <= passed_on(services(BASE)[name])
    assert services(BASE)[name]["environment"]["DRIVEBEAT_ARTIFACTS"] == "${ARTIFACTS:-/app/artifacts}"


def test_the_default_study_file_holds_the_default_study() -> None:
    told = dict(re.findall(r"^(STUDY\w*)=(.*)$", text_of(".env.example"), re.MULTILINE))
    assert re.search(rf'^name = "{told["STUDY"]}"$', text_of(told["STUDY_FILE"]), re.MULTILINE)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert hadolint.is_file(), "hadolint is missing; it is in the dev extra: make env"
    done = subprocess.run([hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_needs_no_buildkit_and_ends_without_root_or_build_tools() -> None:
    lines = lines_that_run("Dockerfile")
    stages = [i for i, line in enumerate(lines) if line.startswith("FROM ")]
    final = lines[stages[-1] :]
    assert len(stages) == 2
    assert all(lines[i].split()[1] == "${BASE}" for i in stages)
    assert not re.search(r"--mount|--link|--chmod|<<", "\n".join(lines)), "these need BuildKit"
    assert not re.search(r"apt-get|pip install", "\n".join(final)), "tools and installs belong to the first stage"
    assert [line for line in final if line.startswith("USER ")] == ["USER 1000:1000"]
    assert any("PYTHONUNBUFFERED=1" in line for line in final)
    assert any("-c constraints.txt" in line for line in lines)


def test_the_image_copies_every_package_and_the_context_holds_no_recordings() -> None:
    copied = {line.split()[1] for line in lines_that_run("Dockerfile") if line.startswith("COPY ")}
    ignored = text_of(".dockerignore").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    wheel = tomllib.loads(text_of("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = set(wheel["only-include"])
    assert packages == {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"} | {"drivebeat.py"}
    assert packages <= copied
    assert packages <= kept
    assert ignored[1] == "*", "nothing enters the context but what is named"
    assert {"data/raw", "data/demo", ".env"} <= set(ignored[ignored.index("!data") :])


def test_scripts_are_executable_and_stop_the_engine_whatever_happens() -> None:
    script = ROOT / "scripts" / "compose_check.sh"
    assert script.stat().st_mode & 0o111
    assert "trap clean_up EXIT" in script.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
