import inspect
import sys

import pytest

from tfdisent import InputError
from tfdisent import models
from trainers import config
from trainers import presets


@pytest.mark.parametrize("model", sorted(config.CONFIGS))
def test_fields_are_the_constructors_arguments(model):
    # The dataclass exists so that TensorFlow need not be imported to read
    # it; this keeps its defaults from drifting away.
    built = config.build(model, "digits", preset="default")
    defaults = config.CONFIGS[model](model=model, dataset="digits")
    parameters = inspect.signature(models.get(model)).parameters
    expected = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind != parameter.VAR_KEYWORD
        and name not in ("image_shape", "backbone")
    }
    assert config.model_arguments(defaults) == expected
    assert config.from_dict(config.to_dict(built)) == built


def test_every_registered_model_has_a_configuration():
    assert set(config.CONFIGS) == set(models.MODELS)


@pytest.mark.parametrize(
    ("own", "ours"), [("dsprites", "sprites"), ("shapes3d", "shapes")]
)
@pytest.mark.parametrize("model", ["pro_vlae", "vlae", "beta_vae"])
def test_the_papers_own_sets_have_the_presets_of_their_grids(model, own, ours):
    for preset in ("default", "ladder"):
        found = presets.find(model, own, preset)
        assert found and found == presets.find(model, ours, preset)
    if model != "beta_vae":
        assert (
            presets.find(model, own, "paper")["z_dim"]
            == {
                "dsprites": 2,
                "shapes3d": 3,
            }[own]
        )


def test_celeb_a_has_the_papers_fade():
    found = presets.find("pro_vlae", "celeb_a", "paper")
    assert found["fade_steps"] == 5_000 < found["steps"] // found["levels"]


def test_every_preset_builds():
    for model, by_dataset in presets.PRESETS.items():
        for dataset, named in by_dataset.items():
            for preset in named:
                name = "npz:x" if dataset == "any" else dataset
                built = config.build(model, name, preset)
                for field, value in named[preset].items():
                    assert getattr(built, field) == value


@pytest.mark.parametrize("dataset", ["sprites", "shapes"])
def test_rows_of_seed_001s_comparison_have_equal_means(dataset):
    names = {"beta_vae", "factor_vae", "beta_tcvae"}
    names |= {"vlae", "pro_vlae", "jacobian_vae"}
    rows = {n: config.build(n, dataset, "ladder") for n in names}
    equal = {
        (
            row.network if name != "pro_vlae" else "ladder",
            row.steps,
            # Half of FactorVAE's batch is its critic's.
            row.batch_size // (2 if name == "factor_vae" else 1),
            getattr(row, "latent_dim", 0) or 3 * row.z_dim,
            # Errors are of images that nobody trained on.
            row.evaluation_split,
        )
        for name, row in rows.items()
    }
    codes = {"sprites": 6, "shapes": 9}[dataset]
    assert equal == {("ladder", 21_000, 64, codes, "validation")}


@pytest.mark.parametrize("dataset", ["sprites", "mnist", "fashion_mnist"])
def test_rows_of_seed_004s_comparison_have_equal_means(dataset):
    names = ("beta_vae", "factor_vae", "beta_tcvae", "cascade_vae")
    rows = [config.build(n, dataset, "burgess") for n in names]
    rows += [
        config.build("cascade_vae", dataset, preset)
        for preset in ("default", "factor_vae", "beta_tcvae")
    ]
    equal = {
        (
            row.network,
            row.steps,
            row.batch_size
            // (2 if "factor_vae" in (row.model, row.preset) else 1),
            row.latent_dim,
            row.learning_rate,
        )
        for row in rows
    }
    assert equal == {("burgess", 20_000, 64, 10, 5e-4)}


def test_settings_are_parsed_by_type():
    built = config.build(
        "autoencoder",
        "digits",
        settings=["filters=8,16", "steps=1e3", "input_noise=.5", "grey=yes"],
    )
    assert built.filters == (8, 16)
    assert built.steps == 1000
    assert isinstance(built.steps, int)
    assert built.input_noise == 0.5
    assert built.grey is True
    assert config.build("ali", "digits", settings=["norm=none"]).norm is None


