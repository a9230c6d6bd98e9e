"""Weights on disk: safetensors with the recipe inside, and the import of the official weights."""

import pickle
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from model.durable import write_whole
from model.network import VideoFusion
from schemas.errors import CheckpointError
from schemas.training import CheckpointHeader, NetworkRecipe, TrainingRecipe

BUNDLED_WEIGHTS = Path(__file__).parent / "weights" / "videofusion-small.safetensors"
"""Weights of our own that come with the package; model/weights/README.md says what they are."""

HEADER_KEY = "twinband"
"""Where the header stands in the metadata of a safetensors file."""

MAX_BYTES = 2 * 2**30
"""Above the largest network a recipe allows; a larger file is refused before it is read."""

MAX_LISTED = 12
"""Names shown per kind of fault; a wrong file otherwise fills the screen."""

OFFICIAL_KEYS = ("params", "params_ema")
"""Where the official checkpoints keep their tensors, the first found wins."""

COUNTS = "num_batches_tracked"
"""What batch normalisation calls its only whole number."""

UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    struct.error,
    pickle.UnpicklingError,
)
"""What PyTorch's reader raises on damaged, foreign or unsafe bytes, found by corrupting files."""

_BAND = "(infrared|visible)"

_OFFICIAL_NAMES = (
    (rf"^{_BAND}_1\.layers\.", r"conv3d_\1_1.module."),
    (rf"^{_BAND}_([23])\.temporal\.layers\.", r"conv3d_\1_\2.module."),
    (rf"^{_BAND}_2\.down\.", r"down_\1_1.body."),
    (rf"^{_BAND}_3\.down\.", r"down_\1_2.body."),
    (rf"^{_BAND}_([23])\.residual\.(\d+)\.conv_", r"\1_conv_enhance_\2.blocks.0.\3.conv"),
    (rf"^reinforce_{_BAND}_([23])\.cross\.", r"cross_modal_enhance_\1_\2.cross_transformer."),
    (rf"^reinforce_{_BAND}_([23])\.mix\.weigh\.", r"CMA_\1_\2.conv."),
    (rf"^reinforce_{_BAND}_([23])\.mix\.gates\.0\.", r"CMA_\1_\2.ChannelAttention."),
    (rf"^reinforce_{_BAND}_([23])\.mix\.gates\.1\.conv\.", r"CMA_\1_\2.SpatialAttention.conv1."),
    (r"^fuse_(\d)\.cross\.", r"fusion_\1.cross_transformer."),
    (r"^enhance_(\d)\.", r"fusion_enhance_\1.transformer."),
    (r"^co_attend_(\d)\.(\d+)\.", r"co_attention_\1.layers.\2.co_transformer."),
    (r"^up_(\d)\.", r"up\1.body."),
    (rf"^select_{_BAND}\.0\.", r"decomposition.channel_attention_\1."),
    (rf"^select_{_BAND}\.1\.conv\.", r"decomposition.spatial_attention_\1.conv1."),
    (r"^decode_fused\.", "decoder_fusion."),
    (rf"^decode_{_BAND}\.", r"decoder_\1."),
    (r"^(decoder_\w+)\.blocks\.", r"\1.decoder."),
    (r"^(decoder_\w+)\.head\.", r"\1.conv."),
    (r"\.squeeze\.", ".fc1."),
    (r"\.expand\.", ".fc2."),
    (r"\.attention_norm\.", ".norm1.body."),
    (r"\.feed_forward_norm\.", ".norm2.body."),
    (r"\.attention\.", ".attn."),
    (r"\.unused_norm\.", ".norm.body."),
    (r"\.query_key_value\.", ".qkv."),
    (r"\.query\.", ".q."),
    (r"\.key_value\.", ".kv."),
    (r"\.(qkv|q|kv)\.pointwise\.", r".\1."),
    (r"\.(qkv|q|kv)\.depthwise\.", r".\1_dwconv."),
    (r"\.previous_key_value\.pointwise\.", ".kv_prev."),
    (r"\.previous_key_value\.depthwise\.", ".kv_dwconv_prev."),
    (r"\.next_key_value\.pointwise\.", ".kv_next."),
    (r"\.next_key_value\.depthwise\.", ".kv_dwconv_next."),
    (r"\.attn\.output\.", ".attn.project_out."),
    (r"\.feed_forward\.inside\.pointwise\.", ".ffn.project_in."),
    (r"\.feed_forward\.inside\.depthwise\.", ".ffn.dwconv."),
    (r"\.feed_forward\.output\.", ".ffn.project_out."),
    (r"(?<=_)infrared|^infrared", "ir"),
    (r"(?<=_)visible|^visible", "vi"),
)
"""Our names to the official ones, applied in order; pattern and replacement."""


def official_name(name: str) -> str:
    """What the official weights call our tensor `name`."""
    for pattern, replacement in _OFFICIAL_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def tensor_faults(
    found: Mapping[str, object], expected: Mapping[str, torch.Size], *, what: str
) -> list[str]:
    """Every way in which `found` differs from the tensors that `expected` names, one a line."""
    faults: list[str] = []
    faults += _listed(f"missing from {what}", expected.keys() - found.keys())
    faults += _listed(f"unexpected in {what}", found.keys() - expected.keys())
    shared = {name: found[name] for name in expected if name in found}
    tensors = {name: value for name, value in shared.items() if isinstance(value, Tensor)}
    faults += _listed("not a tensor", shared.keys() - tensors.keys())
    faults += _listed(
        "mis-shaped",
        (
            f"{name} {tuple(tensor.shape)}, expected {tuple(expected[name])}"
            for name, tensor in tensors.items()
            if tensor.shape != expected[name]
        ),
    )
    faults += _listed(
        "not floating point",
        (n for n, t in tensors.items() if not t.is_floating_point() and not n.endswith(COUNTS)),
    )
    faults += _listed(
        "not finite", (name for name, t in tensors.items() if not torch.isfinite(t).all())
    )
    return faults


