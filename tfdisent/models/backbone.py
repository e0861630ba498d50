"""A trained encoder and decoder that FDEN plugs into and never changes."""

import pathlib

import tensorflow as tf

from tfdisent.errors import InputError


class SavedModelBackbone:
    """A SavedModel with `encode` and `decode` signatures, ours or not.

    A SavedModel is a program: load only those you trust.

    Args:
      path: directory with `saved_model.pb`.
      value_range: `(low, high)` of the pixels its signatures work with.

    Attributes:
      image_shape: `(H, W, C)` it encodes.
      parts: {name: shape} of its code, all of rank 1, in order.

    Raises:
      InputError: no SavedModel there, a signature missing, or one that FDEN
        cannot use; the message says which and what was expected.
    """

    trainable_variables = ()

    def __init__(self, path, value_range=(0.0, 1.0)):
        path = pathlib.Path(path)
        if not (path / "saved_model.pb").is_file():
            raise InputError(
                f"{str(path)!r} is no SavedModel (no saved_model.pb in it)."
            )
        self.path = str(path)
        self.value_range = tuple(float(v) for v in value_range)
        self.loaded = tf.saved_model.load(str(path))
        for name in ("encode", "decode"):
            if name not in self.loaded.signatures:
                present = ", ".join(sorted(self.loaded.signatures)) or "none"
                raise InputError(
                    f"Backbone {self.path!r} has no signature {name!r} "
                    f"(it has: {present})."
                )
        self._encode = self.loaded.signatures["encode"]
        self._decode = self.loaded.signatures["decode"]
        self.image_key, self.image_shape = self._image_input()
        self.parts = self._code_parts()
        self.output_key = self._image_output()

    def _image_input(self):
        inputs = self._encode.structured_input_signature[1]
        if len(inputs) != 1:
            raise InputError(
                f"Backbone {self.path!r}: encode must take exactly one image, "
                f"it takes {', '.join(sorted(inputs))}."
            )
        ((key, spec),) = inputs.items()
        shape = spec.shape
        if (
            shape.rank != 4
            or None in shape.as_list()[1:]
            or not spec.dtype.is_floating
        ):
            raise InputError(
                f"Backbone {self.path!r}: encode must take float images "
                f"[B, H, W, C] of a known size, it takes {spec.dtype.name} "
                f"{shape}."
            )
        return key, tuple(shape.as_list()[1:])

    def _code_parts(self):
        outputs = self._encode.structured_outputs
        decode_inputs = self._decode.structured_input_signature[1]
        if set(outputs) != set(decode_inputs):
            raise InputError(
                f"Backbone {self.path!r}: encode gives "
                f"{', '.join(sorted(outputs))} but decode takes "
                f"{', '.join(sorted(decode_inputs))}; they must be the same."
            )
        parts = {}
        for name, spec in sorted(outputs.items()):
            if spec.shape.rank != 2 or spec.shape[-1] is None:
                raise InputError(
                    f"Backbone {self.path!r}: part {name!r} must be numbers "
                    f"[B, n], it is {spec.shape}."
                )
            taken = decode_inputs[name].shape
            if not taken[1:].is_compatible_with(spec.shape[1:]):
                raise InputError(
                    f"Backbone {self.path!r}: encode gives part {name!r} as "
                    f"{spec.shape}, decode takes {taken}."
                )
            parts[name] = (int(spec.shape[-1]),)
        return parts

    def _image_output(self):
        outputs = self._decode.structured_outputs
        if len(outputs) != 1:
            raise InputError(
                f"Backbone {self.path!r}: decode must give one image, it "
                f"gives {', '.join(sorted(outputs))}."
            )
        ((key, spec),) = outputs.items()
        shape = spec.shape
        if shape.rank is None or tuple(shape[1:]) != self.image_shape:
            raise InputError(
                f"Backbone {self.path!r}: encode takes images of "
                f"{self.image_shape}, decode gives {shape}."
            )
        return key

    def encode(self, image):
        """Images in [0, 1] `[B, H, W, C]` to {part: `[B, n]`}."""
        low, high = self.value_range
        image = low + (high - low) * tf.cast(image, tf.float32)
        outputs = self._encode(**{self.image_key: image})
        return {name: outputs[name] for name in self.parts}

    def decode(self, **parts):
        """{part: `[B, n]`} to images in [0, 1] `[B, H, W, C]`."""
        low, high = self.value_range
        image = self._decode(**parts)[self.output_key]
        return tf.clip_by_value((image - low) / (high - low), 0.0, 1.0)

    def get_config(self):
        """Refuses: a .keras file must not make its reader run a program."""
        raise ValueError(
            "A model on a foreign SavedModel has no .keras form, since a "
            "SavedModel is a program that only its path could name; use "
            "`python -m export.run`, or keep the run directory."
        )
