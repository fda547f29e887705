"""What carries a trained network through a batch: PyTorch, or ONNX Runtime in float or int8 on a CPU.

Which of them is written in the bundle (see :mod:`inference.encoders.bundle`), never measured at the start of a node: an
embedding must not depend on how busy a machine was. On CUDA it is always PyTorch, in bf16.

An ONNX twin takes ``images`` float32 (B, T, 3, S, S) in [0, 1] and, where its network looks at it, ``modality`` int64
(B,); it gives ``embedding`` float32 (B, D).
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.encoders.bundle import Backend, Bundle
from inference.encoders.device import choose_device, inference_pass
from inference.encoders.inputs import InputSpec
from inference.types import FloatArray

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "weights.safetensors"
ONNX_FILES: dict[Backend, str] = {"onnx": "model.onnx", "onnx-int8": "model.int8.onnx"}
OPSET = 17

Images = NDArray[np.uint8]
Modalities = NDArray[np.int64]


class Runtime(Protocol):
    """``dimension`` is what the network gives, whatever the bundle says."""

    backend: Backend
    dimension: int

    def __call__(self, images: Images, modality: Modalities) -> FloatArray:
        """Embeddings float32 (B, D), not normalised, of uint8 (B, T, 3, S, S) and the modalities' numbers (B,)."""
        ...


def choose(bundle: Bundle, device: str) -> Backend:
    """What serves the bundle on a device (``auto``, ``cpu``, ``cuda`` or ``cuda:N``)."""
    on_cpu = device == "cpu" or choose_device(device).type == "cpu"
    return bundle.manifest.serving.backend if on_cpu else "torch"


def open_runtime(bundle: Bundle, device: str, backend: Backend | None = None) -> Runtime:
    """The runtime that :func:`choose` names, or the one that is asked for.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` when a file is missing or has another hash, or when the weights do not fit the network, are
        not finite or give another dimension than the bundle says.
    """
    backend = backend or choose(bundle, device)
    runtime: Runtime
    if backend == "torch":
        runtime = TorchRuntime(load_network(bundle), choose_device(device))
    else:
        runtime = OnnxRuntime(_bytes(bundle, ONNX_FILES[backend]), backend, bundle.manifest.name)
    if runtime.dimension != bundle.manifest.dimension:
        raise _damaged(bundle, f"it says dimension {bundle.manifest.dimension}, its network has {runtime.dimension}")
    return runtime


def load_network(bundle: Bundle) -> torch.nn.Module:
    """The bundle's network with its weights, in evaluation mode; raises what :func:`open_runtime` does."""
    import safetensors
    import safetensors.torch
    import torch

    from inference import networks

    model = bundle.manifest.model
    if model is None:
        raise _damaged(bundle, "it has no table [model]")
    # Its weights are in the bundle: where training started from does not matter any more.
    settings = {key: value for key, value in model.settings.items() if key != "pretrained"}
    try:
        network = networks.build(model.name, settings)
    except EncoderError as error:
        raise _damaged(bundle, str(error)) from None
    try:
        state = safetensors.torch.load(_bytes(bundle, WEIGHTS_FILE))
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise _damaged(bundle, f"{WEIGHTS_FILE} does not fit the network {model.name!r}: {error}") from None
    if not all(torch.isfinite(values).all() for values in state.values() if values.is_floating_point()):
        raise _damaged(bundle, f"{WEIGHTS_FILE} holds weights that are not finite")
    return network.eval()


class TorchRuntime:
    """See :class:`Runtime`; ``network`` has the face that :mod:`inference.networks` promises."""

    backend: Backend = "torch"

    def __init__(self, network: Any, device: torch.device) -> None:
        import torch

        self.dimension: int = network.dimension
        # Channels last: the same numbers to rounding, and convolutions a quarter faster on either device.
        self._network = network.to(device, memory_format=torch.channels_last).eval()
        self._device = device

    def __call__(self, images: Images, modality: Modalities) -> FloatArray:
        import torch

        with inference_pass(self._device):
            batch = torch.from_numpy(images).to(self._device).float() / 255
            found = self._network(batch, torch.from_numpy(modality).to(self._device))
            return np.asarray(found.float().cpu().numpy(), np.float32)


