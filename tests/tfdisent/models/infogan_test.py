import numpy as np

from tfdisent import testing
from tfdisent.models.infogan import InfoGAN


def test_infogan_declares_what_it_cannot_do():
    assert not InfoGAN.reconstructs
    model = testing.tiny_model("infogan")
    assert model.parts == {"category": (3,), "code": (2,)}
    assert list(model.units) == ["category", "code[0]", "code[1]"]
    assert model.graph is None
    found = model.encode(testing.random_images((28, 28, 1)))["category"]
    np.testing.assert_allclose(np.sum(found, axis=-1), 1, rtol=1e-5)
