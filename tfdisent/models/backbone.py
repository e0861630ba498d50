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
        self.loaded = self._load()
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

    def _load(self):
        try:
            return tf.saved_model.load(self.path)
        # What TensorFlow raises for files that are cut short or missing.
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError(
                f"Backbone {self.path!r} cannot be loaded: {reason}"
            ) from error

    def _image_input(self):
        inputs = self._encode.structured_input_signature[1]
        if len(inputs) != 1:
            raise InputError(
                f"Backbone {self.path!r}: encode must take exactly one image, "
                f"it takes {', '.join(sorted(inputs))}."
            )
        ((key, spec),) = inputs.items()
        shape = spec.shape
        # The number of images is free, their size is known.
        free = [n is None for n in shape.as_list()] if shape.rank else []
        if free != [True, False, False, False] or not spec.dtype.is_floating:
            raise InputError(
                f"Backbone {self.path!r}: encode must take any number of "
                "float images [None, H, W, C] of a known size, it takes "
                f"{spec.dtype.name} {shape}."
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
            known = spec.shape.rank == 2 and spec.shape[-1] is not None
            if not (known and spec.dtype.is_floating):
                raise InputError(
                    f"Backbone {self.path!r}: part {name!r} must be float "
                    f"numbers [B, n], it is {spec.dtype.name} {spec.shape}."
                )
            taken = decode_inputs[name].shape
            any_number = taken.rank is None or taken[0] is None
            if not (
                any_number and taken[1:].is_compatible_with(spec.shape[1:])
            ):
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
        outputs = _call(self._encode, {self.image_key: image})
        return {name: outputs[name] for name in self.parts}

    def decode(self, **parts):
        """{part: `[B, n]`} to images in [0, 1] `[B, H, W, C]`."""
        low, high = self.value_range
        image = _call(self._decode, parts)[self.output_key]
        return tf.clip_by_value((image - low) / (high - low), 0.0, 1.0)

    def get_config(self):
        """Refuses: a .keras file must not make its reader run a program."""
        raise ValueError(
            "A model on a foreign SavedModel has no .keras form, since a "
            "SavedModel is a program that only its path could name; use "
            "`python -m export.run`, or keep the run directory."
        )


def _call(signature, values):
    """A signature's outputs as float32, whatever precision it works in."""
    specs = signature.structured_input_signature[1]
    given = {n: tf.cast(v, specs[n].dtype) for n, v in values.items()}
    return {n: tf.cast(v, tf.float32) for n, v in signature(**given).items()}
