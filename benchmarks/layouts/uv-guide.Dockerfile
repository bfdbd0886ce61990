# Two stages, and only the environment, with the project installed in it, goes to the second: the
# non-editable layout of uv's guide, https://docs.astral.sh/uv/guides/integration/docker/
ARG PYTHON
ARG UV
FROM ghcr.io/astral-sh/uv:${UV} AS uv

FROM python:${PYTHON} AS build
COPY --from=uv /uv /uvx /bin/
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_DEV=1 UV_PYTHON_DOWNLOADS=0
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --locked --no-install-project --no-editable
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked --no-editable

FROM python:${PYTHON} AS runtime
RUN groupadd --system --gid 999 app && useradd --system --uid 999 --gid app --create-home app
COPY --from=build --chown=app:app /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH
USER app
# The exec form knows no build argument; exec leaves the same one process.
ARG PACKAGE
ENV PACKAGE=${PACKAGE}
CMD exec python -m "$PACKAGE"
