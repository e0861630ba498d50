"""Typed configurations: what a run is, before TensorFlow is imported.

One flat dataclass a model: the fields of `RunConfig` and those of the model's
constructor. A test keeps the latter equal to the constructor's arguments.
"""

import dataclasses
import difflib
import inspect
import math
import typing

from tfdisent import models
from tfdisent.errors import InputError
from tfdisent.structure import CONDITIONALS
from tfdisent.structure import Structure


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every run has, whatever its model.

    Attributes:
      model, dataset, preset: names.
      seed: of weights, noise and the order of the data.
      steps: training steps of the whole run.
      schedule_steps: what schedules are stretched over; `steps` when 0.
      batch_size: images (episodes, for few-shot models) a step, globally.
      precision: a Keras dtype policy.
      evaluation_split: `"test"`, or `"validation"` to choose settings: the
        validation classes (a tenth of the images, for models that are not
        few-shot) then leave the training set and are scored.
      image_size: side of folder images and TFDS photos; 0 for the default.
      grey: folder images in one channel.
      hierarchy: which of its hierarchies a data set of several is arranged by.
      held_out: leaf that a model of a hierarchy is not trained on.
      leaves: names of the leaves of a hierarchy; what the data say counts.
      log_every: steps between lines of progress and TensorBoard scalars.
      checkpoint_every: steps between checkpoints.
      image_every: steps between pictures; 0 draws them at the end only.
      traversal_steps: images of every traversal.
      traversal_span: traversals go from minus this to this; 0 takes the range
        of the codes, 2.5 from the prior.
      score_every: steps between scores of a few codes, where factors are
        known, and of a few images, where categories are in a tree; 0 scores
        at the end only.
      information_images: images that tell at the end of every stage how much
        each level knows, spread over grid or held-out images; their log bounds
        the estimate.
      ways, shots, queries: of training episodes.
      jitters: jittered copies of every training image whose codes join the
        episodes of a model on a backbone.
      backbone_model: model of the backbone a run trains when none is named.
      backbone_steps: its training steps; 0 for its own preset's.
      backbone_preset: its preset; empty for its default.
      backbone_range: pixel range a foreign backbone works in.
      eval_episodes: unseen-class episodes of every few-shot setting.
      eval_images: held-out images that scores of a hierarchy use at most;
        half as many again are generated, half of them are queries, and six
        times as many training images are searched.
      critic_steps: training steps of the fresh critic that scores factors; 0
        does without.
      baseline_steps: training steps of every hashing network that retrieval
        by a hierarchy stands beside; 0 leaves them out.
      judge_steps: training steps of the independent classifier that judges
        swaps, samples and categories, once a data set; 0 does without.

    Class attributes:
      passed: those of these fields that the model's constructor takes, too.
      choices: {field: the values it may have} of fields of the model's own.
      quick_steps: what --quick leaves of its steps.
    """

    passed: typing.ClassVar[tuple[str, ...]] = ("seed",)
    choices: typing.ClassVar[dict[str, tuple]] = {}
    quick_steps: typing.ClassVar[int] = 20

    model: str = ""
    dataset: str = ""
    preset: str = "default"
    seed: int = 0
    steps: int = 10_000
    schedule_steps: int = 0
    batch_size: int = 64
    precision: str = "float32"
    evaluation_split: str = "test"
    image_size: int = 0
    grey: bool = False
    hierarchy: str = ""
    held_out: str = ""
    leaves: tuple[str, ...] = ()
    log_every: int = 100
    checkpoint_every: int = 500
    image_every: int = 2_000
    traversal_steps: int = 9
    traversal_span: float = 0.0
    score_every: int = 2_000
    information_images: int = 100_000
    ways: int = 5
    shots: int = 1
    queries: int = 1
    jitters: int = 0
    backbone_model: str = "autoencoder"
    backbone_steps: int = 0
    backbone_preset: str = ""
    backbone_range: tuple[float, ...] = (0.0, 1.0)
    eval_episodes: int = 10_000
    eval_images: int = 10_000
    critic_steps: int = 1_500
    baseline_steps: int = 2_000
    judge_steps: int = 4_000


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig(RunConfig):
    latent_dim: int = 256
    filters: tuple[int, ...] = ()
    hidden: int = 256
    input_noise: float = 0.0
    code_noise: float = 0.0
    code_decay: float = 0.0
    learning_rate: float = 1e-3


@dataclasses.dataclass(frozen=True)
class ALIConfig(RunConfig):
    batch_size: int = 100
    latent_dim: int | None = None
    learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-4
    recon_weight: float = 0.01
    critic_noise: float = 0.1
    noise_steps: int = 4_000
    norm: str | None = "batch"


@dataclasses.dataclass(frozen=True)
class VAEConfig(RunConfig):
    """What every VAE has.

    Attributes:
      likelihood: of pixels.
      data_size: images of the training split, for estimates of q(z); 0 counts
        them.
    """

    likelihood: str = "bernoulli"
    learning_rate: float = 5e-4
    data_size: int = 0

    choices = {"likelihood": ("bernoulli", "gaussian")}


@dataclasses.dataclass(frozen=True)
class FlatVAEConfig(VAEConfig):
    latent_dim: int = 10
    network: str = "conv"

    choices = VAEConfig.choices | {
        "network": ("conv", "burgess", "ladder", "mlp")
    }


@dataclasses.dataclass(frozen=True)
class BetaVAEConfig(FlatVAEConfig):
    beta: float = 1.0
    capacity: float = 0.0
    gamma: float = 1000.0
    capacity_steps: int = 100_000


@dataclasses.dataclass(frozen=True)
class BetaTCVAEConfig(FlatVAEConfig):
    beta: float = 6.0
    estimator: str = "mss"

    choices = FlatVAEConfig.choices | {"estimator": ("mss", "mws")}


@dataclasses.dataclass(frozen=True)
class FactorVAEConfig(FlatVAEConfig):
    # Half of a batch is the critic's.
    batch_size: int = 128
    learning_rate: float = 1e-4
    gamma: float = 6.4
    critic_width: int = 1000
    critic_learning_rate: float = 1e-4


@dataclasses.dataclass(frozen=True)
class ClassVAEConfig(RunConfig):
    # 50 epochs of 60,000 images.
    steps: int = 23_400
    batch_size: int = 128
    num_classes: int = 10
    latent_dim: int = 10
    beta: float = 100.0
    gamma: float = 100.0
    capacity_generic: float = 15.0
    capacity_specific: float = 25.0
    ramp_steps: int = 11_700
    specific_start: int = 0
    class_weight: float = 1.0
    step2_input: str = "w"
    step2_train_encoder: bool = False
    classifier_hidden: tuple[int, ...] = (64,)
    classifier_steps: int = 1
    learning_rate: float = 1e-3
    classifier_learning_rate: float = 1e-3
    decay: bool = False

    passed = ("seed", "schedule_steps")


@dataclasses.dataclass(frozen=True)
class CVAEConfig(RunConfig):
    steps: int = 23_400
    batch_size: int = 128
    num_classes: int = 10
    latent_dim: int = 20
    beta: float = 100.0
    capacity: float = 40.0
    ramp_steps: int = 11_700
    learning_rate: float = 1e-3


@dataclasses.dataclass(frozen=True)
class VLAEConfig(VAEConfig):
    z_dim: int = 3
    levels: int = 3
    network: str = "ladder"
    beta: float = 1.0
    warm_up: int = 0
    norm: str | None = "affine"

    choices = {
        "likelihood": ("bernoulli", "gaussian", "laplace"),
        "levels": (3, 4),
        "network": ("ladder", "original"),
        "norm": ("affine", "batch", None),
    }


@dataclasses.dataclass(frozen=True)
class ProVLAEConfig(VAEConfig):
    z_dim: int = 3
    levels: int = 3
    beta: float = 1.0
    gamma: float = 0.5
    fade_steps: int | None = None
    norm: str | None = "affine"

    passed = ("seed", "schedule_steps")
    choices = VAEConfig.choices | {
        "levels": (3, 4),
        "norm": ("affine", "batch", None),
    }


@dataclasses.dataclass(frozen=True)
class JacobianVAEConfig(VAEConfig):
    z_dim: int = 3
    students: int = 2
    beta: float = 1.0
    code_weight: float = 0.25
    jacobian_weight: float = 0.1
    covariance_weight: float = 1e-3
    network: str = "conv"
    learning_rate: float = 3e-4

    passed = ("seed", "schedule_steps")
    choices = FlatVAEConfig.choices


@dataclasses.dataclass(frozen=True)
class StructureConfig(RunConfig):
    """What every model with CascadeVAE's regulariser has.

    Attributes:
      structure: `"a"` to `"f"`, or edges as `1->3,2->3` or
        `hair=colour+length`.
      structure_weight: lambda_B.
    """

    latent_dim: int = 10
    structure: str = "a"
    structure_weight: float = 1.0
    conditional: str = "linear_sem"
    disc_input: str = "zhat"
    critic_width: int = 1000
    critic_learning_rate: float = 1e-4

    choices = {"conditional": CONDITIONALS, "disc_input": ("zhat", "pair")}


@dataclasses.dataclass(frozen=True)
class CascadeVAEConfig(FlatVAEConfig, StructureConfig):
    learning_rate: float = 1e-4
    base: str = "beta_vae"
    beta: float | None = None
    gamma: float = 6.4
    stop_grad_xhat: bool = False

    choices = (
        FlatVAEConfig.choices
        | StructureConfig.choices
        | {"base": ("beta_vae", "factor_vae", "beta_tcvae")}
    )


@dataclasses.dataclass(frozen=True)
class CodeGANConfig(RunConfig):
    batch_size: int = 128
    noise_dim: int = 62
    info_weight: float = 1.0
    filters: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    norm: str | None = "batch"
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 2e-4


@dataclasses.dataclass(frozen=True)
class InfoGANConfig(CodeGANConfig):
    categories: int = 10
    code_dim: int = 2


@dataclasses.dataclass(frozen=True)
class CascadeInfoGANConfig(CodeGANConfig, StructureConfig):
    pass


@dataclasses.dataclass(frozen=True)
class FDENConfig(RunConfig):
    batch_size: int = 16
    alignment: str = "relation"
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.5
    clip_scope: str = "per_variable"
    dropout: float = 0.0
    norm: str | None = "batch"
    init: str = "glorot_normal"
    learning_rate: float = 1e-4
    decay: bool = False

    passed = ("seed", "schedule_steps")


@dataclasses.dataclass(frozen=True)
class HDNConfig(RunConfig):
    """`tree` is the data set's, whatever is set."""

    passed = ("seed", "schedule_steps")
    # Its step is a long one.
    quick_steps = 6

    batch_size: int = 16
    tree: tuple[int, ...] = (2, 3, 2)
    style_dim: int = 8
    filters: int = 0
    scales: int = 0
    style_layers: str = "auto"
    learning_rate: float = 1e-4
    halve_every: int = 0
    weight_decay: float = 1e-4
    alpha: float = 10.0
    beta: float = 1.0
    feature_recon: str = "recombined"
    mirror: bool = True
    w_disent_cls: float = 0.0
    w_disent_ent: float = 0.0
    w_tv: float = 0.0


