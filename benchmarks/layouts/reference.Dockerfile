# syntax=docker/dockerfile:1
# Two stages and one COPY of /app between them: the layout of Depot's "Optimal Dockerfile for
# Python with uv", https://depot.dev/docs/container-builds/optimal-dockerfiles/python-uv-dockerfile
ARG PYTHON
ARG UV
FROM ghcr.io/astral-sh/uv:${UV} AS uv

FROM python:${PYTHON} AS build
COPY --from=uv /uv /uvx /bin/
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-dev --no-install-project
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-dev --frozen

FROM python:${PYTHON} AS runtime
ENV PATH=/app/.venv/bin:$PATH
RUN groupadd --gid 1001 service \
    && useradd --uid 1001 --gid service --create-home --home-dir /app --shell /bin/false service
WORKDIR /app
COPY --from=build --chown=service:service /app .
USER service
# The exec form knows no build argument; exec leaves the same one process.
ARG PACKAGE
ENV PACKAGE=${PACKAGE}
CMD exec python -m "$PACKAGE"
