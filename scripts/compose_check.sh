#!/usr/bin/env bash
# Runs Drivebeat in containers for real: builds the image, brings every service up, searches a tiny study with four
# workers of which one is killed, looks at the dashboard, exports, and takes all of it down again.
#
# It starts an engine of its own in a network, mount and process namespace of its own, so neither a running Docker nor
# the host's firewall is touched, and everything inside ends with the namespace. No image is pulled: stand-ins of the
# two base images, under their names, are made from Debian's packages. The project's files are used as they are.
#
# Needs root, Python 3.11 with pip, and Debian's docker.io docker-compose debootstrap tini iptables curl.
# About 5 GB of disk below $TMPDIR while it runs.
#   COMPOSE="docker compose"   another Compose than docker-compose
#   PYTHON=.venv/bin/python    the Python that collects the wheels
set -euo pipefail
export LC_ALL=C

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
read -ra COMPOSE <<<"${COMPOSE:-docker-compose}"
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
TRIALS=12
PORT=18080
DOOR=open-sesame-1
PARENT=drivebeat-check-$$

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

need() {
    [[ $(id -u) == 0 ]] || fail "this check needs root, for a network namespace of its own"
    local tool
    for tool in dockerd docker "${COMPOSE[0]}" debootstrap unshare nsenter iptables curl git; do
        command -v "$tool" >/dev/null ||
            fail "$tool is missing; apt-get install docker.io docker-compose debootstrap tini iptables curl"
    done
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        fail "$PYTHON is not Python 3.11, which the image has; set PYTHON"
}

clean_up() {
    local status=$?
    set +e
    trap - EXIT INT TERM
    ((status)) && [[ -n ${INSIDE:-} ]] && compose logs --no-color --tail 20
    [[ -n ${SERVER:-} ]] && kill "$SERVER" 2>/dev/null
    if [[ -n ${ENGINE:-} ]]; then
        # the first process of the namespace: with it goes everything inside
        [[ -n ${INSIDE:-} ]] && kill -KILL "$INSIDE" 2>/dev/null
        kill -KILL "$ENGINE" 2>/dev/null
        wait "$ENGINE" 2>/dev/null
    fi
    rm -rf --one-file-system "$WORK"
    local _
    for _ in {1..20}; do # the kernel frees a killed process's group a little later
        find /sys/fs/cgroup -depth -type d -path "*/$PARENT*" -exec rmdir {} + 2>/dev/null
        [[ -z $(find /sys/fs/cgroup -maxdepth 2 -name "$PARENT" -print -quit) ]] && break
        sleep 0.5
    done
    say "engine stopped, $WORK removed"
    exit "$status"
}

copy_checkout() {
    mkdir -p "$CHECKOUT"
    git -c safe.directory="$ROOT" -C "$ROOT" ls-files -z --cached --others --exclude-standard |
        (cd "$ROOT" && tar --null --files-from=- --ignore-failed-read -cf -) | tar -xf - -C "$CHECKOUT"
    rm -rf "$CHECKOUT/data/demo" "$CHECKOUT/data/raw"
    mkdir -p "$CHECKOUT"/{data/raw,data/demo,runs}
    chown 1234:1234 "$CHECKOUT"/{data/demo,runs}
    cat >"$CHECKOUT/.env" <<-EOF
		POSTGRES_PASSWORD=p@ss/w:rd%20#1
		DASHBOARD_PASSWORD=$DOOR
		STUDY_FILE=search/studies/check.toml
		STUDY=check
		WORKER_THREADS=1
		DASHBOARD_PORT=$PORT
		HOST_UID=1234
		HOST_GID=1234
		DRIVEBEAT_COMMIT=c0mposecheck
		TORCH_INDEX=
		PIP_NO_INDEX=1
		PIP_FIND_LINKS=http://172.17.0.1:8000/
		PIP_TRUSTED_HOST=172.17.0.1
	EOF
    cat >"$CHECKOUT/search/studies/check.toml" <<-EOF
		name = "check"
		models = ["autoencoder"]
		epochs = 3
		[fixed]
		batch_size = 4
		steps_per_epoch = 4
		[sampler]
		name = "random"
		[budget]
		trials = $TRIALS
		[data]
		rate_hz = 250.0
		window_samples = 640
		stride_samples = 32
		[data.validation]
		n_windows = 4
		[data.test]
		n_windows = 4
		[[data.clean]]
		files = ["data/demo/*/stop.wav"]
		channels = ["ch1"]
		[[data.noise]]
		files = ["data/demo/*/*km.wav"]
		channels = ["ch1"]
	EOF
}

