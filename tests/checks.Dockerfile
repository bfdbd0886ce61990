# A generated project's own checks, on a Python that this machine need not have.
ARG UV
ARG PYTHON
FROM ghcr.io/astral-sh/uv:${UV} AS uv
FROM python:${PYTHON} AS locks
COPY --from=uv /uv /usr/local/bin/
ENV UV_PYTHON=/usr/local/bin/python UV_LINK_MODE=copy
WORKDIR /project
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv lock --check

FROM locks AS checks
RUN --mount=type=cache,target=/root/.cache/uv \
    uv run --locked ruff format --check \
    && uv run --locked ruff check \
    && uv run --locked mypy \
    && uv run --locked pytest
