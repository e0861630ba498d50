"""Training in stages that follow the step: a stage is a mask, never a trace."""

import tensorflow as tf

from tfdisent.errors import InputError


class Staged:
    """What models that train in stages share; they set `stages`."""

    @property
    def stage_ends(self):
        return self.stages.ends

    def update(self, batch):
        """As every model's.

        Raises:
          ValueError: stages of no length: all of the model would train at
            once.
        """
        if not self.stages.length:
            raise ValueError(
                f"{type(self).__name__} trains in {self.stages.count} stages; "
                "schedule_steps must say of how many training steps. "
                "Received: 0"
            )
        return super().update(batch)


class Stages:
    """Equally long stages of a training run.

    Args:
      count: of stages.
      schedule_steps: training steps of all of them; 0 for a model that is
        past them.

    Attributes:
      length: steps of a stage; the last one has the remainder, too.
      ends: the steps at which stages end.

    Raises:
      InputError: (a ValueError) fewer steps than stages.
    """

    def __init__(self, count, schedule_steps):
        if 0 < schedule_steps < count:
            raise InputError(
                f"{count} stages need at least as many training steps "
                f"(schedule_steps, or steps). Received: {schedule_steps}"
            )
        self.count = count
        self.length = schedule_steps // count
        ends = [self.start(s + 1) for s in range(count - 1)]
        self.ends = [*ends, schedule_steps] if self.length else []

    def start(self, stage):
        """The step at which a stage starts."""
        return stage * self.length

    def at(self, step):
        """The stage of a step: int32 scalar of an integer scalar."""
        last = self.count - 1
        if not self.length:
            return tf.constant(last)
        return tf.minimum(tf.cast(step // self.length, tf.int32), last)