collect_wheels() {
    # as this machine's pip is set up; the build below gets no other source
    "$PYTHON" - "$ROOT/pyproject.toml" >"$WORK/requirements.txt" <<-'EOF'
		import sys, tomllib
		with open(sys.argv[1], "rb") as file:
		    document = tomllib.load(file)
		project = document["project"]
		extras = project["optional-dependencies"]
		print(*project["dependencies"], *extras["train"], *extras["postgres"], sep="\n")
		print(*document["build-system"]["requires"], "editables", sep="\n")
	EOF
    "$PYTHON" -m venv "$WORK/venv"
    "$WORK/venv/bin/pip" wheel --quiet --quiet --wheel-dir "$WORK/wheels" \
        -c "$ROOT/constraints.txt" -r "$WORK/requirements.txt"
    say "$(find "$WORK/wheels" -name '*.whl' | wc -l) wheels, $(du -sh "$WORK/wheels" | cut -f1)"
}

start_engine() {
    echo '{}' >"$WORK/daemon.json"
    # shellcheck disable=SC2016  # expanded inside the namespace
    WORK=$WORK PARENT=$PARENT unshare --net --mount --pid --fork --kill-child --mount-proc bash -c '
        mount -t tmpfs tmpfs /run && ip link set lo up
        dockerd --config-file "$WORK/daemon.json" --host "unix://$WORK/docker.sock" --data-root "$WORK/engine" \
            --exec-root "$WORK/exec" --pidfile "$WORK/docker.pid" --cgroup-parent "/$PARENT" --bip 172.17.0.1/16
        exit $?' \
        >"$WORK/engine.log" 2>&1 &
    ENGINE=$!
    export DOCKER_HOST=unix://$WORK/docker.sock DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
    local _
    for _ in {1..60}; do
        docker version >/dev/null 2>&1 && break
        kill -0 "$ENGINE" 2>/dev/null || { tail -n 20 "$WORK/engine.log" && fail "the engine did not start"; }
        sleep 0.5
    done
    INSIDE=$(pgrep -P "$ENGINE")
    say "engine $(docker version --format '{{.Server.Version}}'), storage driver $(docker info --format '{{.Driver}}')"
    nsenter --net="/proc/$INSIDE/ns/net" \
        "$PYTHON" -m http.server 8000 --bind 172.17.0.1 --directory "$WORK/wheels" >"$WORK/wheels.log" 2>&1 &
    SERVER=$!
}

mirror() {
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(SITE) $(CODENAME)' 2>/dev/null | awk '$2 == "bookworm" { print $1; exit }'
}

