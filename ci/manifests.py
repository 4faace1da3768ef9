"""Holds built Kubernetes manifests against the schemas of Kubernetes (strict: an unknown field is an error) and against the
rules of this project that no schema knows. Custom resources are held against deploy/k8s/schemas. Reads files, changes none.
"""

import argparse
import json
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
CUSTOM = {
    ("monitoring.coreos.com/v1", "PodMonitor"): "podmonitor.json",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheusrule.json",
}
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Sign-out and the last audit records, after the drain.
AFTER_DRAIN_SECONDS = 9


def schema_errors(thing, versions):
    custom = CUSTOM.get((thing["apiVersion"], thing["kind"]))
    if custom:
        schema = json.loads((ROOT / "deploy/k8s/schemas" / custom).read_text())
        yield from (e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(thing))
        return
    for version in versions:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            yield f"Kubernetes {version}: {where}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"Kubernetes {version}: {error.message}"


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", str(duration)).groups()
    return int(number) * UNITS[unit]


def paths_in(value):
    """Every absolute path of a configuration."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from paths_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from paths_in(inner)
    elif isinstance(value, str) and value.startswith("/"):
        yield value


def sidecar_errors(pod, config_maps, claims=()):
    """Rules for a pod template that is labelled as ours; `claims`: the volumes that a StatefulSet gives each pod."""
    spec = pod["spec"]
    containers = {c["name"]: c for c in spec.get("initContainers", [])}
    if "ccgate" not in containers:
        yield "labelled `ccgate: sidecar`, but has no init container `ccgate`"
        return
    ccgate = containers["ccgate"]
    security = ccgate.get("securityContext", {})
    ports = {p["containerPort"] for p in ccgate.get("ports", [])}
    mounts = {m["name"]: m for m in ccgate.get("volumeMounts", [])}
    wanted = {
        "restartPolicy is Always (a native sidecar)": ccgate.get("restartPolicy") == "Always",
        "runs as user 65532": security.get("runAsNonRoot") is True and security.get("runAsUser") == 65532,
        "has a read-only root": security.get("readOnlyRootFilesystem") is True,
        "cannot gain privileges": security.get("allowPrivilegeEscalation") is False and not security.get("privileged"),
        "drops all capabilities": security.get("capabilities", {}) == {"drop": ["ALL"]},
        "has the runtime's seccomp profile": security.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "bounds its memory": "memory" in ccgate.get("resources", {}).get("limits", {}),
        # R20: it runs when the deletion of the pod begins, while the app still downloads.
        "has no lifecycle hook": "lifecycle" not in ccgate,
        "has start and liveness probes on /livez": all(
            ccgate.get(f"{kind}Probe", {}).get("httpGet", {}).get("path") == "/livez" for kind in ("startup", "liveness")
        ),
        # It would count for the whole pod: an issuer's outage would take the app out of its Service.
        "has no readiness probe": "readinessProbe" not in ccgate,
        "mounts no single file (subPath is never updated)": not any("subPath" in m for m in mounts.values()),
        "writes to the audit volume alone": [n for n, m in mounts.items() if not m.get("readOnly")] == ["ccgate-audit"],
    }
    yield from (f"ccgate {rule}: not so" for rule, kept in wanted.items() if not kept)

    volumes = {v["name"]: v for v in spec.get("volumes", [])}
    yield from (f"volume `{name}` is mounted, but not declared" for name in mounts if name not in {*volumes, *claims})
    yield from (f"volume `{name}` is declared and claimed" for name in claims if name in volumes)
    # fsGroup makes it readable for ccgate; nobody else in the pod's other groups may.
    secrets = {name: v["secret"].get("defaultMode") for name, v in volumes.items() if "secret" in v}
    yield from (f"Secret volume `{name}` is for everybody to read" for name, mode in secrets.items() if mode not in (0o400, 0o440))
    name = volumes.get("ccgate-config", {}).get("configMap", {}).get("name")
    if name not in config_maps:
        yield f"ConfigMap `{name}` is not part of the build"
        return
    yield from config_errors(yaml.safe_load(config_maps[name]["ccgate.yaml"]), spec, ports, mounts)


def config_errors(config, spec, ports, mounts):
    """What ccgate.yaml says has to fit the pod around it."""
    drain = config["server"]["drain"]
    least = seconds(drain["delay"]) + seconds(drain["timeout"]) + AFTER_DRAIN_SECONDS
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if grace <= least:
        yield f"terminationGracePeriodSeconds {grace} is not above the drain of {least:.0f} s"
    if not config["server"]["listen"].startswith("127.0.0.1:"):
        yield "the data plane listens beyond the pod"
    if int(config["admin"]["listen"].rsplit(":", 1)[1]) not in ports:
        yield f"admin.listen {config['admin']['listen']} is not a port of the container {sorted(ports)}"
    folders = [m["mountPath"].rstrip("/") for m in mounts.values()]
    for path in paths_in(config):
        if not any(path == folder or path.startswith(folder + "/") for folder in folders):
            yield f"`{path}` of ccgate.yaml lies in no mounted folder"


def replicas_errors(stateful_set):
    """Each pod of a StatefulSet has an audit log of its own, by its own name, and it stays."""
    spec = stateful_set["spec"]
    claims = {c["metadata"]["name"]: c["spec"] for c in spec.get("volumeClaimTemplates", [])}
    if claims.get("ccgate-audit", {}).get("accessModes") != ["ReadWriteOncePod"]:
        yield "each pod needs an audit volume of its own (volumeClaimTemplates, ReadWriteOncePod)"
    if spec.get("persistentVolumeClaimRetentionPolicy") != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
        yield "an audit log goes with its replica (persistentVolumeClaimRetentionPolicy)"
    ccgate = next((c for c in spec["template"]["spec"].get("initContainers", []) if c["name"] == "ccgate"), {})
    names = [variable["name"] for variable in ccgate.get("env", [])]
    values = {variable["name"]: variable.get("value", "") for variable in ccgate.get("env", [])}
    fields = {v["name"]: v.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for v in ccgate.get("env", [])}
    origin = values.get("CCGATE_AUDIT__ORIGIN", "")
    # A variable can name those before it alone.
    before = names[: names.index("CCGATE_AUDIT__ORIGIN")] if origin else []
    used = set(re.findall(r"\$\((\w+)\)", origin))
    if "metadata.name" not in {fields.get(name) for name in used & set(before)} or not used <= set(before):
        yield "audit.origin is not the pod's: a volume that meets another pod would go unseen (CCGATE_AUDIT__ORIGIN)"


def errors_of(things, versions):
    config_maps = {t["metadata"]["name"]: t.get("data", {}) for t in things if t["kind"] == "ConfigMap"}
    for thing in things:
        title = f"{thing['kind']}/{thing['metadata']['name']}"
        yield from (f"{title}: {error}" for error in schema_errors(thing, versions))
        pod = thing.get("spec", {}).get("template", {})
        if pod.get("metadata", {}).get("labels", {}).get("ccgate") == "sidecar":
            claims = [claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])]
            yield from (f"{title}: {error}" for error in sidecar_errors(pod, config_maps, claims))
            if thing["kind"] == "StatefulSet":
                yield from (f"{title}: {error}" for error in replicas_errors(thing))
            if thing["kind"] == "Deployment" and (
                thing["spec"].get("replicas") != 1 or thing["spec"].get("strategy") != {"type": "Recreate"}
            ):
                yield f"{title}: two pods can write one audit volume (replicas 1, strategy Recreate)"
        if (
            thing["kind"] == "Service"
            and thing["spec"].get("selector") == {"ccgate": "sidecar"}
            and thing["spec"].get("publishNotReadyAddresses") is not True
        ):
            yield f"{title}: hides ccgate while the app is not ready (publishNotReadyAddresses)"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubernetes", action="append", required=True, metavar="VERSION")
    parser.add_argument("--self-test", action="store_true", help="also break each rule once and see it found")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    failed = False
    for file in arguments.files:
        things = [t for t in yaml.safe_load_all(file.read_text()) if t]
        errors = list(errors_of(things, arguments.kubernetes))
        failed |= bool(errors) or not things
        print(f"{file.name}: {len(things)} objects, {len(errors)} errors")
        print("".join(f"  {error}\n" for error in errors), end="")
        if arguments.self_test:
            failed |= not self_test(things, arguments.kubernetes)
    return 1 if failed else 0


def self_test(things, versions):
    """Breaks the manifests in one place at a time; a change that nothing notices is a hole in this file."""
    kinds = {t["kind"] for t in things}
    if not kinds & {"Deployment", "StatefulSet"}:
        return True
    spec = ("spec", "template", "spec")
    ccgate = (*spec, "initContainers", 0)
    breaks = [
        ((*ccgate, "restartPolicy"), "Never"),
        ((*ccgate, "restartPolcy"), "Always"),
        ((*ccgate, "securityContext", "runAsUser"), 0),
        ((*ccgate, "securityContext", "readOnlyRootFilesystem"), False),
        ((*ccgate, "securityContext", "allowPrivilegeEscalation"), True),
        ((*ccgate, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        ((*ccgate, "securityContext", "seccompProfile", "type"), "Unconfined"),
        ((*ccgate, "resources", "limits"), {"cpu": "1"}),
        ((*ccgate, "lifecycle"), {"preStop": {"exec": {"command": ["/ccgate"]}}}),
        ((*ccgate, "startupProbe"), {"exec": {"command": ["/ccgate", "healthcheck"]}}),
        ((*ccgate, "startupProbe", "httpGet", "path"), "/readyz"),
        ((*ccgate, "livenessProbe", "httpGet", "path"), "/readyz"),
        ((*ccgate, "readinessProbe"), {"httpGet": {"path": "/readyz", "port": "ccgate-admin"}}),
        ((*ccgate, "ports", 0, "containerPort"), 9091),
        ((*ccgate, "volumeMounts", 0, "subPath"), "ccgate.yaml"),
        ((*ccgate, "volumeMounts", 1, "readOnly"), False),
        ((*ccgate, "volumeMounts", 1, "mountPath"), "/elsewhere"),
        ((*ccgate, "name"), "gate"),
        ((*spec, "volumes"), []),
        ((*spec, "terminationGracePeriodSeconds"), 314),
        (("spec", "replicas"), "one"),
    ]
    pod = next(t for t in things if t["kind"] in ("Deployment", "StatefulSet"))["spec"]["template"]["spec"]
    a_secret = next(place for place, volume in enumerate(pod["volumes"]) if "secret" in volume)
    breaks.append(((*spec, "volumes", a_secret, "secret", "defaultMode"), 0o444))
    if "StatefulSet" in kinds:
        # Behind POD_NAME and POD_NAMESPACE.
        origin = (*ccgate, "env", 2, "value")
        claim = ("spec", "volumeClaimTemplates", 0)
        breaks += [
            (origin, "ccgate.audit/one-for-all"),
            (origin, "ccgate.audit/$(POD_NAMESPACE)"),
            (origin, "ccgate.audit/$(POD_NAME)/$(NOBODY)"),
            ((*ccgate, "env", 0, "name"), "POD"),
            ((*claim, "spec", "accessModes"), ["ReadWriteMany"]),
            ((*claim, "metadata", "name"), "audit"),
            (("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"), "Delete"),
            ((*spec, "volumes", 0, "name"), "ccgate-audit"),
        ]
        breaks = [("StatefulSet", *one) for one in breaks]
    else:
        breaks += [(("spec", "replicas"), 2), (("spec", "strategy"), {"type": "RollingUpdate"})]
        breaks = [("Deployment", *one) for one in breaks]
    breaks.append(("Service", ("spec", "publishNotReadyAddresses"), False))
    breaks.append(("PrometheusRule", ("spec", "groups", 0, "rules", 0, "annotations"), {"summary": "no way out"}))
    found = 0
    for kind, path, value in breaks:
        broken = json.loads(json.dumps(things))
        ours = [t for t in broken if t["kind"] == kind]
        # Of the Services the one that is ccgate's own.
        place = next((t for t in ours if t["spec"].get("selector") == {"ccgate": "sidecar"}), ours[0])
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        if any(errors_of(broken, versions)):
            found += 1
        else:
            print(f"  self-test: nobody notices {kind} {'.'.join(map(str, path))} = {value}")
    print(f"  self-test: {found} of {len(breaks)} planted errors found")
    return found == len(breaks)


if __name__ == "__main__":
    sys.exit(main())
