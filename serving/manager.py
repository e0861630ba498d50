"""Which versions of which models are loaded, and keeping that up to date."""

import dataclasses
import enum
import gc
import logging
import os
import pathlib
import re
import threading
import time
import weakref

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid
from serving.servable import Servable

logger = logging.getLogger(__name__)

# A version is a directory whose name is a number, leading zeros or not.
VERSION = re.compile(r"\d{1,19}", re.ASCII)
SHARD = re.compile(r"variables/variables\.data-\d+-of-(\d+)")
PLATFORM = "tensorflow"


class State(enum.IntEnum):
    """Of a version, numbered as `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class Files:
    """What lies in a version's directory.

    Attributes:
      listing: (path, size, time of change) of every file, sorted.
      outside: whether a link leads out of the models' directory.
    """

    listing: tuple
    outside: bool

    @classmethod
    def of(cls, directory, root):
        """Reads them; what vanishes meanwhile is left out."""
        outside = not _below(directory, root)
        entries = []
        for folder, folders, names in os.walk(directory):
            for path in (os.path.join(folder, n) for n in folders + names):
                try:
                    status = os.stat(path)
                except OSError:
                    continue
                outside |= os.path.islink(path) and not _below(path, root)
                # ctime: copies keep the others of the original.
                entry = (status.st_size, status.st_ctime)
                entries.append((os.path.relpath(path, directory), *entry))
        return cls(tuple(sorted(entries)), outside)

    @property
    def age(self):
        """Seconds since the last change."""
        return time.time() - max((e[2] for e in self.listing), default=0.0)

    @property
    def complete(self):
        """Whether every file that a SavedModel needs has appeared."""
        names = {entry[0] for entry in self.listing}
        if "saved_model.pb" not in names:
            return False
        if not any(name.startswith("variables/") for name in names):
            return "variables" not in names
        shards = [match for match in map(SHARD.fullmatch, names) if match]
        return (
            "variables/variables.index" in names
            and bool(shards)
            and len(shards) == int(shards[0][1])
        )


def _below(path, root):
    return pathlib.Path(path).resolve().is_relative_to(root)


@dataclasses.dataclass
class Version:
    """What is known of a version.

    Attributes:
      state: a `State`.
      error: the `RequestError` that ended it, else None.
      servable: the `Servable`, where it is AVAILABLE.
      files: the `Files` it failed to load from, where it did.
    """

    state: State = State.START
    error: RequestError | None = None
    servable: Servable | None = None
    files: Files | None = None


class Model:
    """The versions of a name.

    Args:
      name: of the model.

    Attributes:
      config: its `ModelConfig`; None when it is served no longer.
      versions: {number: `Version`}, ended ones too.
      available: {number: `Servable`}.
      labels: {label: number} of available versions.
    """

    def __init__(self, name):
        self.name = name
        self.config = None
        self.versions = {}
        # Read by requests at any moment: replaced, never changed.
        self.available = {}
        self.labels = {}

    @property
    def failed(self):
        """Whether a version could not be loaded."""
        return any(version.error for version in self.versions.values())

    def publish(self):
        """Makes known to requests what the versions and labels now are.

        A label of a version that is not available yet is not known yet.
        """
        self.available = {
            number: version.servable
            for number, version in self.versions.items()
            if version.state == State.AVAILABLE
        }
        labels = self.config.version_labels if self.config else {}
        self.labels = {
            label: number
            for label, number in labels.items()
            if number in self.available
        }

    def check_labels(self, labels):
        """Refuses labels that this model's would move to what is not there.

        One that is new may name a version that is still to be loaded, as with
        TensorFlow Serving's --allow_version_labels_for_unavailable_models.

        Args:
          labels: {label: number} that are wanted.

        Raises:
          RequestError: a label would move to a version that is not available.
        """
        for label, number in labels.items():
            moves = self.labels.get(label, number) != number
            if moves and number not in self.available:
                raise self.unavailable(label, number)

    def unavailable(self, label, number):
        """The error of a label whose version is not available."""
        return RequestError(
            Code.FAILED_PRECONDITION,
            f"Request to assign label {label} to version {number} of model "
            f"{self.name}, which is not currently available for inference.",
        )


class Manager:
    """Loads and unloads versions as directories and configurations change.

    A new version is loaded beside the old one, which is unloaded only when the
    new one is available, and freed when its last request has been answered.
    A version that fails to load is reported and tried again when its files
    change; the older one stays.

    Args:
      root: the directory of models. Nothing outside of it is ever loaded.
      config_file: a `ModelServerConfig` as text; without one every directory
        of `root` that has versions is served, the latest of them.
      poll_seconds: how often directories are looked at.
      config_poll_seconds: how often the file is; 0 for only once.

    Attributes:
      looked: a `threading.Event`, set when what was there at the start is
        loaded or has failed, and when the manager is stopped.

    Raises:
      RequestError: the configuration cannot be used.
    """

    def __init__(
        self, root, config_file=None, poll_seconds=1.0, config_poll_seconds=0.0
    ):
        self.root = pathlib.Path(root).resolve()
        self.poll_seconds = poll_seconds
        self._config_file = config_file
        self._config_poll_seconds = config_poll_seconds
        self._config_text = None
        self._models = {}
        # {name: `ModelConfig`}; None for whatever is found.
        self._configs = None
        # {(name, number): (`Files`, since when)} of what is not loaded.
        self._seen = {}
        self._refreshing = threading.Lock()
        self.looked = threading.Event()
        self._stopped = threading.Event()
        self._threads = []
        if config_file:
            self._read_config_file()

    def start(self):
        """Begins to watch and to load, in threads of its own."""
        jobs = [(self._look, self.poll_seconds)]
        if self._config_file and self._config_poll_seconds:
            jobs.append((self._read_config_file, self._config_poll_seconds))
        for job, seconds in jobs:
            thread = threading.Thread(
                target=self._repeat, args=(job, seconds), name=job.__name__
            )
            self._threads.append(thread)
            thread.start()

    def stop(self):
        """Ends the threads; what is loaded stays usable."""
        self._stopped.set()
        self.looked.set()
        for thread in self._threads:
            thread.join()

    def _look(self):
        try:
            self.refresh()
            if not self._models and not self.looked.is_set():
                logger.warning(
                    "There are no models below %s yet; NAME/NUMBER/"
                    "saved_model.pb is served when it appears.",
                    self.root,
                )
        finally:
            self.looked.set()

    def _repeat(self, job, seconds):
        while not self._stopped.is_set():
            try:
                job()
            except Exception:
                # The next look may succeed; what is loaded is served on.
                logger.exception("Looking for models failed.")
            self._stopped.wait(seconds)

    # ---- lookups --------------------------------------------------------

    def find(self, name, version=None, label=None):
        """The version that a request names.

        Args:
          name: of the model.
          version: its number; the latest available when None.
          label: one of the model's labels, instead of a number.

        Returns:
          A `Servable`; it stays usable while it is referred to.

        Raises:
          RequestError: no such version is available.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(name)
        if label is not None:
            labels = model.labels if model else {}
            if label not in labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = labels[label]
        available = model.available if model else {}
        if version is None and available:
            return available[max(available)]
        if version in available:
            return available[version]
        which = f"Latest({name})"
        if version is not None:
            which = f"Specific({name}, {version})"
        raise RequestError(
            Code.NOT_FOUND, f"Servable not found for request: {which}"
        )

    def status(self, name, version=None):
        """[(number, `State`, error)], the latest version first.

        Args:
          name: of the model.
          version: its number; all when None.

        Raises:
          RequestError: nothing is known of it.
        """
        model = self._models.get(name)
        versions = dict(model.versions) if model else {}
        if version is not None:
            if version not in versions:
                raise RequestError(
                    Code.NOT_FOUND,
                    f"Could not find version {version} of model {name}",
                )
            versions = {version: versions[version]}
        if not versions:
            raise RequestError(
                Code.NOT_FOUND, f"Could not find any versions of model {name}"
            )
        return [
            (number, versions[number].state, versions[number].error)
            for number in sorted(versions, reverse=True)
        ]

    def knows(self, name):
        """Whether there is or was a model of this name."""
        return name in self._models

    def names(self):
        """The models that are or were served, sorted."""
        models = dict(self._models)
        return sorted(name for name, m in models.items() if m.versions)

    # ---- configuration --------------------------------------------------

    def reload(self, config, timeout=30.0):
        """Serves what a configuration says, and nothing else.

        Args:
          config: a `ModelServerConfig`.
          timeout: seconds to wait until every model of it is available.

        Raises:
          RequestError: it cannot be used (a label that would move to a version
            that is not available included), and nothing has changed; or a
            model or a version with a new label did not become available, the
            rest did.
        """
        configs = self._checked(config)
        self._configs = configs
        end = time.monotonic() + timeout
        while True:
            self.refresh()
            # Some may be gone, where a changed file was read meanwhile.
            models = [
                self._models.setdefault(name, Model(name)) for name in configs
            ]
            missing = [m for m in models if not m.available]
            if not missing or any(m.failed for m in missing):
                break
            if time.monotonic() > end or self._stopped.wait(0.1):
                break
        if missing:
            names = ", ".join(model.name for model in missing)
            raise RequestError(
                Code.UNKNOWN,
                f"Some models did not become available: {{{names}}}",
            )
        for model in models:
            for label, number in configs[model.name].version_labels.items():
                if model.labels.get(label) != number:
                    raise model.unavailable(label, number)

    def _checked(self, config):
        """{name: `ModelConfig`} of what a configuration lists."""
        if config.WhichOneof("config") == "custom_model_config":
            raise invalid(
                "ServerModelConfig type not supported; only model_config_list "
                "is."
            )
        if config.WhichOneof("config") is None and self._configs is not None:
            # Such as a file that is being written at this moment.
            raise RequestError(
                Code.FAILED_PRECONDITION,
                "Cannot transition to requested config. It is only legal to "
                "transition from one ModelConfigList to another.",
            )
        configs = {}
        for model in config.model_config_list.config:
            if not model.name or not model.base_path:
                raise invalid("A model needs a name and a base_path.")
            if model.name in configs:
                raise invalid(
                    f"Illegal to list model {model.name} multiple times in "
                    "config list"
                )
            platform = model.model_platform
            # The older way to say the same.
            if model.model_type and platform:
                raise invalid(
                    "Illegal setting both model_type(deprecated) and "
                    "model_platform."
                )
            if not model.model_type and not platform:
                raise invalid(
                    "Illegal setting neither model_type(deprecated) nor "
                    "model_platform."
                )
            if platform not in ("", PLATFORM):
                raise invalid(
                    f"model_platform {platform!r} cannot be served, only "
                    f"{PLATFORM!r}."
                )
            if not _below(self.root / model.base_path, self.root):
                raise RequestError(
                    Code.PERMISSION_DENIED,
                    f"base_path {model.base_path!r} of model {model.name} is "
                    f"not below {str(self.root)!r}; nothing else is loaded.",
                )
            if model.name in self._models:
                self._models[model.name].check_labels(model.version_labels)
            configs[model.name] = model
        return configs

    def _read_config_file(self):
        path = pathlib.Path(self._config_file)
        try:
            text = path.read_text(encoding="utf-8")
            if text == self._config_text:
                return
            config = text_format.Parse(
                text, model_server_config_pb2.ModelServerConfig()
            )
            self._configs = self._checked(config)
            self._config_text = text
        except (OSError, ValueError, text_format.ParseError) as error:
            raise invalid(f"{path}: {error}") from error
        except RequestError as error:
            raise RequestError(
                error.code, f"{path}: {error.message}"
            ) from error

    def _discovered(self):
        """{name: `ModelConfig`} of the directories that have versions."""
        found = {}
        for path in sorted(self.root.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            try:
                is_model = bool(_versions_in(path))
            except OSError:
                # No model (lost+found), or one that is out of reach.
                is_model = path.name in self._models
            if is_model:
                found[path.name] = model_server_config_pb2.ModelConfig(
                    name=path.name, base_path=path.name, model_platform=PLATFORM
                )
        return found

    # ---- loading --------------------------------------------------------

    def refresh(self):
        """Brings what is loaded in line with directories and configuration."""
        with self._refreshing:
            configs = self._configs
            if configs is None:
                configs = self._discovered()
            for name, config in configs.items():
                model = self._models.setdefault(name, Model(name))
                model.config = config
                model.publish()
                self._refresh_model(model)
            for name, model in list(self._models.items()):
                if name not in configs:
                    model.config = None
                    self._unload(model, list(model.available))

    def _refresh_model(self, model):
        try:
            found = _versions_in(self.root / model.config.base_path)
        except OSError:
            # It may only be out of reach for a moment.
            return
        ready = {
            number: path
            for number, path in sorted(found.items(), reverse=True)
            if self._is_ready(model, number, path)
        }
        wanted = _chosen(ready, model.config.model_version_policy)
        for number in wanted:
            if number not in model.available:
                self._load(model, number, ready[number])
        if not wanted or any(number in model.available for number in wanted):
            self._unload(model, [n for n in model.available if n not in wanted])

    def _is_ready(self, model, number, path):
        """Whether a version is loaded, or its directory is no longer copied."""
        if number in model.available:
            return True
        files = Files.of(path, self.root)
        now = time.monotonic()
        before, since = self._seen.get((model.name, number), (None, now))
        since = since if files == before else now
        self._seen[model.name, number] = files, since
        unchanged = max(now - since, files.age)
        return files.complete and unchanged > self.poll_seconds

    def _load(self, model, number, path):
        version = model.versions.setdefault(number, Version())
        files, _ = self._seen[model.name, number]
        if version.files == files:
            # It failed, and nothing has changed since.
            return
        version.state, version.error = State.LOADING, None
        logger.info("Loading %s version %d from %s", model.name, number, path)
        try:
            if files.outside:
                raise RequestError(
                    Code.PERMISSION_DENIED,
                    f"{path} leads out of {str(self.root)!r}; nothing else is "
                    "loaded.",
                )
            version.servable = Servable(model.name, number, path)
        except Exception as error:
            if not isinstance(error, RequestError):
                logger.exception("Loading ended unexpectedly.")
                error = RequestError(Code.INTERNAL, repr(error))
            version.state, version.error = State.END, error
            version.files = files
            logger.warning(
                "%s version %d cannot be loaded: %s", model.name, number, error
            )
            return
        version.state, version.files = State.AVAILABLE, None
        del self._seen[model.name, number]
        model.publish()
        logger.info("%s version %d is available", model.name, number)

    def _unload(self, model, numbers):
        for number in numbers:
            version = model.versions[number]
            version.state = State.UNLOADING
            model.publish()
            # Requests that run with it hold it as well.
            end = weakref.finalize(
                version.servable, _end, model.name, number, version
            )
            end.atexit = False
            version.servable = None
        if numbers:
            # TensorFlow's objects refer to one another.
            gc.collect()


def _end(name, number, version):
    if version.state == State.UNLOADING:
        version.state = State.END
    logger.info("%s version %d is unloaded", name, number)


def _versions_in(directory):
    """{number: path} of a model's directory."""
    return {
        int(path.name): path
        for path in sorted(pathlib.Path(directory).iterdir())
        if VERSION.fullmatch(path.name)
        and int(path.name) < 2**63
        and path.is_dir()
    }


def _chosen(ready, policy):
    """The numbers that a version policy wants, the latest first."""
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "all":
        return list(ready)
    if kind == "specific":
        wanted = set(policy.specific.versions)
        return [number for number in ready if number in wanted]
    return list(ready)[: max(policy.latest.num_versions, 1)]