make_base_images() {
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$WORK/root" "$(mirror)" \
        >"$WORK/debootstrap.log" 2>&1 || { tail "$WORK/debootstrap.log" && fail "debootstrap"; }
    ln -sf python3 "$WORK/root/usr/bin/python"
    rm -rf "$WORK"/root/var/cache/apt/archives/*.deb
    tar -C "$WORK/root" --one-file-system -c . | docker import - "$(base_of Dockerfile)" >/dev/null

    # the database's image: initialises an empty folder as POSTGRES_* say, then serves
    mkdir -p "$WORK/root/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$WORK/root/etc/postgresql-common/createcluster.conf"
    printf '#!/bin/sh\nexit 101\n' >"$WORK/root/usr/sbin/policy-rc.d"
    chmod +x "$WORK/root/usr/sbin/policy-rc.d"
    chroot "$WORK/root" apt-get -qq install -y --no-install-recommends postgresql-15 >"$WORK/apt.log" 2>&1 ||
        { tail "$WORK/apt.log" && fail "apt-get install postgresql-15"; }
    cat >"$WORK/root/usr/local/bin/entrypoint" <<-'EOF'
		#!/bin/sh
		set -eu
		if [ "$(id -u)" = 0 ]; then
		    chown postgres "$PGDATA" && chmod 700 "$PGDATA"
		    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
		fi
		if [ ! -s "$PGDATA/PG_VERSION" ]; then
		    printf %s "$POSTGRES_PASSWORD" >/tmp/password
		    initdb -U "$POSTGRES_USER" --pwfile=/tmp/password -E UTF8 --locale=C.UTF-8 \
		        --auth-local=trust --auth-host=scram-sha-256 >/dev/null
		    rm /tmp/password
		    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
		    pg_ctl -w start -o "-c listen_addresses=" >/dev/null
		    createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
		    pg_ctl -w stop >/dev/null
		fi
		exec postgres -c 'listen_addresses=*'
	EOF
    chmod +x "$WORK/root/usr/local/bin/entrypoint"
    tar -C "$WORK/root" --one-file-system -c . | docker import \
        --change 'ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin' \
        --change 'ENTRYPOINT ["entrypoint"]' \
        - "$(base_of docker-compose.yml)" >/dev/null
    rm -rf --one-file-system "$WORK/root"
    say "base images: $(docker images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | paste -sd, )"
}

# The base image that a file names: the names stand in those files only.
base_of() { sed -nE 's/^ARG BASE=//p; s/^ +image: (postgres:.*)/\1/p' "$ROOT/$1"; }

compose() { (cd "$CHECKOUT" && "${COMPOSE[@]}" -p drivebeatcheck "$@"); }
inside() { nsenter --net="/proc/$INSIDE/ns/net" "$@"; }
sql() { compose exec -T postgres psql -U drivebeat -At -c "$1" </dev/null; }
state_of() { docker inspect --format "$1" "$2"; }

await_workers() {
    local id _
    for _ in {1..300}; do
        local running=0
        for id in $(compose ps -q worker); do
            [[ $(state_of '{{.State.Status}}' "$id") == exited ]] || running=1
            (($(state_of '{{.RestartCount}}' "$id") < 3)) || { compose logs worker && fail "a worker restarts"; }
        done
        ((running)) || break
        sleep 1
    done
    for id in $(compose ps -q worker); do
        [[ $id == "${KILLED:-}" ]] && continue
        [[ $(state_of '{{.State.Status}} {{.State.ExitCode}}' "$id") == "exited 0" ]] ||
            { compose logs worker && fail "worker: $(state_of '{{json .State}}' "$id")"; }
    done
}

assert_budget_met() {
    local finished
    finished=$(sql "select count(*) from trials where state in ('COMPLETE', 'PRUNED')")
    [[ $finished == "$TRIALS" ]] || fail "$finished finished trials, $TRIALS expected"
    say "finished trials: $finished of $TRIALS $1"
}

# One worker's container is killed while a trial of its own is under way.
kill_one() {
    local _ name
    for _ in {1..600}; do
        name=$(sql "select host from drivebeat_slots where state = 'claimed' and trial is not null limit 1")
        [[ -n $name ]] && break
        sleep 0.2
    done
    [[ -n ${name:-} ]] || fail "no worker began a trial"
    KILLED=$(docker inspect --format '{{.Id}}' "$name")
    docker kill "$KILLED" >/dev/null
    say "killed: container $name with its trial under way"
}

assert_taken_on() {
    local resumed
    resumed=$(sql "select count(*) from trial_user_attributes where key = 'resumed'")
    ((resumed >= 1)) || fail "nobody took on the killed worker's trial"
    say "trials taken on by another worker: $resumed"
}

# With a larger budget the search goes on; a stop in its middle leaves its trials open for the next worker.
check_stop() {
    local _ id
    sed -i "s/^trials = .*/trials = 500/" "$CHECKOUT/search/studies/check.toml"
    compose up -d --scale worker=2
    for _ in {1..60}; do
        [[ $(sql "select count(*) from trials where state = 'RUNNING'") != 0 ]] && break
        sleep 1
    done
    (($(sql 'select count(*) from trials') > TRIALS)) || fail "no trial runs after the budget was raised"
    compose stop worker
    [[ $(sql "select count(*) from drivebeat_slots where state in ('claimed', 'telling')") == 0 ]] ||
        fail "stopped workers kept their trials"
    for id in $(compose ps -q worker); do
        [[ $(state_of '{{.State.ExitCode}}' "$id") == 0 ]] ||
            fail "a stopped worker exits $(state_of '{{.State}}' "$id")"
    done
    say "slots after a stop in order: $(sql "select string_agg(state || ' ' || n, ', ') from
        (select state, count(*) n from drivebeat_slots group by state) t")"
}