CONFIGS = {
    "ali": ALIConfig,
    "autoencoder": AutoencoderConfig,
    "beta_tcvae": BetaTCVAEConfig,
    "beta_vae": BetaVAEConfig,
    "cascade_infogan": CascadeInfoGANConfig,
    "cascade_vae": CascadeVAEConfig,
    "factor_vae": FactorVAEConfig,
    "class_vae": ClassVAEConfig,
    "cvae": CVAEConfig,
    "fden": FDENConfig,
    "jacobian_vae": JacobianVAEConfig,
    "pro_vlae": ProVLAEConfig,
    "vlae": VLAEConfig,
    "hdn": HDNConfig,
    "infogan": InfoGANConfig,
}

_RUN_FIELDS = {field.name for field in dataclasses.fields(RunConfig)}
# Not part of what a run is: where it stops, how it reports and is scored.
FREE_FIELDS = (
    "steps",
    "log_every",
    "checkpoint_every",
    "image_every",
    "traversal_steps",
    "traversal_span",
    "baseline_steps",
    "eval_episodes",
    "eval_images",
    "critic_steps",
    "score_every",
    "information_images",
    "judge_steps",
)
# The smallest values of fields that count something. A negative period would
# never come to an end.
LEAST = {
    2: ("traversal_steps", "information_images", "ways", "eval_episodes"),
    1: (
        "steps",
        "batch_size",
        "log_every",
        "checkpoint_every",
        "shots",
        "queries",
        "eval_images",
        "classifier_steps",
        "capacity_steps",
        "critic_width",
        "latent_dim",
        "style_dim",
        "categories",
        "z_dim",
        "num_classes",
        "students",
    ),
    0: (
        "seed",
        "schedule_steps",
        "halve_every",
        "image_size",
        "image_every",
        "score_every",
        "traversal_span",
        "jitters",
        "backbone_steps",
        "critic_steps",
        "baseline_steps",
        "judge_steps",
        "ramp_steps",
        "warm_up",
        "data_size",
        "capacity",
        "capacity_generic",
        "capacity_specific",
        "specific_start",
        "class_weight",
        "code_dim",
        "noise_dim",
        "fade_steps",
        "scales",
        # Weights of terms, and noise.
        "alpha",
        "beta",
        "gamma",
        "recon_weight",
        "code_weight",
        "jacobian_weight",
        "covariance_weight",
        "structure_weight",
        "info_weight",
        "w_disent_cls",
        "w_disent_ent",
        "w_tv",
        "weight_decay",
        "code_decay",
        "code_noise",
        "input_noise",
        "critic_noise",
        "noise_steps",
    ),
}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def config_class(model):
    """The configuration dataclass of a model by name.

    A user's own class gets one made from its constructor's annotated or
    defaulted arguments.

    Raises:
      InputError: unknown model, or an argument that no setting could give.
    """
    models.check(model)
    if model in CONFIGS:
        return CONFIGS[model]
    fields, arguments = [], inspect.signature(models.get(model)).parameters
    for argument in arguments.values():
        known = argument.name in ("image_shape", "backbone", *_RUN_FIELDS)
        if known or argument.kind == argument.VAR_KEYWORD:
            continue
        kind, default = argument.annotation, argument.default
        if default is argument.empty or isinstance(default, list | dict | set):
            raise InputError(
                f"{model}: the constructor's argument {argument.name!r} needs "
                "a default: a number, a text, a bool, None or a tuple of them."
            )
        if kind is argument.empty:
            kind = type(default)
            if default and kind is tuple:
                kind = tuple[type(default[0]), ...]
        fields.append((argument.name, kind, default))
    passed = {"seed", *(_RUN_FIELDS & set(arguments))}
    return dataclasses.make_dataclass(
        "CustomConfig",
        fields,
        bases=(RunConfig,),
        namespace={"passed": tuple(sorted(passed))},
        frozen=True,
    )


