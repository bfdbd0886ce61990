"""The scripts of a project say what is wrong: each runs by itself, on files made for it."""

import dataclasses
import importlib.util
import itertools
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import helpers.programs
import pytest
from helpers.files import write
from helpers.image import EPOCH_1980
from helpers.programs import make_program
from helpers.project import Copy

pytestmark = pytest.mark.render

MIB = 2**20


@pytest.fixture(scope="module")
def scripts(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the scripts of a project."""
    return copy(tmp_path_factory.mktemp("scripts") / "project") / "scripts"


def run(
    *command: str | Path,
    cwd: Path,
    programs: Path | None = None,
    env: dict[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command with this Python, programs in front of all others, and no git settings."""
    path = [str(programs)] * bool(programs) + [str(Path(sys.executable).parent), os.environ["PATH"]]
    unset = [f"--unset={name}" for name in os.environ if name.startswith("GIT_")]
    given = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    given |= {"PATH": os.pathsep.join(path)} | (env or {})
    words = [*unset, *(f"{name}={value}" for name, value in given.items())]
    return helpers.programs.run("env", *words, *command, cwd=cwd, check=check)


def moved(script: Path, folder: Path) -> Path:
    """Return a copy of a script whose absolute folders are in a folder of the test."""
    text = re.sub(
        r"(?<![\w.$}*/-])/(rootfs|local|wheels|packages|app|run)\b",
        rf"{folder}/\1",
        script.read_text(),
    )
    copied = folder / script.name
    copied.write_text(text)
    return copied


# --- layer.sh -----------------------------------------------------------------------------------


def code_of(source: Path) -> tuple[int, CodeType]:
    """Return the flags and the code of a module's bytecode."""
    compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
    return int.from_bytes(compiled[4:8], "little"), marshal.loads(compiled[16:])


def test_bytecode_is_checked_by_nothing_and_names_the_image(scripts: Path, tmp_path: Path) -> None:
    """Also where there is bytecode already, which has a date in it."""
    modules = ["app/one.py", "app/two words.py", "app/sub/three.py"]
    write(tmp_path, dict.fromkeys(modules, "def f(x):\n    return x.y(1)\n"))
    run(sys.executable, "-m", "compileall", "-q", "app/one.py", cwd=tmp_path)
    done = run("sh", scripts / "image/layer.sh", "compile", tmp_path, "app", cwd=tmp_path)
    assert done.stdout + done.stderr == ""
    for module in modules:
        flags, code = code_of(tmp_path / module)
        assert flags == 1, "unchecked, by the hash"
        assert code.co_filename == f"/{module}"
        function = next(part for part in code.co_consts if isinstance(part, CodeType))
        assert {column for *_, column, _ in function.co_positions()} == {None}


@pytest.mark.parametrize("cores", [1, 8])
def test_each_process_compiles_a_fixed_share(scripts: Path, tmp_path: Path, cores: int) -> None:
    """What it compiled before a module decides some of its bytes."""
    names = [f"app/{'Zz' if n % 2 else 'aé'}{n:04}.py" for n in range(700)]
    write(tmp_path, dict.fromkeys(names, ""))
    shares = tmp_path / "shares"
    shares.mkdir()
    record = f'[ "$PYTHONDONTWRITEBYTECODE" = 1 ] || exit 1\nprintf "%s\\n" "$@" >"{shares}/$$"'
    make_program(tmp_path / "bin", "python", record)
    make_program(tmp_path / "bin", "nproc", f"echo {cores}")
    # No other order of another machine.
    sort = shutil.which("sort")
    make_program(tmp_path / "bin", "sort", f'[ "$LC_ALL" = C ] && exec {sort} "$@"')
    command = ("sh", scripts / "image/layer.sh", "compile", ".", "app")
    mine = {"LC_ALL": "", "PYTHONDONTWRITEBYTECODE": ""}
    run(*command, cwd=tmp_path, programs=tmp_path / "bin", env=mine)
    compiled = [share.read_text().partition("\n/\n")[2].split() for share in shares.iterdir()]
    assert [len(share) for share in sorted(compiled)] == [300, 300, 100]
    assert [*itertools.chain(*sorted(compiled))] == sorted(names, key=str.encode)


def test_as_many_processes_compile_as_there_are_cores(scripts: Path, tmp_path: Path) -> None:
    write(tmp_path, {f"app/{n}.py": "" for n in range(301)})
    # Each waits for the other.
    wait = (
        'touch "here/$$"; for _ in $(seq 100); do [ "$(ls here | wc -l)" = 2 ] && exit; sleep 0.1'
    )
    (tmp_path / "here").mkdir()
    make_program(tmp_path / "bin", "python", f"{wait}; done; exit 1")
    make_program(tmp_path / "bin", "nproc", "echo 2")
    layer = scripts / "image/layer.sh"
    run("sh", layer, "compile", ".", "app", cwd=tmp_path, programs=tmp_path / "bin")


def test_normalized_files_have_one_date_and_are_roots_to_write(
    scripts: Path, tmp_path: Path
) -> None:
    outside = write(tmp_path, {"outside": ""}) / "outside"
    tree = write(tmp_path / "tree", {"closed": "", "open": "", "program": "", "sub/file": ""})
    for name, mode in {"closed": 0o600, "open": 0o666, "program": 0o711, "sub": 0o700}.items():
        (tree / name).chmod(mode)
    (tree / "link").symlink_to(outside)
    (tree / "nowhere").symlink_to("missing")
    before = outside.stat().st_mtime
    run("sh", scripts / "image/layer.sh", "normalize", tree, cwd=tmp_path)
    assert {path.lstat().st_mtime for path in (tree, *tree.rglob("*"))} == {EPOCH_1980}
    assert outside.stat().st_mtime == before
    modes = {name: (tree / name).stat().st_mode & 0o7777 for name in ("closed", "open", "program")}
    assert modes == {"closed": 0o644, "open": 0o644, "program": 0o755}
    assert (tree / "sub").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("apt", [True, False])
def test_user_has_a_name_beside_those_of_debian(scripts: Path, tmp_path: Path, apt: bool) -> None:
    layer = moved(scripts / "image/layer.sh", tmp_path)
    if apt:
        users = {"packages/passwd": "postgres:x:100:\n", "packages/group": "postgres:x:101:\n"}
        write(tmp_path, users)
    run("sh", layer, "name_user", tmp_path / "root", cwd=tmp_path)
    for name, last in {
        "passwd": "app:x:10001:10001::/tmp:/usr/sbin/nologin\n",
        "group": "app:x:10001:\n",
    }.items():
        etc = tmp_path / "packages" if apt else Path("/etc")
        assert (tmp_path / "root/etc" / name).read_text() == (etc / name).read_text() + last


def test_what_only_uv_and_shells_read_is_removed(scripts: Path, tmp_path: Path) -> None:
    kept = ["bin/python", "bin/uvicorn", "lib/module.py", "pyvenv.cfg"]
    left_out = ["bin/activate", "bin/activate.fish", "bin/deactivate.bat", ".lock", ".gitignore"]
    write(tmp_path, dict.fromkeys([*kept, *left_out, "CACHEDIR.TAG"], ""))
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\nuv = 0.13.9\nversion_info = 3.14\n")
    run("sh", scripts / "image/layer.sh", "strip", tmp_path, cwd=tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert sorted(found) == sorted([*kept, "bin", "lib"])
    assert (tmp_path / "pyvenv.cfg").read_text() == "home = /usr\nversion_info = 3.14\n"


def test_what_has_a_mebibyte_is_in_the_heavy_layer(scripts: Path, tmp_path: Path) -> None:
    site = "app/.venv/lib/python3.14/site-packages"
    sizes = {
        "heavy/a.py": MIB // 2,
        "heavy/sub/b.py": MIB // 2,
        "module.so": MIB,
        "light/a.py": MIB - 1,
        "other.py": 10,
    }
    for name, size in sizes.items():
        write(tmp_path / site, {name: "a" * size})
    # The bytes of files decide, not those of folders and links.
    (tmp_path / site / "light" / "link").symlink_to("a" * 200)
    app, root, heavy = (tmp_path / name for name in ("app", "root", "heavy"))
    run("sh", scripts / "image/layer.sh", "split", app, root, heavy, cwd=tmp_path)
    assert {path.name for path in (heavy / site).iterdir()} == {"heavy", "module.so"}
    assert {path.name for path in (root / site).iterdir()} == {"light", "other.py"}
    assert not app.exists()


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\nMIIB\n-----END {kind}-----\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".env", "TOKEN=1\n"),
        ("config/.env.production", "TOKEN=1\n"),
        (".netrc", "machine example.com\n"),
        ("sub/.pypirc", "[pypi]\n"),
        *(
            (f"{kind.split()[0].lower()}.pem", f"x\n{pem(kind)}")
            for kind in ("PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "X9 Y PRIVATE KEY")
        ),
    ],
)
def test_secret_is_refused_and_named(
    scripts: Path, tmp_path: Path, path: str, content: str
) -> None:
    write(tmp_path, {path: content, "app.py": ""})
    layer = scripts / "image/layer.sh"
    done = run("sh", layer, "refuse_secrets", tmp_path, cwd=tmp_path, check=False)
    assert done.returncode == 1
    first, _ = done.stderr.splitlines()
    assert first == f"Looks like a secret, and would be in the image: {tmp_path / path}"