check_dashboard() {
    local id _
    id=$(compose ps -q dashboard)
    for _ in {1..90}; do
        [[ $(state_of '{{.State.Health.Status}}' "$id") == healthy ]] && break
        sleep 1
    done
    [[ $(state_of '{{.State.Health.Status}}' "$id") == healthy ]] || fail "the dashboard is not healthy"
    ! inside curl -fs "http://127.0.0.1:$PORT/dashboard/" >/dev/null || fail "the dashboard asks for no password"
    inside curl -fsS -u "me:$DOOR" "http://127.0.0.1:$PORT/dashboard/" | grep -i '<title>' >/dev/null || fail "no dashboard page"
    inside curl -fsS -u "me:$DOOR" "http://127.0.0.1:$PORT/api/studies" | grep '"check"' >/dev/null || fail "the dashboard has no study"
    ! inside curl -fs --max-time 5 "http://172.17.0.1:$PORT/dashboard/" >/dev/null ||
        fail "the dashboard answers on other addresses than 127.0.0.1"
    say "dashboard: healthy, shows the study, answers on 127.0.0.1 only"
}

check_rules() {
    ! compose run --rm -T --entrypoint touch worker data/raw/x 2>/dev/null || fail "recordings can be written to"
    [[ $(compose run --rm -T --entrypoint id worker -u 2>/dev/null) == 1000 ]] || fail "the worker runs as another user"
    ! POSTGRES_PASSWORD='' compose config -q 2>/dev/null || fail "an empty password is accepted"
    ! DASHBOARD_PASSWORD='' compose config -q 2>/dev/null || fail "a dashboard without a password is accepted"
    # grep without -q reads to the end: a writer whose reader goes early fails under pipefail
    POSTGRES_PASSWORD=x DASHBOARD_PASSWORD=x compose -f docker-compose.yml -f docker-compose.gpu.yml config |
        grep 'driver: nvidia' >/dev/null || fail "the GPU file does not reserve a GPU"
    say "rules: recordings read-only, user 1000, a password is required, the GPU file reserves a GPU"
}

need
WORK=$(mktemp -d "${TMPDIR:-/tmp}/drivebeat-compose.XXXXXX")
CHECKOUT=$WORK/checkout
trap clean_up EXIT
trap 'exit 130' INT TERM
copy_checkout
collect_wheels
# .env speaks alone from here on: Compose lets the shell's variables win over it
unset "${!PIP_@}" "${!DRIVEBEAT_@}" "${!STUDY@}" POSTGRES_PASSWORD "${!DASHBOARD_@}"
start_engine
make_base_images
compose build 2>&1 | tee "$WORK/build.log" | grep -E '^Step|^Successfully' ||
    { tail "$WORK/build.log" && fail "build"; }
say "image: $(docker images drivebeat --format '{{.Repository}}:{{.Tag}} {{.Size}}')"
compose run --rm -T cli data synth --out data/demo --sessions 4 --minutes 0.5 --speeds 50,100
[[ -z $(find "$CHECKOUT/data/demo" -type f ! -user 1234) ]] || fail "recordings are not owned by HOST_UID"
compose up -d --scale worker=4
[[ $(compose ps -q worker | wc -l) == 4 ]] || fail "four workers were asked for"
kill_one
await_workers
compose logs --no-color worker | grep -E 'trial|done'
assert_budget_met "by four workers, one of them killed"
assert_taken_on
check_dashboard
compose run --rm -T cli export check -o runs/best.yaml
[[ $(stat -c %u "$CHECKOUT/runs/best.yaml") == 1234 ]] || fail "best.yaml is not owned by HOST_UID"
grep -E 'git_commit|score:' "$CHECKOUT/runs/best.yaml"
compose up -d --scale worker=4
await_workers
assert_budget_met "after a second start"
check_rules
check_stop
say "disk: $(du -shx "$WORK" | cut -f1)"
compose down -v --remove-orphans
say "everything holds"
