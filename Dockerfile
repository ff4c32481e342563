# Drivebeat in an image: the environment in /opt/venv, the checkout in /app, the command `drivebeat`.
# Built by docker-compose.yml, or by hand: docker build -t drivebeat:cpu .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build

# Where pip finds torch. The default has the CPU builds; empty takes pip's own index, whose Linux builds bring CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# pip reads these by itself wherever they are given: a mirror, a folder of wheels, a proxy's certificate.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG PIP_TRUSTED_HOST
ARG PIP_DEFAULT_TIMEOUT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:${PATH}

RUN python3 -m venv /opt/venv
WORKDIR /app

# The environment changes seldom and the code often, so each is a layer of its own.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*p['dependencies'], *(line for extra in ('train', 'postgres', 's3') for line in p['optional-dependencies'][extra]), sep='\n')" > /tmp/all.txt \
    && grep '^torch[<>=]' /tmp/all.txt > /tmp/torch.txt
# torch goes first and alone, so that its index serves torch only.
# hadolint ignore=DL3059
RUN pip install --no-deps ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} -r /tmp/torch.txt
# hadolint ignore=DL3059
RUN pip install -c constraints.txt -r /tmp/all.txt

COPY README.md ./
COPY models models
COPY objectives objectives
COPY data data
COPY training training
COPY search search
COPY drivebeat.py ./
RUN pip install --no-deps --editable . && python -m compileall -q models objectives data training search drivebeat.py


FROM ${BASE}

RUN useradd --uid 1000 --create-home drivebeat
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# Made here so that a named volume mounted on artifacts, and folders mounted on the others, find their place.
RUN mkdir -p artifacts runs data/raw data/demo && chown 1000:1000 artifacts runs data/demo

ENV PATH=/opt/venv/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    DRIVEBEAT_ARTIFACTS=/app/artifacts
# The image has no .git to ask; last, because it changes with every commit.
ARG DRIVEBEAT_COMMIT=unknown
ENV DRIVEBEAT_COMMIT=${DRIVEBEAT_COMMIT}

USER 1000:1000
# No HEALTHCHECK: the image has several roles, and only the dashboard listens; docker-compose.yml checks that one.
ENTRYPOINT ["drivebeat"]
CMD ["--help"]
