"""Tensors of torch, encoded independent of their memory layout."""

from __future__ import annotations

import sys
from typing import Any

from memoflow.fingerprint.encoding import EncoderInterface, Handler, Unstable

_COMPRESSED_BY_ROW = ("torch.sparse_csr", "torch.sparse_bsr")
_COMPRESSED_BY_COLUMN = ("torch.sparse_csc", "torch.sparse_bsc")


def tensor_handler(kind: type) -> Handler | None:
    """Return the encoder for instances of `kind`, or None if it is no tensor of torch's."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "Tensor"):
        return None
    if issubclass(kind, torch.Tensor):
        return _tensor
    if kind.__module__ == "torch.storage" and kind.__name__ in ("TypedStorage", "UntypedStorage"):
        return _storage
    return None


def _tensor(encoder: EncoderInterface, value: Any) -> bytes:
    torch: Any = sys.modules["torch"]

    kind = type(value)
    try:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            header = [str(value.dtype), value.device.type, bool(value.requires_grad)]
            content = _content(encoder, value)
            # What a tensor of a class of one's own holds besides, or all there is of it.
            held = dict(getattr(value, "__dict__", {})) if not value.is_nested else {}
    except (Unstable, RecursionError):
        raise
    except Exception as error:
        name = f"{kind.__module__}.{kind.__qualname__}"
        reason = str(error).partition("\n")[0]
        raise Unstable(f"the content of this {name} cannot be told ({reason})") from error
    pieces = [encoder.named(kind), encoder.encode(header), content]
    return encoder.node(b"tensor", [*pieces, encoder.attributes(held)])


def _content(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode the items of a tensor, in the form in which it has them."""
    layout = str(value.layout)
    if value.is_nested:
        parts = [_content(encoder, each) for each in value.detach().unbind()]
        return encoder.node(b"nested", [encoder.encode(layout), *parts])
    if _lazy(value):
        return encoder.node(b"no shape yet", ())
    shape = encoder.encode([layout, tuple(value.shape), list(getattr(value, "names", ()))])
    if value.device.type == "meta":
        return encoder.node(b"meta", (shape,))
    if _wraps(value):
        return encoder.node(b"wrapper", (shape,))
    plain = value.detach()
    if layout == "torch.sparse_coo":
        flags = encoder.encode(plain.is_coalesced())
        parts = [_content(encoder, each) for each in (plain._indices(), plain._values())]
        return encoder.node(b"coordinates", (shape, flags, *parts))
    if layout in _COMPRESSED_BY_ROW:
        held = plain.crow_indices(), plain.col_indices(), plain.values()
        return encoder.node(b"compressed", [shape, *(_content(encoder, each) for each in held)])
    if layout in _COMPRESSED_BY_COLUMN:
        held = plain.ccol_indices(), plain.row_indices(), plain.values()
        return encoder.node(b"compressed", [shape, *(_content(encoder, each) for each in held)])
    if layout != "torch.strided":
        return encoder.node(b"other layout", (shape, _content(encoder, plain.to_dense())))
    if plain.is_quantized:
        scale = _scale(encoder, plain)
        return encoder.node(b"quantized", (shape, scale, _content(encoder, plain.int_repr())))
    return encoder.node(b"strided", (shape, _items(plain)))


def _items(plain: Any) -> Any:
    torch: Any = sys.modules["torch"]

    # A view may be marked as conjugate or negative without its memory being so.
    flat = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def _scale(encoder: EncoderInterface, value: Any) -> bytes:
    scheme = str(value.qscheme())
    if "per_channel" not in scheme:
        return encoder.encode([scheme, value.q_scale(), value.q_zero_point()])
    per_channel = value.q_per_channel_scales(), value.q_per_channel_zero_points()
    axis = encoder.encode([scheme, value.q_per_channel_axis()])
    return encoder.node(b"scales", [axis, *(_content(encoder, each) for each in per_channel)])


def _lazy(value: Any) -> bool:
    """Tell whether this is a parameter without a shape before its first use."""
    parameters: Any = sys.modules.get("torch.nn.parameter")
    return parameters is not None and bool(parameters.is_lazy(value))


def _wraps(value: Any) -> bool:
    """Say whether a tensor has no items of its own, but attributes that stand for them."""
    torch: Any = sys.modules["torch"]

    kind = type(value)
    if kind.__module__.startswith("torch._subclasses"):
        raise Unstable(f"a {kind.__qualname__} has no content")
    if kind.__torch_dispatch__ is torch.Tensor.__torch_dispatch__ or not value.numel():
        return False
    try:
        return bool(value.data_ptr() == 0)
    except RuntimeError:
        return True


def _storage(encoder: EncoderInterface, value: Any) -> bytes:
    torch: Any = sys.modules["torch"]

    kind = type(value)
    items = torch.tensor([], dtype=torch.uint8).set_(getattr(value, "_untyped_storage", value))
    header = encoder.encode([str(getattr(value, "dtype", "")), items.device.type])
    return encoder.node(b"storage", (encoder.named(kind), header, _items(items)))
