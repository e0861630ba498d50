"""The one exception that commands turn into a line for the user."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line saying why.

    Commands print it without a traceback and exit with status 2. Everything
    else that goes wrong is a defect of ours and keeps its traceback.

    Args:
      message: the line; line breaks inside (a library's message, a strange
        file name) become spaces.
    """

    def __init__(self, message):
        super().__init__(" ".join(str(message).split("\n")))
