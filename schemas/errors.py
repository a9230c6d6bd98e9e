"""The errors a user can mend; each message names the thing, the value, the rule and the remedy."""


class TwinbandError(Exception):
    """A problem of the input or the surroundings; shown as text, never as a traceback."""


class CatalogError(TwinbandError):
    """A catalog or another YAML file cannot be used; lists every problem, one a line."""


class VideoError(TwinbandError):
    """A video or a folder of frames cannot be read or written."""


class IngestError(TwinbandError):
    """A recording's files do not hold what the recording needs."""


class SyncError(TwinbandError):
    """No trustworthy relation between the two cameras' clocks was found."""


class CalibrateError(TwinbandError):
    """Calibration footage cannot be looked at, or does not belong to the rig."""


class RegisterError(TwinbandError):
    """No trustworthy mapping between the two images was found."""


class DegradeError(TwinbandError):
    """A degradation recipe does not fit the pixels it is asked to change."""


class ShardError(TwinbandError):
    """A clip cannot be cut or written."""


class StoreError(TwinbandError):
    """A clip store is missing, incomplete or damaged."""


class WorkspaceError(TwinbandError):
    """The workspace cannot be used: in use by another build, full, or not a workspace."""


class ReleaseError(TwinbandError):
    """A release cannot be made or read."""


class ReviewError(TwinbandError):
    """A reviewer's correction does not fit the recording."""


class PublishError(TwinbandError):
    """A release cannot be published to the place asked for."""


class CheckpointError(TwinbandError):
    """A weights file does not hold the network it should."""


class TrainError(TwinbandError):
    """Training cannot start or go on."""


class FuseError(TwinbandError):
    """Two videos cannot be fused."""


class SimulateError(TwinbandError):
    """A simulated rig cannot film into the folder it was given."""


class EvaluateError(TwinbandError):
    """Frames cannot be scored."""