def test_later_wins():
    built = config.build(
        "fden", "digits", settings=["steps=7"], steps=5, seed=3
    )
    assert built.steps == 7
    assert built.seed == 3
    assert built.alignment == "proto"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["gama=1"], "Did you mean 'gamma'"),
        (["gamma=x"], "expected float"),
        (["steps=1.5"], "expected int"),
        (["steps=inf"], "expected int"),
        (["beta=nan"], "beta=nan: expected float"),
        (["grey=perhaps"], "expected bool"),
        (["gamma"], "expected key=value"),
        (["model=ali"], "no field 'model'"),
        (["steps=0"], "steps must be at least 1"),
        (["alignment=foo"], "relation, siamese, proto, cosine"),
        (["precision=float8"], "expected one of float32"),
        (["image_every=-1"], "image_every must be at least 0"),
        (["learning_rate=-1"], "learning_rate must be above 0"),
        (["seed=-1"], "seed must be at least 0"),
        (["seed=3e9"], "seed must be below"),
        (["traversal_steps=1"], "traversal_steps must be at least 2"),
        (["ways=1"], "ways must be at least 2"),
        (["eval_episodes=1"], "eval_episodes must be at least 2"),
        (["dropout=1"], r"dropout must lie in \[0, 1\). Received 1"),
        (["gamma=-.5"], "gamma must be at least 0. Received -0.5"),
        (["backbone_range=1"], "two numbers, low,high"),
        (["backbone_range="], "two numbers, low,high. Received none"),
        (["backbone_range=1,-1"], "two numbers, low,high"),
    ],
)
def test_bad_settings_name_the_choices(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        config.build("fden", "digits", settings=settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("vlae", ["network=original", "levels=4"], "original has 3 levels"),
        ("factor_vae", ["critic_width=0"], "critic_width must be at least 1"),
    ],
)
def test_what_a_network_cannot_be_is_said_before_it_is_built(
    model, settings, message
):
    with pytest.raises(InputError, match=message):
        config.build(model, "digits", settings=settings)


@pytest.fixture
def own_model(tmp_path, monkeypatch):
    """Makes `theirs:Own`, a user's model with these constructor arguments."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(arguments):
        (tmp_path / "theirs.py").write_text(
            "class Own:\n"
            "    needs = frozenset()\n"
            f"    def __init__(self, image_shape, {arguments}): pass\n"
        )
        return "theirs:Own"

    yield write
    # The next test writes another module of this name.
    sys.modules.pop("theirs", None)


def test_a_users_model_is_configured_by_its_arguments(own_model):
    model = own_model("depth=2, widths=(8, 8), name: str = ''")
    built = config.build(
        model, "digits", settings=["depth=3", "widths=4,2", "name=a"]
    )
    assert (built.depth, built.widths, built.name) == (3, (4, 2), "a")


@pytest.mark.parametrize("argument", ["depth", "widths=[8]", "by={}"])
def test_arguments_that_no_setting_can_give_are_named(own_model, argument):
    model, name = own_model(argument), argument.partition("=")[0]
    with pytest.raises(InputError, match=f"'{name}' needs a default"):
        config.build(model, "digits")


def test_unknown_names():
    with pytest.raises(InputError, match="Did you mean 'fden'"):
        config.build("fdne", "digits")
    with pytest.raises(InputError, match="Choices: default, paper"):
        config.build("fden", "digits", preset="best")


def test_stored_configuration_of_another_version_is_refused():
    stored = config.to_dict(config.build("ali", "digits")) | {"lr": 1}
    with pytest.raises(InputError, match="unknown keys lr"):
        config.from_dict(stored)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("structure=1->11", "1->11 leaves the latents 1 .. 10"),
        ("structure=1->2,2->1", "is a cycle"),
        ("structure=q", "one of a, b, c, d, e, f, or edges"),
        ("conditional=sum", "linear_sem, mean, mixed"),
        ("disc_input=both", "zhat, pair"),
    ],
)
@pytest.mark.parametrize("model", ["cascade_vae", "cascade_infogan"])
def test_a_bad_structure_is_one_line(model, setting, message):
    with pytest.raises(InputError, match=message) as caught:
        config.build(model, "digits", settings=[setting])
    assert "\n" not in str(caught.value)


def test_structures_keep_their_commas_and_sums():
    for text in ("1->3,2->3", "hair=colour+length,hair->gender"):
        built = config.build(
            "cascade_vae", "digits", settings=[f"structure={text}"]
        )
        assert built.structure == text
        assert config.from_dict(config.to_dict(built)) == built
    assert config.build("cascade_vae", "sprites").traversal_span == 2
    with pytest.raises(InputError, match="beta_vae, factor_vae, beta_tcvae"):
        config.build("cascade_vae", "digits", settings=["base=vae"])
    with pytest.raises(InputError, match="leaves the latents 1 .. 4"):
        config.build(
            "cascade_vae",
            "digits",
            settings=["structure=f", "latent_dim=4"],
        )


def test_hdn_mirrors_no_poses_and_trains_rivals_where_they_are_asked_for():
    for preset, settings in (("default", ["hierarchy=P"]), ("P", [])):
        built = config.build("hdn", "shapes", preset, settings)
        assert (built.hierarchy, built.mirror) == ("P", False)
        assert built.baseline_steps == 0
    for dataset, tree in (("shapes", "C"), ("omniglot", "alphabet")):
        paper = config.build("hdn", dataset, "paper")
        assert (paper.hierarchy, paper.mirror) == (tree, False)
        assert (paper.steps, paper.halve_every) == (300_000, 0)
    assert config.build("hdn", "folder:x").baseline_steps == 0
    real = config.build("hdn", "fashion_mnist")
    assert real.baseline_steps == 2_000
    assert (real.steps, real.halve_every, real.mirror) == (30_000, 0, True)
