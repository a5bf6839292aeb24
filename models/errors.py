"""Every exception that Backbeat raises on purpose.

Adapters convert their driver's exceptions to these, ``from exc``.

* BackbeatError
  x ConfigurationError        a setting, rule or series definition that cannot work
  x TopicMismatchError        a topic exists with another shape than the table says
  x StateError                keyed state that cannot be read back
  x FencedError               another worker owns a partition that this one was writing for
  x StorageError              a store answered with an error
    + StorageUnavailableError   ... that may pass: try again
  x DeliveryError             a receiver refused a notification
    + DeliveryRetryableError    ... that may pass: try again
"""


class BackbeatError(Exception):
    """Base of all errors of Backbeat."""


class ConfigurationError(BackbeatError):
    """A setting, rule or series definition cannot work; the message says what would."""


class TopicMismatchError(BackbeatError):
    """A topic on the broker differs from the topic table."""


class StateError(BackbeatError):
    """Keyed state could not be decoded or restored."""


class FencedError(BackbeatError):
    """Another worker owns the partition now; what this one tried to write was refused."""


class StorageError(BackbeatError):
    """A store rejected an operation for good."""


class StorageUnavailableError(StorageError):
    """A store did not answer, or asked to be tried later."""


class DeliveryError(BackbeatError):
    """A receiver refused a notification for good."""


class DeliveryRetryableError(DeliveryError):
    """A receiver could not be reached, or asked to be tried later.

    ``retry_after`` is the receiver's own wish in seconds, or None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