def _listed(kind: str, names: Iterable[str]) -> list[str]:
    ordered = sorted(names)
    if not ordered:
        return []
    left = f" and {len(ordered) - MAX_LISTED} more" if len(ordered) > MAX_LISTED else ""
    return [f"{len(ordered)} {kind}: {', '.join(ordered[:MAX_LISTED])}{left}"]


def save_checkpoint(
    network: VideoFusion, path: Path, *, training: TrainingRecipe | None = None
) -> None:
    """Write the network's weights and recipe; a reader never sees half of the file.

    Args:
        network: on any device.
        path: usually ends in .safetensors.
        training: how the weights were trained, kept as provenance.

    Raises:
        CheckpointError: the file cannot be written.
    """
    header = CheckpointHeader(network=network.recipe, training=training)
    tensors = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
    content = safetensors_torch.save(tensors, {HEADER_KEY: header.model_dump_json()})
    try:
        write_whole(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path}: {len(content)} bytes cannot be written: {error.strerror}; "
            "free space or choose another place"
        ) from error


def load_checkpoint(path: Path) -> VideoFusion:
    """The network saved at `path`, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    _check_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            written = (file.metadata() or {}).get(HEADER_KEY)
            # Copied off the file's memory map, which a later writer of the file could change.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: no whole safetensors file ({error}); "
            "copy it again, or use load_official for the authors' .pth"
        ) from error
    if written is None:
        raise CheckpointError(
            f"{path}: its metadata has no {HEADER_KEY!r}, so twinband did not write it; "
            "give a weights.safetensors made by `twinband train`"
        )
    try:
        header = CheckpointHeader.model_validate_json(written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole header"
        raise CheckpointError(
            f"{path}: its header cannot be used: {where}: {first['msg']}; "
            "it may come from a newer twinband: update, or train again"
        ) from error
    return _assemble(header.network, tensors, path)


def load_official(path: Path) -> VideoFusion:
    """The network with the authors' published weights, in evaluation mode, on the CPU.

    Reads `{"params": tensors}` (or "params_ema") without running any code the file may contain.
    All 464 official tensors arrive, the 14 that no result depends on as `unused_norm`.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or holds other tensors; every
            missing, unexpected and mis-shaped one is named.
    """
    loaded = _loaded(path)
    held = loaded if isinstance(loaded, dict) else {}
    official = next((held[k] for k in OFFICIAL_KEYS if isinstance(held.get(k), dict)), None)
    if official is None:
        keys = ", ".join(sorted(map(repr, held))[:MAX_LISTED]) or type(loaded).__name__
        raise CheckpointError(
            f"{path}: holds {keys}, not a mapping named {' or '.join(OFFICIAL_KEYS)}; "
            "give the authors' checkpoint of VideoFusion"
        )
    found = {str(name).removeprefix("module."): value for name, value in official.items()}
    recipe = NetworkRecipe()
    expected = {official_name(name): shape for name, shape in _shapes(recipe).items()}
    _refuse(tensor_faults(found, expected, what="the official weights"), path)
    tensors = {name: found[official_name(name)] for name in _shapes(recipe)}
    return _assemble(recipe, tensors, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of any network's state dict, .safetensors or PyTorch's .pth, by their names.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or holds anything else.
    """
    _check_file(path)
    if path.suffix == ".safetensors":
        try:
            return safetensors_torch.load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{path}: no whole safetensors file ({error}); copy it again"
            ) from error
    loaded = _loaded(path)
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{path}: holds no mapping of tensors alone; give a state dict")
    return {str(name): tensor for name, tensor in loaded.items()}


def _loaded(path: Path) -> object:
    """What a PyTorch file holds, without running any code it may contain."""
    _check_file(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path}: no PyTorch file of tensors alone ({_first_line(error)}); download it again"
        ) from error


def unused_tensors(network: VideoFusion) -> list[str]:
    """The authors' names of the tensors that no result depends on, sorted."""
    return sorted(official_name(name) for name in network.state_dict() if ".unused_norm." in name)


def _assemble(recipe: NetworkRecipe, tensors: Mapping[str, Tensor], path: Path) -> VideoFusion:
    """A network of `recipe` that owns `tensors` as float32."""
    _refuse(tensor_faults(tensors, _shapes(recipe), what="the file"), path)
    with torch.device("meta"):
        network = VideoFusion(recipe)
    owned = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    network.load_state_dict(owned, assign=True)
    return network.eval()


def _shapes(recipe: NetworkRecipe) -> dict[str, torch.Size]:
    """Name and shape of every tensor of a network, without making it."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in VideoFusion(recipe).state_dict().items()}


def _refuse(faults: list[str], path: Path) -> None:
    if faults:
        raise CheckpointError(
            "\n".join(
                f"{path}: {fault}; these weights belong to another network" for fault in faults
            )
        )


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; correct the path")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise CheckpointError(
            f"{path}: {size} bytes, more than the {MAX_BYTES} of the largest network; "
            "give a weights file"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
