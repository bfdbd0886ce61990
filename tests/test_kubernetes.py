"""What a cluster is given: checked by the tools of Kubernetes, as kubectl renders it."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from helpers.cluster import CLUSTER, IMAGE, Cluster, Object, render
from helpers.files import change, loaded, texts
from helpers.programs import make_program, run
from helpers.project import DEPLOYMENT, PRODUCTION, Copy
from helpers.repository import ROOT, commit, git
from helpers.template import FRAMEWORKS
from helpers.updates import update

pytestmark = pytest.mark.render

# The oldest and the newest minor version that Kubernetes supports.
VERSIONS = ("1.35", "1.37")


EXISTING = CLUSTER | {"framework": "existing", "command": '["orders"]'}
# Every framework, and existing code of which more and less is known.
SHAPES = {framework: CLUSTER | {"framework": framework} for framework in FRAMEWORKS} | {
    "existing": EXISTING | {"health_path": "/alive"},
    "existing, a port": EXISTING,
    "existing, no port": EXISTING | {"port": ""},
}


def containers(pod: Object) -> list[Object]:
    """Return the containers of a pod, those that run first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@pytest.fixture(scope="module")
def clusters(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cluster]:
    """Return what each shape of project renders for production, in one folder."""
    folder = tmp_path_factory.mktemp("clusters")
    (folder / "rendered").mkdir()
    found = {}
    for name, answers in SHAPES.items():
        project = copy(folder / name, **answers)
        found[name] = Cluster(project, folder / "rendered" / f"{name}.yaml")
        found[name].rendered.write_text(render(project))
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_know_every_field(
    clusters: dict[str, Cluster], version: str
) -> None:
    for cluster in clusters.values():
        for found in cluster.objects:
            kubernetes_validate.validate(found, version, strict=True)


def test_checkov_finds_nothing_without_a_reason(clusters: dict[str, Cluster]) -> None:
    folder = clusters["fastapi"].rendered.parent
    checkov = ["checkov", "--framework=kubernetes", "--skip-download", "--output=json"]
    uv = ["uv", "run", "--isolated", "--frozen", "--only-group=checkov"]
    report = json.loads(run(*uv, *checkov, "-d", folder, cwd=ROOT).stdout)
    assert report["summary"]["failed"] == report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 60 * len(clusters)
    # No reason stands in an object that does not need it.
    skipped = [(c["file_path"], c["check_id"]) for c in report["results"]["skipped_checks"]]
    reasons = [
        (f"/{cluster.rendered.name}", text.partition("=")[0])
        for cluster in clusters.values()
        for found in cluster.objects
        for name, text in found["metadata"].get("annotations", {}).items()
        if name.startswith("checkov.io/skip")
    ]
    assert sorted(skipped) == sorted(reasons)


def test_pod_security_is_restricted(clusters: dict[str, Cluster]) -> None:
    """Each rule of the standard: kubernetes.io/docs/concepts/security/pod-security-standards."""
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}
    for cluster in clusters.values():
        for pod in cluster.pods:
            spec = pod["spec"]
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["runAsUser"] > 0
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert {key for volume in spec["volumes"] for key in volume} - {"name"} <= volumes
            for container in containers(pod):
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert not [p for p in container.get("ports", []) if "hostPort" in p]


def test_each_pod_is_the_users_of_the_image_and_writes_to_memory_alone(
    clusters: dict[str, Cluster],
) -> None:
    for cluster in clusters.values():
        (user,) = re.findall(
            r"^USER (\d+:\d+)$", (cluster.project / "Dockerfile").read_text(), re.M
        )
        for pod in cluster.pods:
            ids = pod["spec"]["securityContext"]
            assert f"{ids['runAsUser']}:{ids['runAsGroup']}" == user
            assert pod["spec"]["automountServiceAccountToken"] is False
            (volume,) = pod["spec"]["volumes"]
            assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
            for container in containers(pod):
                mount = {"name": volume["name"], "mountPath": "/tmp"}
                assert container["volumeMounts"] == [mount]
                assert container["resources"].keys() == {"requests", "limits"}