class OnnxRuntime:
    """See :class:`Runtime`; as many threads as the process has processors, or OMP_NUM_THREADS says.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` when the model cannot be read, or takes or gives something else than an ONNX twin does.
    """

    def __init__(self, model: bytes, backend: Backend, name: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = _threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  (ONNX Runtime raises types of its own for each way to be damaged)
            raise EncoderError(
                f"bundle {name!r}: ONNX Runtime cannot use its model ({type(error).__name__}); install it again",
                reason="BUNDLE_DAMAGED",
            ) from None
        self.backend = backend
        self._takes = {found.name for found in self._session.get_inputs()}
        shape = self._session.get_outputs()[0].shape
        if not {"images"} <= self._takes <= {"images", "modality"} or len(shape) != 2 or not isinstance(shape[1], int):
            raise EncoderError(
                f"bundle {name!r}: its ONNX model takes {', '.join(sorted(self._takes))} and gives {shape}; "
                "export it again",
                reason="BUNDLE_DAMAGED",
            )
        self.dimension: int = shape[1]

    def __call__(self, images: Images, modality: Modalities) -> FloatArray:
        given = feeds(images, modality, self._takes)
        return np.asarray(self._session.run(None, given)[0], np.float32)


def feeds(images: Images, modality: Modalities, takes: Iterable[str]) -> dict[str, NDArray[Any]]:
    """What an ONNX twin is given: of images and modalities what it takes."""
    everything = {"images": images.astype(np.float32) / np.float32(255), "modality": modality}
    return {name: everything[name] for name in takes}


def export_onnx(network: torch.nn.Module, spec: InputSpec) -> bytes:
    """The network's ONNX twin; the numbers of images and of slices stay open, the size of the images does not."""
    import torch

    training = network.training
    device = next(network.parameters()).device
    # Two of everything, or what is one may be taken for a constant.
    example = (
        torch.rand(2, 2, 3, spec.size, spec.size, device=device),
        torch.zeros(2, dtype=torch.int64, device=device),
    )
    axes = {"images": {0: "batch", 1: "slices"}, "modality": {0: "batch"}, "embedding": {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter that traces makes the graphs that ONNX Runtime optimises and quantises; it is told to be old.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # ONNX Runtime folds what is left
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network.eval(), example, path, input_names=["images", "modality"], output_names=["embedding"],
            dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        network.train(training)
        return path.read_bytes()


def quantise(model: bytes, batches: Iterable[tuple[Images, Modalities]] = ()) -> bytes:
    """The int8 form of an ONNX twin.

    A network of convolutions gets fixed scales for its activations from ``batches`` of images as it will see them
    (static, weights by channel): without these it would be slower than before. In one that is mostly matrix products,
    a transformer, and where there are no batches, only these become int8, with scales found while it runs (dynamic):
    the outliers among a transformer's activations fit no fixed one (T. Dettmers et al., "LLM.int8()", NeurIPS 2022).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given = list(batches)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / name for name in ("plain.onnx", "ready.onnx", "small.onnx"))
        plain.write_bytes(model)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        graph = onnx.load(ready).graph
        if given and _is_convolutional(graph):
            reader = _Reader(given, {found.name for found in graph.input})
            kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
            quantize_static(ready, small, reader, per_channel=True, **kinds)
        else:
            quantize_dynamic(ready, small, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
        return small.read_bytes()


class _Reader:
    """What ONNX Runtime calls a calibration data reader."""

    def __init__(self, batches: list[tuple[Images, Modalities]], takes: set[str]) -> None:
        self._left: Iterator[tuple[Images, Modalities]] = iter(batches)
        self._takes = takes

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        found = next(self._left, None)
        return None if found is None else feeds(*found, self._takes)


def _is_convolutional(graph: Any) -> bool:
    kinds = [node.op_type for node in graph.node]
    return kinds.count("Conv") > kinds.count("MatMul") + kinds.count("Gemm")


def _threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else len(os.sched_getaffinity(0))


def _bytes(bundle: Bundle, name: str) -> bytes:
    if name not in bundle.manifest.files:
        raise _damaged(bundle, f"it lists no {name}, which it needs to serve here")
    return bundle.bytes_of(name)


def _damaged(bundle: Bundle, what: str) -> EncoderError:
    return EncoderError(f"bundle {bundle.manifest.name!r}: {what}; install it again", reason="BUNDLE_DAMAGED")
