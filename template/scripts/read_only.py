"""List what under /app the service could change, and fail if there is anything.

docker run --rm --interactive IMAGE python - <scripts/read_only.py
"""

from pathlib import Path

GROUP_OR_OTHERS_WRITE = 0o022

app = Path("/app")
found = [
    str(path)
    for path in [app, *app.rglob("*")]
    if path.stat().st_uid or path.stat().st_mode & GROUP_OR_OTHERS_WRITE
]
raise SystemExit("\n".join(["Not root's alone:", *found]) if found else 0)
