"""deploy/kubernetes: valid by Kubernetes' own schemas, and its parts fit together. No cluster is needed."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.paths import ROOT

from fashion_mnist.serving.config import ServeConfig
from fashion_mnist.serving.transport.balanced_server import END_S
from fashion_mnist.serving.transport.worker import FINISH_S

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.33", "1.37")
"""The oldest version whose schemas were tried, and newer ones."""


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content


KUSTOMIZATION = load("kustomization.yaml")
MANIFESTS = {name: load(name) for name in KUSTOMIZATION["resources"]}
DEPLOYMENT = MANIFESTS["deployment.yaml"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
INGRESS = load("components/ingress/ingress.yaml")
COMPONENTS = sorted(path.parent for path in FOLDER.glob("components/*/kustomization.yaml"))
LABELS = DEPLOYMENT["template"]["metadata"]["labels"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_each_manifest_is_valid(name: str, version: str) -> None:
    checked = kubernetes_validate.validate(MANIFESTS[name], version, strict=True)
    assert checked == version  # and not an older version that happens to be installed


@pytest.mark.parametrize(
    ("name", "path", "wrong"),
    [
        ("deployment.yaml", ("spec", "template", "spec", "containers", 0, "livenessProbes"), {}),
        ("deployment.yaml", ("spec", "template", "spec", "terminationGracePeriodSeconds"), "long"),
        ("autoscaler.yaml", ("spec", "maxReplicas"), "many"),
        ("disruption.yaml", ("spec", "maxUnvailable"), 1),
        ("network.yaml", ("spec", "ingress"), {}),
        ("service.yaml", ("spec", "ports", 0, "port"), "http"),
    ],
)
def test_a_wrong_manifest_is_refused(name: str, path: tuple[Any, ...], wrong: object) -> None:
    broken = copy.deepcopy(MANIFESTS[name])
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_kustomization_lists_every_file_once_and_the_image() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert sorted(KUSTOMIZATION["resources"]) == sorted(files)
    assert [image["name"] for image in KUSTOMIZATION["images"]] == [CONTAINER["image"]]
    names = [(m["kind"], m["metadata"]["name"]) for m in MANIFESTS.values()]
    assert len(set(names)) == len(names)
    assert MANIFESTS["namespace.yaml"]["metadata"]["name"] == KUSTOMIZATION["namespace"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ingress_is_valid_and_leads_to_the_service(version: str) -> None:
    kubernetes_validate.validate(INGRESS, version, strict=True)
    (rule,) = INGRESS["spec"]["rules"]
    assert INGRESS["spec"]["tls"][0]["hosts"] == [rule["host"]]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = MANIFESTS["service.yaml"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]
    largest = INGRESS["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(largest.removesuffix("m")) << 20 == ServeConfig.model_fields["max_body_bytes"].default


def test_the_service_monitor_finds_the_service_and_names_the_job_of_the_alerts() -> None:
    spec = load("components/service-monitor/service-monitor.yaml")["spec"]
    service = MANIFESTS["service.yaml"]
    assert spec["selector"]["matchLabels"] == service["metadata"]["labels"]
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    prometheus = yaml.safe_load((FOLDER.parent / "prometheus" / "prometheus.yml").read_text())
    jobs = [config["job_name"] for config in prometheus["scrape_configs"]]
    assert [label["replacement"] for label in endpoint["relabelings"]] == jobs


def test_the_autoscaler_with_saturation_is_valid_and_asks_for_the_metric_of_the_adapter() -> None:
    folder = FOLDER / "components" / "saturation"
    (patch,) = yaml.safe_load((folder / "metric.yaml").read_text(encoding="utf-8"))
    (rule,) = load("components/saturation/adapter.yaml")["rules"]["custom"]
    (target,) = load("components/saturation/kustomization.yaml")["patches"]
    autoscaler = copy.deepcopy(MANIFESTS["autoscaler.yaml"])
    assert (target["path"], target["target"]["name"]) == ("metric.yaml", autoscaler["metadata"]["name"])
    assert (patch["op"], patch["path"]) == ("add", "/spec/metrics/-")
    autoscaler["spec"]["metrics"].append(patch["value"])
    for version in VERSIONS:
        kubernetes_validate.validate(autoscaler, version, strict=True)
    assert patch["value"]["pods"]["metric"]["name"] == rule["name"]["as"]


def test_every_selector_selects_the_pods() -> None:
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        MANIFESTS["service.yaml"]["spec"]["selector"],
        MANIFESTS["disruption.yaml"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["network.yaml"]["spec"]["podSelector"]["matchLabels"],
        *[spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]],
    ]
    assert len(selectors) == 6
    assert all(selector == LABELS for selector in selectors)
    target = MANIFESTS["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert target["name"] == MANIFESTS["deployment.yaml"]["metadata"]["name"]


def test_ports_probes_and_secret_refer_to_existing_names() -> None:
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == ServeConfig.model_fields["port"].default
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[kind]["httpGet"]["port"] == port["name"]
        assert CONTAINER[kind]["httpGet"]["path"] == ("/livez" if kind == "livenessProbe" else "/readyz")
    assert MANIFESTS["service.yaml"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert MANIFESTS["network.yaml"]["spec"]["ingress"][0]["ports"][0]["port"] == port["name"]
    (secret,) = CONTAINER["envFrom"]
    assert secret["secretRef"]["name"] == MANIFESTS["secret.yaml"]["metadata"]["name"]
    annotations = DEPLOYMENT["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])


def test_the_pod_has_no_more_rights_than_it_needs() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (mount,) = CONTAINER["volumeMounts"]
    assert mount["mountPath"] == "/tmp"  # where the image's BENTOML_HOME is
    assert MANIFESTS["network.yaml"]["spec"]["egress"] == []


def test_the_grace_period_covers_draining_and_the_requests_in_progress() -> None:
    (drain_s,) = (float(v["value"]) for v in CONTAINER["env"] if v["name"] == "FASHION_MNIST_DRAIN_S")
    assert POD["terminationGracePeriodSeconds"] >= drain_s + FINISH_S + END_S


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: kustomize not run")
def test_kustomize_builds_every_manifest() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(MANIFESTS)
    for manifest in built:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == KUSTOMIZATION["namespace"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: kustomize not run")
def test_kustomize_adds_the_components(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    listed = re.sub(r"^# (components:|  - components/)", r"\1", text, flags=re.MULTILINE)
    (folder / "kustomization.yaml").write_text(listed, encoding="utf-8")
    names = [str(path.relative_to(FOLDER)) for path in COMPONENTS]
    assert sorted(yaml.safe_load(listed)["components"]) == names
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}
    assert set(built) >= {"Ingress", "ServiceMonitor", "Deployment"}
    assert len(built) == len(MANIFESTS) + 2
    kubernetes_validate.validate(built["Deployment"], VERSIONS[-1], strict=True)
    assert built["Deployment"]["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert built["Ingress"]["metadata"]["namespace"] == KUSTOMIZATION["namespace"]
