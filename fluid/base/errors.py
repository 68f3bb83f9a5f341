"""The errors a caller may meet; each message is one line: what, where, and what is allowed."""


class FluidError(Exception):
    """Base class: something in the input is wrong, and the message says what."""


class TableError(FluidError):
    """A table of compounds cannot be read, or lacks what was asked of it."""


class FederationError(FluidError):
    """The federation file is invalid, or a request contradicts it."""


class FileFormatError(FluidError):
    """A file or folder is damaged, truncated, or not of the kind it should be."""


class MismatchError(FluidError):
    """Two things that must belong together (protocol, public set, round, software) do not."""


class SignatureError(FluidError):
    """A signature is missing, wrong, or of a key that the federation does not know."""


class TrainingError(FluidError):
    """The labels do not suffice to train a model."""


class LedgerError(FluidError):
    """A ledger was changed or restored from a backup, or its budget is used up."""


class ClusterError(FluidError):
    """A cluster cannot be used or was lost; the finished chunks of a run are kept."""


def one_line(error: BaseException) -> str:
    """What went wrong as a short line of printable characters, for use in a message."""
    return repr(str(error) or type(error).__name__)[1:-1][:200]