def test_every_reference_leads_somewhere(clusters: dict[str, Cluster]) -> None:
    """Names of objects and of ports, and the labels by which pods are selected."""
    for name, cluster in clusters.items():
        (account,), (config,) = cluster.of("ServiceAccount"), cluster.of("ConfigMap")
        assert account["automountServiceAccountToken"] is False
        labels = cluster.deployment["spec"]["template"]["metadata"]["labels"]
        others = [p["metadata"]["labels"] for p in cluster.pods][1:]
        selectors = [
            cluster.deployment["spec"]["selector"]["matchLabels"],
            *(
                found["spec"]["selector"]["matchLabels"]
                for found in cluster.of("PodDisruptionBudget")
            ),
            *(found["spec"]["selector"] for found in cluster.of("Service")),
        ]
        (spread,) = cluster.deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        for selector in [*selectors, spread["labelSelector"]["matchLabels"]]:
            assert selector.items() <= labels.items(), name
            assert not [other for other in others if selector.items() <= other.items()], name
        (policy,) = cluster.of("NetworkPolicy")
        for pod in cluster.pods:
            assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
            selected = policy["spec"]["podSelector"]["matchLabels"].items()
            assert selected <= pod["metadata"]["labels"].items()
            for container in containers(pod):
                assert container["image"] == IMAGE
                first, second = container["envFrom"]
                assert first == {"configMapRef": {"name": config["metadata"]["name"]}}
                assert second["secretRef"]["name"] == account["metadata"]["name"]

        ports = [port["containerPort"] for port in cluster.app.get("ports", [])]
        assert ports == ([cluster.port] if cluster.port else []), name
        assert len(cluster.of("Service")) == len(ports)
        assert len(cluster.of("HorizontalPodAutoscaler")) == len(ports)
        # Either the autoscaler says how many there are, or the Deployment.
        assert ("replicas" in cluster.deployment["spec"]) != bool(ports)
        assert ("ingress" in policy["spec"]) == bool(ports)
        for found in cluster.of("HorizontalPodAutoscaler"):
            target = found["spec"]["scaleTargetRef"]
            assert target["name"] == cluster.deployment["metadata"]["name"]
        for found in cluster.of("Service"):
            assert [port["targetPort"] for port in found["spec"]["ports"]] == ["http"]


def handler(container: Object, kind: str) -> Any:
    """Return how a probe of a container asks, or None if there is no such probe."""
    probe = container.get(f"{kind}Probe", {})
    return next((probe[how] for how in ("httpGet", "tcpSocket", "exec") if how in probe), None)


def test_probes_ask_what_the_image_answers(clusters: dict[str, Cluster]) -> None:
    for name, cluster in clusters.items():
        dockerfile = (cluster.project / "Dockerfile").read_text()
        alive, ready = handler(cluster.app, "liveness"), handler(cluster.app, "readiness")
        assert handler(cluster.app, "startup") == alive
        if name == "existing, no port":
            assert alive is ready is None
        elif name == "existing, a port":
            assert alive == ready == {"port": "http"}
        elif cluster.port:
            assert f"'GET', '{alive['path']}'" in dockerfile
            assert ready["path"] == ("/alive" if name == "existing" else "/readyz")
            assert alive["port"] == ready["port"] == "http"
        else:
            (check,) = re.findall(r"HEALTHCHECK .*\n +CMD (\[.+\])$", dockerfile, re.M)
            assert alive == {"command": json.loads(check)}
            assert ready == {"command": ["python", "-m", "my_service.health", "--ready"]}


def test_no_pod_of_a_release_starts_before_its_migration(clusters: dict[str, Cluster]) -> None:
    """One Job migrates, and each pod waits for what it does."""
    for name, cluster in clusters.items():
        commands = [c.get("command") for pod in cluster.pods for c in containers(pod)]
        migrate = ["python", "-m", "my_service.manage", "migrate"]
        migrates = [[*migrate, "--check", "--plan"], None, migrate]
        assert commands == (migrates if name == "django" else [None])


def test_a_stop_fits_its_grace(clusters: dict[str, Cluster]) -> None:
    """preStop, and the 25 seconds after SIGTERM in which work finishes."""
    for cluster in clusters.values():
        lifecycle = cluster.app.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        waits = lifecycle["preStop"]["sleep"]["seconds"]
        grace = cluster.deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert (waits > 0) == bool(cluster.port)
        assert grace == waits + 25 + 5


def test_a_secret_that_is_needed_is_not_optional(clusters: dict[str, Cluster]) -> None:
    """Without it the pod waits and says so, where the service would take a default."""
    for name, cluster in clusters.items():
        _, secret = cluster.app["envFrom"]
        assert secret["secretRef"].get("optional", False) == (name not in {"django", "worker"})


