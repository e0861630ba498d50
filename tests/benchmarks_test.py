"""The harness of the training steps covers every model."""

import importlib.util
import pathlib
import sys

import pytest

from tfdisent import models

PATH = pathlib.Path(__file__).parents[1] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def training():
    spec = importlib.util.spec_from_file_location("training", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_model_has_a_case(training):
    assert set(training.CASES) == set(models.MODELS)


@pytest.mark.parametrize(
    "flags", [["--models=nope"], ["--parts", "--models=vlae"]]
)
def test_a_model_it_does_not_know_is_one_line(
    training, flags, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["training.py", *flags])
    with pytest.raises(SystemExit) as end:
        training.main()
    assert end.value.code == 2
    assert "not among" in capsys.readouterr().err


def test_a_network_that_no_model_has_is_one_line(training, monkeypatch, capsys):
    flags = ["--models=beta_vae,vlae", "--network=nope"]
    monkeypatch.setattr(sys, "argv", ["training.py", *flags])
    with pytest.raises(SystemExit) as end:
        training.main()
    assert end.value.code == 2
    assert "these models have burgess, conv, ladder" in capsys.readouterr().err


def test_a_network_is_given_to_models_that_have_it(training):
    assert training.case("beta_vae", "burgess")[0].network == "burgess"
    assert training.case("vlae", "burgess")[0].network == "ladder"