def test_what_only_looks_like_a_secret_is_let_through(scripts: Path, tmp_path: Path) -> None:
    files = {
        ".env.example": "TOKEN=\n",
        "bundle.pem": pem("CERTIFICATE") + pem("PUBLIC KEY"),
        "text.md": "A key begins with -----BEGIN PRIVATE KEY-----\n",
        "environment.env": "",
    }
    write(tmp_path, files)
    done = run("sh", scripts / "image/layer.sh", "refuse_secrets", tmp_path, cwd=tmp_path)
    assert done.stderr == ""


@pytest.mark.parametrize("task", ["compile", "date", "normalize", "strip", "split"])
def test_what_cannot_be_done_fails(scripts: Path, tmp_path: Path, task: str) -> None:
    missing = [tmp_path / "missing", tmp_path / "no" / "where", tmp_path / "out"]
    done = run("sh", scripts / "image/layer.sh", task, *missing, cwd=tmp_path, check=False)
    assert done.returncode != 0


def test_unknown_task_fails(scripts: Path, tmp_path: Path) -> None:
    for script, *task in (("layer.sh", "compille", "."), ("project.sh", "instal")):
        with pytest.raises(AssertionError, match="exit code"):
            run("sh", scripts / "image" / script, *task, cwd=tmp_path)


