# One stage, so uv stays inside: the layout of https://github.com/astral-sh/uv-docker-example
ARG PYTHON
ARG UV
FROM ghcr.io/astral-sh/uv:${UV} AS uv

FROM python:${PYTHON}
COPY --from=uv /uv /uvx /usr/local/bin/
RUN groupadd --system --gid 999 app && useradd --system --uid 999 --gid app --create-home app
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_DEV=1
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --locked --no-install-project
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked
ENV PATH=/app/.venv/bin:$PATH
USER app
# The exec form knows no build argument; exec leaves the same one process.
ARG PACKAGE
ENV PACKAGE=${PACKAGE}
CMD exec python -m "$PACKAGE"
