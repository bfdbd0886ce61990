"""Right and wrong answers to the questions, as data."""

# An answer that is not the default, for each question that has no choices.
OTHERS = {
    "project_name": "Bob's Orders",
    "description": 'It\'s a "test": [a] #1 100%',
    "package_name": "billing",
    "port": "9000",
    "uv_version": "0.9.30",
    "apt_packages": "libpq5",
    "build_packages": "gcc libc6-dev",
    "registry": "registry.example.com/mirror",
    "index_url": "https://pypi.example.com/simple",
    "index_names": "acme-gpu",
    "git_server": "https://git.example.com",
    "repository": "Acme/Orders.api",
    "depot_project": "a1b2c3d4e5",
}

# The question, what is given for it, and what the message must say is allowed.
BAD = [
    *(("project_name", value, "1 to 60 characters") for value in ["", "x" * 61]),
    *(("project_name", value, "one line, none of \\`${}<>") for value in [
        "a\nb", "a\tb", "${HOME}", "{{ 7 * 7 }}", "{% raw %}", "a\\b", "`id`", "<b>",
        "a\u2028b", "a\x85b", "a\u202eb",
    ]),
    *(("project_name", value, "a letter or a digit") for value in [" ", "!!!"]),
    *(("project_name", value, "no space at either end") for value in [" padded", "padded "]),
    *(("description", value, "1 to 200 characters") for value in ["", "y" * 201]),
    *(("description", value, "one line, none of \\`${}<>") for value in [
        "two\nlines", "${HOME}", "{{ pins }}",
    ]),
    ("description", "...", "a letter or a digit"),
    *(("package_name", value, "1 to 40 characters") for value in ["", "x" * 41]),
    *(("package_name", value, "a-z and 0-9, _ in between") for value in [
        "a-b", "a.b", "a b", "Orders", "ördner", "_a", "a__b", "a_", "o'brien", 'a"b', "a\n",
        "match/../..", "${x}", "{{ x }}",
    ]),
    *(("package_name", value, "begin with a letter") for value in ["1abc", "2026"]),
    *(("package_name", value, "not be a keyword or a module") for value in [
        "class", "json", "fastapi", "dotenv", "pydantic_core", "con", "tests",
    ]),
    *(("framework", value, "fastapi") for value in ["bottle", "FastAPI", "", "fastapi "]),
    *(("database", value, "postgres") for value in ["mysql", "Postgres", "sqlite", ""]),
    *(("python_version", value, "3.14") for value in [
        "2.7", "3.10", "3.1", "3.16", "3", "", "3.14.1",
    ]),
    *(("uv_version", value, "0.8.0") for value in [
        "latest", "0.1", "1.2.3.4", "0.7.99", "v0.13.9", "", "0.13.x", "0.13.9\n", ">=0.13.9",
        "0.013.9",
    ]),
    *(("port", value, "1024 to 65535") for value in [
        "80", "1023", "65536", "70000", "abc", "8000.5", "", "-8000", "08000", "8_000", "8000 ",
        "٨٠٠٠", "8000\n",
    ]),
    *(("repository", value, "owner/name") for value in [
        "acme", "acme/", "/orders", "acme/orders/api", "https://example.com/a/b", "a b/c",
        "acme/orders\n", "acme/-x", "acme/.github", "acme/..", "acme-/x", "a" * 40 + "/x",
    ]),
    *(("index_url", value, "https://HOST/PATH, no login") for value in [
        "http://pypi.example.com/simple", "https://me:secret@pypi.example.com/simple", "pypi",
        "https://pypi.example.com/simple?x=1", "https://pypi.example.com/a b", 'https://x/"', "https://",
        "https://pypi.example.com/simple\n", "https://${HOST}/simple", "https://x/{{ y }}",
    ]),
    *(("registry", value, "HOST/PATH, without https://") for value in [
        "mirror", "https://registry.example.com", "registry.example.com/", "me:pw@example.com",
        "example.com/Mirror", "example.com/a b", "registry.example.com\n", "${X}.example.com",
    ]),
    *(("index_names", value, "names, separated by spaces") for value in [
        "a,b", " a", "a  b", "-a", "a\n", "$(id)", "ä",
    ]),
    *(("git_server", value, "https://HOST or ssh://USER@HOST") for value in [
        "git.example.com", "http://git.example.com", "https://me:pw@example.com", "https://$(id)",
        "https://example.com/acme", "ssh://git.example.com", "git@git.example.com:acme",
        "https://git.example.com\n",
    ]),
    *(("certificates", value, "public") for value in ["corporate", "Public", ""]),
    *(("image", value, "slim") for value in ["alpine", "Distroless", ""]),
    *((name, value, "Debian names, as ") for name in ("apt_packages", "build_packages")
      for value in ["libpq5; id", "$(id)", "LibPQ", "a", "libpq5  x", " libpq5", "libpq5,x", "-y",
                    "a\nb"]),
    *(("ci", value, "github") for value in ["jenkins", "GitHub Actions", ""]),
    *(("deploy", value, "kubernetes") for value in ["helm", "Kubernetes", ""]),
    *(("builder", value, "buildx") for value in ["Depot", "kaniko", ""]),
    *(("depot_project", value, "ten of a-z and 0-9") for value in [
        "abc", "ABCDE12345", "abcde123456", "abcde-1234", "$(whoami)x", "abcde12345\n",
    ]),
]  # fmt: skip

# The answers without which a question is not asked.
ASKED_WITH = {"depot_project": {"builder": "depot"}, "database": {"framework": "django"}}

# Those of existing code.
BAD_EXISTING = [
    *(("command", value, "a list, as ") for value in ['""', "uvicorn app:app", "[]", "{a: b}", "8000", '[""]', "[[a]]"]),
    *((name, value, "relative paths") for name in ("sources", "files", "manifests")
      for value in ["/etc", "../x", "a/../b", "*.py", "a  b", " a", "a ", "-a", "a/", "a//b", "./a", "a\nb", "$HOME", "a/*"]),
    *(("uv_options", value, "--package/--extra/--group NAME") for value in [
        "--no-dev", "--package", "api", "--extra a --all-groups", "--extra a; id", "--extra  a", "--extra a ", "--index x",
    ]),
    *(("health_path", value, "a path .* or empty") for value in ["healthz", "http://x/", "/a b", "/'", "/a?b", "/a\n"]),
    *(("port", value, "1024 to 65535, or empty") for value in ["80", "x"]),
    ("version_from", "hg", "git"),
    ("checks", "[Everything]", "Format"),
]  # fmt: skip


def assert_refusal_fits_the_prompt(refusal: str) -> None:
    """Raise AssertionError if a refusal without the value, shown above it, has over 80 columns."""
    said, _, value = refusal.partition(", got ")
    # A choice is not typed.
    assert said.startswith("Invalid choice for") or (len(said) <= 80 and value)