# --- project.sh ---------------------------------------------------------------------------------

LOCK = """
[[package]]
name = "project"
source = { editable = "." }

[[package]]
name = "with-source"
source = { directory = "libs/a" }

[[package]]
name = "without-source"
source = { editable = "libs/b" }

[[package]]
name = "virtual"
source = { virtual = "libs/c" }

[[package]]
name = "public"
source = { registry = "https://pypi.org/simple" }
"""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """Return a repository whose libraries have their source here, or only their pyproject.toml."""
    manifests = {f"libs/{name}/pyproject.toml": "" for name in "abc"}
    write(tmp_path, {"uv.lock": LOCK, "libs/a/a.py": "", "app.py": "", **manifests})
    return tmp_path


def test_project_and_what_has_no_source_here_is_left_out(scripts: Path, libraries: Path) -> None:
    done = run("sh", scripts / "image/project.sh", "skip", cwd=libraries)
    names = ["project", "without-source", "virtual"]
    assert done.stdout.split() == [f"--no-install-package={name}" for name in names]


# What stands for uv: it says what it was asked, and leaves what an installation leaves.
UV = """
echo "$@" >>"{0}/asked"
case $1 in
  export) printf '%s\\n' {1} ;;
  build) mkdir -p "{0}/wheels" && touch "{0}/wheels/built.whl" ;;
  pip)
    site="{0}/rootfs/app/.venv/lib/orders-1.0.dist-info"
    mkdir -p "$site" && touch "$site/RECORD" "$site/WHEEL" "$site/METADATA"
    touch "{0}/rootfs/app/.venv/.lock" ;;
esac
"""