def field_types(kind):
    """{field: type} of a configuration dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def parse(kind, text, key):
    """A `--set` value by its field's type.

    Raises:
      InputError: the text is no such value.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        if text.lower() in ("none", ""):
            return None
        return parse(
            next(a for a in arguments if a is not type(None)), text, key
        )
    if origin is tuple:
        if not text:
            return ()
        return tuple(parse(arguments[0], t, key) for t in text.split(","))
    if kind is bool:
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
    elif kind is str:
        return text
    else:
        try:
            # 1e4 steps is a number of steps.
            number = float(text)
            if kind is int and number == int(number):
                return int(number)
            if kind is float and math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            pass
    raise InputError(
        f"--set {key}={text}: expected {getattr(kind, '__name__', kind)}."
    )


def build(model, dataset, preset="default", settings=(), **fields):
    """The configuration of a run.

    Later wins: the dataclass's defaults, the preset, `fields`, `settings`.

    Args:
      model, dataset, preset: names.
      settings: `"key=value"` texts.
      **fields: typed values, None for "not given".

    Returns:
      An instance of the model's configuration dataclass.

    Raises:
      InputError: unknown name, key or value; one line.
    """
    from trainers import presets

    kind = config_class(model)
    types = field_types(kind)
    values = dict(presets.find(model, dataset, preset))
    values |= {k: v for k, v in fields.items() if v is not None}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}: expected key=value.")
        if key not in types or key in ("model", "dataset", "preset"):
            near = difflib.get_close_matches(key, types, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"--set {setting}: --model={model} has no field {key!r}.{hint}"
                f" Fields: {', '.join(sorted(types))}."
            )
        values[key] = parse(types[key], text, key)
    config = kind(model=model, dataset=dataset, preset=preset, **values)
    return checked(config)


