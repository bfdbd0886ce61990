# What uv alone can write: the lock with more dependencies, and requirements.txt for pip. In a
# container, because this machine need not have the service's Python.
ARG PYTHON
ARG UV
FROM ghcr.io/astral-sh/uv:${UV} AS uv

FROM python:${PYTHON} AS prepare
COPY --from=uv /uv /usr/local/bin/
ENV UV_PYTHON=/usr/local/bin/python
WORKDIR /before
COPY pyproject.toml uv.lock ./
RUN cp -a /before /after
RUN uv export --quiet --frozen --no-dev --no-emit-project --output-file=requirements.txt
WORKDIR /after
ARG DEPENDENCIES
RUN --mount=type=cache,target=/root/.cache/uv \
    uv add --quiet --no-sync $DEPENDENCIES \
    && uv export --quiet --frozen --no-dev --no-emit-project --output-file=requirements.txt

FROM scratch
COPY --from=prepare /before /before
COPY --from=prepare /after /after
