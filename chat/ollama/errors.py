"""Everything that can go wrong with a model, as clients see it.

ModelError                the model did not answer, or stopped midway
├── ModelUnavailable      Ollama is down, refuses, hangs, or sends garbage
├── ModelBusy             too many calls wait for Ollama already
├── ModelMissing          Ollama does not have the model
├── PromptTooLong         the model counts more tokens than were estimated
└── ModelTimeout          Ollama did not answer in time
UnknownModel              the client chose a model that Ollama does not have
CannotContinue            the model cannot continue a reply, as far as is known
"""

from collections.abc import Sequence

from core.errors import ApiError

BUSY_SECONDS = 5  # after which a client may try again


class ModelError(ApiError):
    """The model did not answer, or stopped midway."""

    status = 503


class ModelUnavailable(ModelError):
    """Ollama is down, refuses, hangs, or sends garbage."""

    code = "model_unavailable"
    message = "The model cannot be reached just now: try again in a moment."


class ModelBusy(ModelError):
    """Too many calls wait for Ollama already."""

    code = "model_busy"
    message = "The model is busy at the moment: try again in a few seconds."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": str(BUSY_SECONDS)})


class ModelMissing(ModelError):
    """Ollama does not have the model."""

    code = "model_missing"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model {model} is not installed: the operator can get it with "
            f"`python manage.py pullmodel {model}`."
        )


class PromptTooLong(ModelError):
    """The model counts more tokens than were estimated.

    `prompt_tokens` and `window` are the model's own numbers, None where it does not give them.
    """

    status, code = 400, "invalid"
    message = "The message is too long for the model's window: shorten it."

    def __init__(self, prompt_tokens: int | None = None, window: int | None = None) -> None:
        super().__init__(fields={"message": [self.message]})
        self.prompt_tokens = prompt_tokens
        self.window = window


class ModelTimeout(ModelError):
    """Ollama did not answer in time."""

    status, code = 504, "model_timeout"
    message = "The model did not answer in time: try again in a moment."


class UnknownModel(ApiError):
    """The client chose a model that Ollama does not have."""

    def __init__(self, model: str, models: Sequence[str]) -> None:
        known = ", ".join(models) or "none"
        super().__init__(
            "There is no such model.",
            fields={"model": [f"There is no model {model}. Models to choose from: {known}."]},
        )


class CannotContinue(ApiError):
    """The model cannot continue a reply, as far as is known."""

    status, code = 409, "cannot_continue"
    message = "This model cannot continue a reply: regenerate it instead."
