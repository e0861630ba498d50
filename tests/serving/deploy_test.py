"""What deploys the real TensorFlow Serving, held to validators.

No Docker and no cluster runs here: these tests say that the files are
well-formed, that they fit together and that they name what exists.
"""

import copy
import pathlib
import shlex
import shutil
import threading

import pytest
import yaml
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2

DEPLOY = pathlib.Path(__file__).parents[2] / "serving" / "deploy"
KUBERNETES = "1.33"
METADATA = "/v1/models/fden/metadata"
METRICS = "/monitoring/prometheus/metrics"


def documents(name):
    """{kind: document} of a file."""
    found = yaml.safe_load_all((DEPLOY / name).read_text())
    return {document["kind"]: document for document in found}


# ---- TensorFlow Serving's own files ------------------------------------------

FIELD = descriptor_pb2.FieldDescriptorProto


def message(name, **fields):
    """A message class; tensorflow-serving-api lacks some of the protos.

    Args:
      name: of the message.
      **fields: (number, type, label, type's name) of every field, from
        TensorFlow Serving's .proto.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"deploy_test/{name}.proto",
        package=f"deploy_test.{name}",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    outer = file.message_type.add(name=name)
    for field, (number, kind, repeated, type_name) in fields.items():
        outer.field.add(
            name=field,
            number=number,
            type=kind,
            type_name=type_name,
            label=FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL,
        )
    if name == "MonitoringConfig":
        inner = outer.nested_type.add(name="PrometheusConfig")
        for field, number, kind in (
            ("enable", 1, FIELD.TYPE_BOOL),
            ("path", 2, FIELD.TYPE_STRING),
        ):
            inner.field.add(
                name=field, number=number, type=kind, label=FIELD.LABEL_OPTIONAL
            )
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    described = pool.FindMessageTypeByName(f"{file.package}.{name}")
    return message_factory.GetMessageClass(described)


def parsed(name, target):
    return text_format.Parse((DEPLOY / name).read_text(), target)


def test_models_config_is_read_by_its_own_proto():
    model_server_config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2"
    )
    config = parsed(
        "models.config", model_server_config_pb2.ModelServerConfig()
    )
    (entry,) = config.model_config_list.config
    assert entry.base_path == f"/models/{entry.name}"
    assert entry.model_platform == "tensorflow"
    listed = set(entry.model_version_policy.specific.versions)
    # A label at a version that is not loaded is refused.
    assert set(entry.version_labels.values()) <= listed
    assert METADATA == f"/v1/models/{entry.name}/metadata"


def test_promotion_takes_over_from_models_config(tmp_path):
    pytest.importorskip("tensorflow_serving")
    from export import promote

    path = tmp_path / "models.config"
    path.write_text((DEPLOY / "models.config").read_text())
    assert not promote.promote(path, "fden", 2, "stable", "unused")
    assert promote.promote(path, "fden", 2, "stable", "unused")
    (entry,) = promote.read_config(path).model_config_list.config
    assert entry.base_path == "/models/fden"
    assert dict(entry.version_labels) == {"stable": 2}


def test_promotion_moves_a_label_of_a_running_server(
    start, halves, tmp_path, capsys
):
    """The whole way, with requests to the label all the time."""
    from export import promote
    from trainers import command

    models = tmp_path / "models"
    for version, offset in ((1, 2), (2, 3)):
        shutil.copytree(halves / str(offset), models / "halves" / str(version))

    def promoted(*flags):
        with pytest.raises(SystemExit) as caught:
            command.run(
                promote.main,
                promote.define_flags,
                argv=["promote", f"--models={models}", *flags],
            )
        assert caught.value.code is None, capsys.readouterr().err

    promoted("--model=halves", "--version=1")
    server = start(
        models,
        f"--model_config_file={models / promote.CONFIG_NAME}",
        "--model_config_file_poll_wait_seconds=0.1",
    )
    server.wait_for("halves", 1)
    where = f"--server=http://127.0.0.1:{server.rest_port}"
    promoted("--model=halves", "--version=1", where)
    answers, done = [], threading.Event()

    def ask():
        while not done.is_set():
            answers.append(
                server.predict("halves", {"inputs": [1]}, "/labels/stable")
            )

    asking = threading.Thread(target=ask)
    asking.start()
    promoted("--model=halves", "--version=2", where)
    # The command ends when the label has moved.
    last = server.predict("halves", {"inputs": [1]}, "/labels/stable")
    done.set()
    asking.join()
    server.stop()
    assert last == (200, {"outputs": [3.5]})
    assert {status for status, _ in answers} == {200}
    given = [body["outputs"][0] for _, body in answers]
    assert given == sorted(given)
    assert set(given) <= {2.5, 3.5} and given[0] == 2.5


def test_batching_config():
    number = ".google.protobuf.Int64Value"
    batching_class = message(
        "BatchingParameters",
        max_batch_size=(1, FIELD.TYPE_MESSAGE, False, number),
        batch_timeout_micros=(2, FIELD.TYPE_MESSAGE, False, number),
        max_enqueued_batches=(3, FIELD.TYPE_MESSAGE, False, number),
        num_batch_threads=(4, FIELD.TYPE_MESSAGE, False, number),
        allowed_batch_sizes=(6, FIELD.TYPE_INT64, True, None),
    )
    batching = parsed("batching.config", batching_class())
    sizes = list(batching.allowed_batch_sizes)
    # What batching_session.cc demands.
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value == 64
    # Those that the export warms up.
    assert {1, 8} <= set(sizes)
    assert batching.num_batch_threads.value >= 1
    assert batching.batch_timeout_micros.value == 0
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batch_sise { value: 1 }", batching_class())


def test_monitoring_config():
    monitoring_class = message(
        "MonitoringConfig",
        prometheus_config=(
            1,
            FIELD.TYPE_MESSAGE,
            False,
            ".deploy_test.MonitoringConfig.MonitoringConfig.PrometheusConfig",
        ),
    )
    text = (DEPLOY / "monitoring.config").read_text()
    monitoring = text_format.Parse(text, monitoring_class())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == METRICS
    # KServe has a copy of its own: there is no kustomization for it.
    copied = documents("kserve.yaml")["ConfigMap"]["data"]["monitoring.config"]
    assert text_format.Parse(copied, monitoring_class()) == monitoring


# ---- Docker compose ----------------------------------------------------------


def compose_service():
    """The one service, validated."""
    compose_spec = pytest.importorskip("compose_spec")
    text = (DEPLOY / "compose.yaml").read_text()
    compose_spec.PyCompose.from_yaml(text).to_spec()
    (service,) = yaml.safe_load(text)["services"].values()
    return service


def test_compose():
    service = compose_service()
    assert all(p.startswith("127.0.0.1:") for p in service["ports"])
    assert ".:/config:ro" in service["volumes"]
    assert all(v.endswith(":ro") for v in service["volumes"])
    assert_files_exist(service["command"])


def test_the_compose_validator_would_see_a_mistake():
    compose_spec = pytest.importorskip("compose_spec")
    text = (DEPLOY / "compose.yaml").read_text()
    with pytest.raises(ValueError):
        compose_spec.PyCompose.from_yaml(
            text.replace("restart: unless-stopped", "ports: {a: 1}")
        ).to_spec()


def test_the_healthcheck_asks_for_metadata(tmp_path):
    """Its own shell line, run against a socket that answers."""
    import http.server
    import subprocess

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 404

        def do_GET(self):
            assert self.path == METADATA
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        kind, *command = compose_service()["healthcheck"]["test"]
        assert kind == "CMD"
        command[-1] = command[-1].replace("8501", str(server.server_port))
        for status, healthy in ((404, False), (200, True)):
            Handler.status = status
            done = subprocess.run(command, capture_output=True, timeout=20)
            assert (done.returncode == 0) == healthy, shlex.join(command)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def assert_files_exist(arguments):
    """Files below /config that flags name are beside the manifests."""
    flags = dict(a.removeprefix("--").split("=", 1) for a in arguments)
    named = [v for v in flags.values() if v.startswith("/config/")]
    assert named
    for path in named:
        assert (DEPLOY / pathlib.Path(path).name).is_file()
    # Without it the first start refuses a file with labels.
    if "model_config_file" in flags:
        assert flags["allow_version_labels_for_unavailable_models"] == "true"
        # Without it a promotion is never read.
        assert int(flags["model_config_file_poll_wait_seconds"]) > 0


# ---- Kubernetes --------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    ],
)
def test_kubernetes(kind):
    validator = pytest.importorskip("kubernetes_validate")
    document = documents("kubernetes.yaml")[kind]
    validator.validate(document, KUBERNETES, strict=True)
    damaged = copy.deepcopy(document)
    damaged["spec"]["replica"] = 3
    with pytest.raises(validator.ValidationError):
        validator.validate(damaged, KUBERNETES, strict=True)


def test_kubernetes_objects_fit_together():
    found = documents("kubernetes.yaml")
    pod = found["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    budget = found["PodDisruptionBudget"]["spec"]
    assert budget["selector"]["matchLabels"] == labels
    scaled = found["HorizontalPodAutoscaler"]["spec"]
    assert (
        scaled["scaleTargetRef"]["name"]
        == (found["Deployment"]["metadata"]["name"])
    )
    # Evicting one leaves one.
    assert budget["minAvailable"] < scaled["minReplicas"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    targets = {port["targetPort"] for port in found["Service"]["spec"]["ports"]}
    assert ports == targets == {"grpc", "rest"}
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert_files_exist(container["args"])
    # Not the status, which is 200 whatever the state.
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": METADATA, "port": "rest"}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == METRICS
    # Requests are answered while the endpoint is being removed.
    slept = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert slept < pod["spec"]["terminationGracePeriodSeconds"]


def test_kustomization():
    found = documents("kustomization.yaml")["Kustomization"]
    (generated,) = found["configMapGenerator"]
    for name in (*found["resources"], *generated["files"]):
        assert (DEPLOY / name).is_file()
    pod = documents("kubernetes.yaml")["Deployment"]["spec"]["template"]["spec"]
    maps = [v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v]
    assert maps == [generated["name"]]
    (image,) = found["images"]
    assert pod["containers"][0]["image"] == image["name"]
    # One version of the server everywhere.
    tagged = f"{image['name']}:{image['newTag']}"
    assert compose_service()["image"] == tagged


# Of KServe's V1beta1 PredictorSpec and PredictorExtensionSpec; the rest of
# both is a pod and a container.
PREDICTOR_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
MODEL_FIELDS = {"modelFormat", "runtime", "protocolVersion", "storageUri"}


def test_kserve():
    validator = pytest.importorskip("kubernetes_validate")
    found = documents("kserve.yaml")
    validator.validate(found["ConfigMap"], KUBERNETES, strict=True)
    service = found["InferenceService"]
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    predictor = copy.deepcopy(service["spec"]["predictor"])
    model = predictor.pop("model")
    assert {predictor.pop(name) for name in PREDICTOR_FIELDS} == {
        2,
        10,
        "cpu",
        70,
    }
    assert model.pop("storageUri") == "pvc://models/fden"
    for name in MODEL_FIELDS - {"storageUri"}:
        model.pop(name)
    # The schema of the custom resource is not at hand; what it is made of is.
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": service["metadata"],
        "spec": {**predictor, "containers": [{"name": "model", **model}]},
    }
    validator.validate(pod, KUBERNETES, strict=True)
    name = service["metadata"]["name"]
    assert model["readinessProbe"]["httpGet"]["path"] == (
        f"/v1/models/{name}/metadata"
    )
    assert model["args"] == [
        "--monitoring_config_file=/config/monitoring.config"
    ]
    (volume,) = predictor["volumes"]
    assert volume["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    assert "monitoring.config" in found["ConfigMap"]["data"]
