# pip, one stage, root: what most services have. requirements.txt is exported from uv.lock, so that
# the same versions are installed.
ARG PYTHON
FROM python:${PYTHON}
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
ENV PYTHONPATH=/app/src
# The exec form knows no build argument; exec leaves the same one process.
ARG PACKAGE
ENV PACKAGE=${PACKAGE}
CMD exec python -m "$PACKAGE"