def install(
    scripts: Path, repository: Path, *paths: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run the installation of what uv names by these paths; return it and what uv was asked."""
    named = " ".join(f"'{path}'" for path in paths)
    make_program(repository / "bin", "uv", UV.replace("{0}", str(repository)).replace("{1}", named))
    script = moved(scripts / "image/project.sh", repository)
    arguments = ("install", "--extra", "postgres")
    done = run("sh", script, *arguments, cwd=repository, programs=repository / "bin", check=False)
    return done, [line.split() for line in (repository / "asked").read_text().splitlines()]


def test_libraries_are_built_anew_and_installed_alone(scripts: Path, libraries: Path) -> None:
    paths = [".", "./libs/a ; sys_platform == 'linux'", "./libs/gone", "fastapi==1.0"]
    done, asked = install(scripts, libraries, *paths)
    assert done.returncode == 0, done.stderr
    export, *builds, pip = asked
    # Those of the lock as it is, for these options, none of them a link, and none of a group.
    wanted = {"--frozen", "--no-default-groups", "--no-editable", "--extra", "postgres"}
    assert wanted <= set(export)
    # A wheel of older source is never taken for this one.
    assert [build[-1] for build in builds] == [".", "./libs/a"]
    assert all({"--no-cache", "--wheel"} <= set(build) for build in builds)
    # Dependencies are there already, and no setting of the project has a say.
    assert {"--no-config", "--no-cache", "--no-deps"} <= set(pip)
    left = {path.name for path in (libraries / "rootfs").rglob("*") if path.is_file()}
    assert left == {"METADATA"}


def test_library_without_its_source_fails_the_build_and_is_named(
    scripts: Path, libraries: Path
) -> None:
    done, asked = install(scripts, libraries, "./libs/b")
    assert done.returncode == 1
    assert "uv.lock names ./libs/b, but no COPY in the Dockerfile copies its source." in done.stderr
    assert len(asked) == 1


# --- access.sh ----------------------------------------------------------------------------------


def opened(
    copy: Copy, folder: Path, command: str, secrets: dict[str, str], key: str = "", **answers: str
) -> subprocess.CompletedProcess[str]:
    """Run a command behind access.sh, with secrets as a build has them and a key as a pipeline."""
    project = copy(folder / "project", **answers)
    script = moved(project / "scripts/image/access.sh", folder)
    write(folder / "run" / "secrets", secrets)
    make_program(folder / "bin", "ssh-agent", "echo 'SSH_AUTH_SOCK=/agent; export SSH_AUTH_SOCK;'")
    make_program(folder / "bin", "ssh-add", f'[ "$SSH_AUTH_SOCK" = /agent ] && cat >"{folder}/key"')
    pipeline = {"SSH_PRIVATE_KEY": key} if key else {}
    command = f". {script} && {command}"
    programs = folder / "bin"
    return run("sh", "-euc", command, cwd=folder, programs=programs, env=pipeline, check=False)


GIT_LOGIN = {"GIT_USERNAME": "ada", "GIT_PASSWORD": "a-token"}


@pytest.mark.parametrize(("host", "known"), [("git.corp", True), ("git.example.com", False)])
def test_login_of_git_is_for_its_server_alone(
    copy: Copy, tmp_path: Path, host: str, known: bool
) -> None:
    ask = f"printf 'protocol=https\\nhost={host}\\n\\n' | git credential fill"
    done = opened(copy, tmp_path, ask, GIT_LOGIN, git_server="https://git.corp")
    assert ("password=a-token\n" in done.stdout and "username=ada\n" in done.stdout) == known
    # Nobody is asked, who could not answer.
    assert (done.returncode == 0) == known
    assert known or "terminal prompts disabled" in done.stderr


def test_address_of_ssh_is_opened_by_the_token(copy: Copy, tmp_path: Path) -> None:
    ask = "git ls-remote --get-url ssh://git@git.corp/acme/rates.git"
    done = opened(copy, tmp_path, ask, GIT_LOGIN, git_server="https://git.corp")
    assert done.stdout == "https://git.corp/acme/rates.git\n"


@pytest.mark.parametrize("trusted", [True, False])
def test_git_trusts_what_the_build_put_there(copy: Copy, tmp_path: Path, trusted: bool) -> None:
    if trusted:
        (tmp_path / "run" / "tls").mkdir(parents=True)
    ask = "sh -c 'echo ${GIT_SSL_CAINFO:-none} $CA_BUNDLE'"
    done = opened(copy, tmp_path, ask, {"CA_BUNDLE": "pem"}, certificates="company")
    bundle = f"{tmp_path}/run/tls/all" if trusted else "none"
    assert done.stdout == f"{bundle} pem\n"


def test_server_of_git_is_known_by_its_key_alone(copy: Copy, tmp_path: Path) -> None:
    known = {"SSH_KNOWN_HOSTS": "git.corp ssh-ed25519 AAAA"}
    done = opened(copy, tmp_path, "env", known, git_server="ssh://git@git.corp")
    (command,) = re.findall("^GIT_SSH_COMMAND=(.+)$", done.stdout, re.MULTILINE)
    options = dict(re.findall(r"-o (\w+)=(\S+)", command))
    assert options["StrictHostKeyChecking"] == "yes"
    assert Path(options["UserKnownHostsFile"]).read_text() == "git.corp ssh-ed25519 AAAA\n"
    # The agent is that of whoever builds.
    assert not (tmp_path / "key").exists()


def test_pipeline_has_an_agent_with_its_key_and_says_nothing(copy: Copy, tmp_path: Path) -> None:
    secrets = {"SSH_KNOWN_HOSTS": "git.corp ssh-ed25519 AAAA"}
    ask, server = "sh -c 'echo $SSH_AUTH_SOCK'", "ssh://git@git.corp"
    done = opened(copy, tmp_path, ask, secrets, key="a-private-key", git_server=server)
    assert (done.stdout, done.stderr) == ("/agent\n", "")
    assert (tmp_path / "key").read_text() == "a-private-key\n"


# --- read_only.py -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "owner", "mode", "named"),
    [
        ("module.py", 0, 0o644, False),
        ("module.py", 0, 0o755, False),
        ("module.py", 10001, 0o644, True),
        ("module.py", 0, 0o664, True),
        ("module.py", 0, 0o646, True),
        ("sub/deep/module.py", 0, 0o666, True),
        ("", 0, 0o777, True),
        ("", 12345, 0o755, True),
    ],
)
def test_what_the_service_could_change_is_named(
    scripts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    owner: int,
    mode: int,
    named: bool,
) -> None:
    app = write(tmp_path / "app", {"other.py": "", "sub/deep/other.py": "", path or "last.py": ""})
    wrong = app / path

    def stat(self: Path, **_: Any) -> SimpleNamespace:
        # Root's, whoever runs the test.
        mine = (owner, mode) if self == wrong else (0, 0o755)
        kind = os.lstat(self).st_mode & ~0o7777
        return SimpleNamespace(st_uid=mine[0], st_mode=kind | mine[1])

    source = moved(scripts / "read_only.py", tmp_path).read_text()
    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(SystemExit) as ended:
        exec(compile(source, "read_only.py", "exec"), {})
    monkeypatch.undo()
    assert ended.value.code == (f"Not root's alone:\n{wrong}" if named else 0)


# --- verify.sh ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Platform:
    """What a registry says of one platform of an image."""

    revision: str | None = "c0ffee"
    sboms: int = 1
    # BuildKit from 0.30 on says it twice: of the build, and of the request behind it.
    times: int = 2


GOOD = Platform()


def described(platforms: list[Platform]) -> dict[str, Any]:
    """Return what buildx shows of an image's manifest, provenance and SBOM."""
    said: dict[str, Any] = {"Manifest": {"manifests": []}, "Provenance": {}, "SBOM": {}}
    for number, platform in enumerate(platforms):
        # Beside each platform stands a manifest with its attestations.
        for system in ("linux", "unknown"):
            said["Manifest"]["manifests"].append({"platform": {"os": system}})
        label = {"label:org.opencontainers.image.revision": platform.revision}
        args = label if platform.revision else {}
        request: dict[str, Any] = {"args": args}
        if platform.times == 2:
            request["root"] = {"request": {"args": args}}
        said["Provenance"][f"linux/{number}"] = {"SLSA": {"request": request}}
        documents = [{"SPDXID": "SPDXRef-DOCUMENT"}] * platform.sboms
        said["SBOM"][f"linux/{number}"] = {"SPDX": documents}
    return said


@pytest.mark.parametrize(
    ("platforms", "accepted"),
    [
        ([GOOD, GOOD], True),
        ([Platform(times=1)], True),
        ([], False),
        ([GOOD, Platform(revision="decaf")], False),
        ([GOOD, Platform(revision=None)], False),
        ([Platform(revision=None), Platform(revision=None)], False),
        ([GOOD, Platform(sboms=0)], False),
        ([Platform(sboms=0), Platform(sboms=2)], True),
        ([GOOD, Platform(sboms=2)], False),
    ],
)
def test_image_is_verified_on_each_platform(
    scripts: Path, tmp_path: Path, platforms: list[Platform], accepted: bool
) -> None:
    for name, content in described(platforms).items():
        (tmp_path / f"{{{{json .{name}}}}}").write_text(json.dumps(content, indent=2))
    # docker buildx imagetools inspect --format FORMAT IMAGE
    make_program(tmp_path / "bin", "docker", f'[ "$6" = image@digest ] && cat "{tmp_path}/$5"')
    verify = ("sh", scripts / "verify.sh", "image@digest", "c0ffee")
    done = run(*verify, cwd=tmp_path, programs=tmp_path / "bin", check=False)
    assert (done.returncode == 0) == accepted, done.stdout + done.stderr
    assert f"{len(platforms)} platforms" in done.stdout


def test_registry_that_says_nothing_verifies_nothing(scripts: Path, tmp_path: Path) -> None:
    make_program(tmp_path / "bin", "docker", "echo 'not found' >&2; exit 1")
    verify = ("sh", scripts / "verify.sh", "image@digest", "c0ffee")
    done = run(*verify, cwd=tmp_path, programs=tmp_path / "bin", check=False)
    assert done.returncode != 0