def checked(config):
    """The configuration, refused where a value makes no sense.

    Raises:
      InputError: one line.
    """
    ours = config.model in CONFIGS
    for least, names in LEAST.items():
        for name in names:
            # A user's own model may mean something else by a name.
            known = ours or name in _RUN_FIELDS
            value = getattr(config, name, None)
            if known and value is not None and value < least:
                raise InputError(
                    f"{name} must be at least {least}. Received {value}."
                )
    for name in field_types(type(config)):
        if ours and name.endswith("learning_rate"):
            if getattr(config, name) <= 0:
                raise InputError(
                    f"{name} must be above 0. Received {getattr(config, name)}."
                )
    if config.seed >= 2**31:
        raise InputError(f"seed must be below 2**31. Received {config.seed}.")
    if ours and not 0 <= getattr(config, "dropout", 0.0) < 1:
        raise InputError(
            f"dropout must lie in [0, 1). Received {config.dropout}."
        )
    ends = config.backbone_range
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise InputError(
            "backbone_range must be two numbers, low,high. Received "
            f"{','.join(f'{end:g}' for end in ends) or 'none'}."
        )
    choices = {
        "precision": PRECISIONS,
        "evaluation_split": ("test", "validation"),
        "norm": ("batch", None),
        "alignment": ("relation", "siamese", "proto", "cosine"),
        "step2_input": ("w", "z", "both"),
        "clip_scope": ("per_variable", "global"),
        "init": ("glorot_normal", "paper"),
        "style_layers": ("auto", "residual", "strided"),
        "feature_recon": ("recombined", "own"),
    }
    if ours:
        for name, known in (choices | config.choices).items():
            value = getattr(config, name, known[0])
            if value not in known:
                raise InputError(
                    f"{name}={value}: expected one of "
                    f"{', '.join(str(k) for k in known)}."
                )
        if getattr(config, "network", "") == "original" and config.levels != 3:
            raise InputError(
                "network=original has 3 levels. Received "
                f"levels={config.levels}."
            )
        if hasattr(config, "structure"):
            Structure.read(config.structure, config.latent_dim)
    return config


def model_arguments(config):
    """The fields that are the model constructor's, its seed among them."""
    own = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _RUN_FIELDS
    }
    return own | {name: getattr(config, name) for name in config.passed}


def to_dict(config):
    """Plain data for config.json."""
    return dataclasses.asdict(config)


def from_dict(stored):
    """The configuration that `to_dict` stored.

    Raises:
      InputError: a key this version does not know.
    """
    kind = config_class(stored["model"])
    types = field_types(kind)
    unknown = set(stored) - set(types)
    if unknown:
        raise InputError(
            f"config.json has unknown keys {', '.join(sorted(unknown))}; it "
            "was written by another version of tfdisent."
        )
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in stored.items()
    }
    return kind(**values)


def describe(kind):
    """`{field: default}` of a configuration dataclass, for --help."""
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.name not in ("model", "dataset", "preset")
    }
