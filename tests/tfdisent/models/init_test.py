import os
import pathlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from tfdisent import models
from tfdisent import testing
from tfdisent.errors import InputError
from tfdisent.models import few_shot

ENCODE = """
import sys
import numpy as np
import tfdisent
model = tfdisent.models.load(sys.argv[1])
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **model.encode(images))
"""
LOAD = """
import sys
import tfdisent
print(*[type(tfdisent.models.load(p)).__name__ for p in sys.argv[1:]])
"""


def in_a_new_process(code, *arguments):
    # Wherever pytest itself found the package.
    found = str(pathlib.Path(models.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": found},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_saved_model_encodes_equally_in_a_new_process(tmp_path):
    model = testing.tiny_model("beta_vae")
    model.compile()
    images = testing.random_images(model.image_shape)
    saved, given, codes = (tmp_path / n for n in ("m.keras", "i.npy", "c.npz"))
    model.save(saved)
    np.save(given, images)
    in_a_new_process(ENCODE, saved, given, codes)
    np.testing.assert_allclose(
        np.load(codes)["z"], model.encode(images)["z"], atol=1e-6
    )


@pytest.mark.slow
def test_every_class_is_found_in_a_new_process(tmp_path):
    made = {name: testing.tiny_model(name) for name in models.MODELS}
    made["matching"] = few_shot.MatchingNetwork(filters=4)
    paths = [tmp_path / f"{name}.keras" for name in made]
    for path, model in zip(paths, made.values(), strict=True):
        model.save(path)
    found = in_a_new_process(LOAD, *paths).split()
    assert found == [type(model).__name__ for model in made.values()]


def without(source, target, gone):
    """Copies a `.keras` file but for one of the files in it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in set(old.namelist()) - {gone}:
            new.writestr(name, old.read(name))


def refusal(path):
    with pytest.raises(InputError) as caught:
        models.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_is_no_saved_model_is_refused_in_one_line(tmp_path):
    whole = tmp_path / "whole.keras"
    testing.tiny_model("autoencoder").save(whole)
    assert "is no file" in refusal(tmp_path / "missing.keras")
    assert "trainers.rundir.load_model" in refusal(tmp_path)

    cut = tmp_path / "cut.keras"
    cut.write_bytes(whole.read_bytes()[:1000])
    assert "is damaged, or no .keras file" in refusal(cut)

    for gone in ("config.json", "model.weights.h5"):
        part = tmp_path / f"{gone}.keras"
        without(whole, part, gone)
        assert gone in refusal(part)


def test_a_class_that_nobody_imported_is_named(tmp_path):
    class Own(keras.Model):
        pass

    path = tmp_path / "own.keras"
    Own().save(path)
    assert "Could not locate class 'Own'" in refusal(path)


def test_a_program_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "lambda.keras"
    layers = [keras.Input((1,)), keras.layers.Lambda(lambda x: 2 * x)]
    keras.Sequential(layers).save(path)
    assert "arbitrary code execution" in refusal(path)
