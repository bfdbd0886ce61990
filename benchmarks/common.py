"""What the benchmarks share: the tests' helpers, and the template as a release."""

import os
import platform
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from helpers.repository import release  # noqa: E402


def say(text: str) -> None:
    """Tell the person who waits what goes on; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """Say on what and when this runs."""
    cores = f"{os.cpu_count()} cores ({platform.machine()})"
    return {"machine": cores, "date": date.today().isoformat()}


def released(folder: Path, version: str) -> Path:
    """Return a clone whose newest release is the working tree, with nobody's own settings."""
    settings = folder / "settings.yml"
    settings.write_text("{}\n")
    os.environ["COPIER_SETTINGS_PATH"] = str(settings)
    return release(ROOT, folder / "template", version)