def test_a_changed_setting_makes_new_pods(clusters: dict[str, Cluster], tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(clusters["fastapi"].project, project)
    change(project, PRODUCTION, "LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG")
    cluster = Cluster(project, tmp_path / "rendered.yaml")
    cluster.rendered.write_text(render(project))
    assert cluster.of("ConfigMap")[0]["data"] == {"LOG_LEVEL": "DEBUG"}
    assert cluster.app["envFrom"][0] != clusters["fastapi"].app["envFrom"][0]
    # An environment of another name is a copy of the folder.
    overlays = project / "deploy" / "overlays"
    shutil.copytree(overlays / "production", overlays / "staging")
    assert render(project, "staging") == cluster.rendered.read_text()


@pytest.mark.parametrize(
    ("overlay", "image", "message"),
    [
        ("production", "registry.example.com/acme/orders:v1.2.0", "has no digest"),
        ("production", "", "IMAGE@sha256"),
        ("staging", IMAGE, "staging"),
    ],
)
def test_what_cannot_be_rendered_is_refused(
    clusters: dict[str, Cluster], overlay: str, image: str, message: str
) -> None:
    project = clusters["fastapi"].project
    before = texts(project)
    with pytest.raises(AssertionError, match=message):
        render(project, overlay, image)
    assert texts(project) == before


def test_an_image_that_nothing_takes_is_refused(
    clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    """Or what ran before would be said to be the release."""
    project = tmp_path / "project"
    shutil.copytree(clusters["fastapi"].project, project)
    change(project, DEPLOYMENT, "image: .+", "image: another")
    with pytest.raises(AssertionError, match="no container with the image my-service"):
        render(project)


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_a_person_commits_what_the_cluster_runs(copy: Copy, tmp_path: Path, host: str) -> None:
    """Each host's own script, with a registry and a repository of this machine."""
    project = copy(tmp_path / "project", ci=host, repository="Acme/orders", **CLUSTER)
    commit(project)
    # GitHub's address of it has no .git.
    remote = tmp_path / "acme" / "orders"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    programs = tmp_path / "programs"
    for name, script in {"docker": 'echo "$DIGEST"', "gh": "true", "apk": "true"}.items():
        make_program(programs, name, script)
    if host == "github":
        workflow = loaded(project, ".github/workflows/kubernetes.yml")
        assert workflow["on"].keys() == {"workflow_dispatch"}
        step = workflow["jobs"]["production"]["steps"][-1]
        command = ["bash", "-e", "-c", step["run"]]
        image = "ghcr.io/acme/orders"
    else:
        job = loaded(project, ".gitlab-ci.yml")["deploy"]
        assert [rule.get("when") for rule in job["rules"]] == ["manual"]
        command = ["sh", "-e", "-c", "\n".join(job["script"])]
        image = "registry.gitlab.com/acme/orders"
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        **{"GITHUB_SERVER_URL": str(tmp_path), "GITHUB_REPOSITORY": "acme/orders"},
        **{"CI_REPOSITORY_URL": str(remote), "IMAGE": image, "RELEASE": "main"},
        **{"GITLAB_USER_NAME": "Ada", "GITLAB_USER_EMAIL": "ada@example.com"},
    }
    for number in "12":
        digest = "sha256:" + number * 64
        run(*command, cwd=project, env=environment | {"DIGEST": digest})
        branch = "environment/production"
        assert git(remote, "show", f"{branch}:objects.yaml") == render(
            project, image=f"{image}@{digest}"
        )
        assert git(remote, "log", "-1", "--format=%s", branch) == f"Run {image}@{digest}\n"
    # What ran before is the commit before, and nothing else is there.
    assert git(remote, "rev-list", "--count", branch) == "2\n"
    assert git(remote, "ls-tree", "--name-only", branch) == "objects.yaml\n"
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_a_project_gets_it_by_an_update(copy: Copy, tmp_path: Path, host: str) -> None:
    project = copy(tmp_path / "project", ci=host)
    commit(project)
    update(project, deploy="kubernetes")
    git(project, "add", "--all")
    changed = git(project, "diff", "--cached", "--name-only").split()
    pipeline = {"github": ".github/workflows/kubernetes.yml", "gitlab": ".gitlab-ci.yml"}[host]
    others = {name for name in changed if not name.startswith("deploy/")}
    assert others == {".copier-answers.yml", "renovate.json", pipeline}
    assert render(project)
