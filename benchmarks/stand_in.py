"""A stand-in for a GPU: its tensors are computed on the CPU, and every launch and every wait is counted.

The processor waits for a GPU in three cases: a copy to it from memory that is not pinned, a blocking copy from it, and
every read of a tensor's values. The stand-in has the device name `meta`, for which the CPU has no kernels. So each
operation passes through `StandIn`, which counts it and computes it on the CPU tensors behind its arguments.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
DEVICE, CPU = torch.device("meta"), torch.device("cpu")
# on a GPU each of these reads values to know the shape of its result
SHAPED_BY_NUMBERS = {aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default}
BY_INDEX = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
NO_KERNEL = {"detach", "_unsafe_view", "_reshape_alias", "empty", "empty_like", "new_empty", "empty_strided"}


class Placed(Tensor):
    """A tensor on the stand-in device. Its values are in `behind`."""

    behind: Tensor
    is_cuda = True  # the library asks this, to take a GPU's path

    @staticmethod
    def __new__(cls, behind: Tensor) -> "Placed":
        made: Placed = Tensor._make_wrapper_subclass(
            cls, behind.size(), behind.stride(), behind.storage_offset(), dtype=behind.dtype, device=DEVICE
        )
        made.behind = behind
        return made

    def __init__(self, behind: Tensor) -> None: ...

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{operation} of a tensor on the stand-in device, outside `StandIn`")


class StandIn(TorchDispatchMode):
    """A context in which `DEVICE` can hold tensors.

    launches: operations that are neither views nor allocations, by name. An operation on a list of tensors counts once.
    A forward pass through a `recorded` module counts once, and so does a backward pass. waits: by kind.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._replaying = False
        self._looks = Looks(self)

    def __enter__(self) -> "StandIn":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._looks.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._looks.__exit__(*error)  # type: ignore[no-untyped-call]
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def forget(self) -> None:
        """Reset all counts."""
        self.launches.clear()
        self.waits.clear()

    def recorded(self, module: nn.Module, sample: tuple[Tensor, ...], allow_unused_input: bool) -> Callable[..., Any]:
        """A stand-in for `torch.cuda.make_graphed_callables`: forward and backward are one launch each."""
        learning = [p for p in module.parameters() if p.requires_grad]
        return lambda *given: Replay.apply(self, module, len(given), *given, *learning)  # type: ignore[no-untyped-call]

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Count one launch for all operations inside the block."""
        self.launches["graph"] += 1
        self._replaying = True
        try:
            yield
        finally:
            self._replaying = False

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        placed = [x for x in tree_leaves((args, named)) if isinstance(x, Placed)]
        target = named.get("device")
        if operation is aten._pin_memory.default:
            return pinned(args[0].clone())
        if operation is aten.is_pinned.default:
            return is_pinned(args[0])
        if target is not None:
            named["device"] = CPU
        pins = named.pop("pin_memory", False)
        plain, plain_named = tree_map_only(Placed, lambda x: x.behind, (args, named))
        found = operation(*plain, **plain_named)
        if not self._replaying:
            self._count(operation, args, named, placed, target)
        on_device = target.type == DEVICE.type if target is not None else bool(placed)
        if operation is aten.copy_.default:
            return args[0]
        if not on_device:
            return pinned(found) if pins else found
        changed = {id(x.behind): x for x in placed}
        return tree_map_only(Tensor, lambda x: changed[id(x)] if id(x) in changed else Placed(x), found)

    def _count(self, operation: Any, args: Any, named: Any, placed: list[Placed], target: torch.device | None) -> None:
        name = str(operation.overloadpacket).removeprefix("aten.")
        if operation is aten.copy_.default:
            self._count_copy(args[1], args[0].device, len(args) > 2 and args[2])
        elif operation is aten._to_copy.default and target is not None:
            self._count_copy(args[0], target, named.get("non_blocking", False))
        elif operation is aten._local_scalar_dense.default and placed:
            self.waits["number read"] += 1
        elif (placed or (target is not None and target.type == DEVICE.type)) and not is_view(operation, name):
            self.launches[name] += 1
            self.waits["shape read"] += operation in SHAPED_BY_NUMBERS
            for index in args[1] if operation in BY_INDEX else ():
                self.waits["copy in, not pinned"] += isinstance(index, Tensor) and not isinstance(index, Placed)
                self.waits["shape read"] += isinstance(index, Placed) and index.dtype == torch.bool

    def _count_copy(self, source: Tensor, target: torch.device, runs_on: bool) -> None:
        there, here = isinstance(source, Placed), target.type == CPU.type
        if there or not here:
            self.launches["copy"] += 1
        if there and here and not runs_on:
            self.waits["copy out"] += 1
        if not there and not here and not (runs_on and is_pinned(source)):
            self.waits["copy in, not pinned"] += 1


class Looks(TorchFunctionMode):
    """Counts reads of values that are no operations, and attention, which is one launch on a GPU."""

    def __init__(self, stand_in: StandIn):
        super().__init__()
        self.stand_in = stand_in

    def __torch_function__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if call is Tensor.tolist and isinstance(args[0], Placed):
            self.stand_in.waits["number read"] += 1
            return args[0].behind.tolist()
        if call is F.scaled_dot_product_attention and isinstance(args[0], Placed):
            how = {"attn_mask": named.get("attn_mask"), "scale": named.get("scale")}
            dropout, causal = named.get("dropout_p", 0.0), named.get("is_causal", False)
            return aten._scaled_dot_product_flash_attention_for_cpu(*args[:3], dropout, causal, **how)[0]
        return call(*args, **named)


class Replay(torch.autograd.Function):
    """A module's forward and backward pass, each a single launch."""

    @staticmethod
    def forward(ctx: Any, device: StandIn, module: nn.Module, count: int, *tensors: Tensor) -> Tensor:
        ctx.device, ctx.learning = device, tensors[count:]
        with device.replay(), torch.enable_grad():
            ctx.found = module(*tensors[:count])
        found: Tensor = ctx.found.detach()
        ctx.count = count
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        with ctx.device.replay():
            own = torch.autograd.grad(ctx.found, ctx.learning, gradients, allow_unused=True)
        return (None, None, None, *[None] * ctx.count, *own)


def pinned(x: Tensor) -> Tensor:
    x.pinned = True  # type: ignore[attr-defined]
    return x


def is_pinned(x: Tensor) -> bool:
    return hasattr(x, "pinned")


def is_view(operation: Any, name: str) -> bool:
    """Whether an operation launches nothing, because it is a view or an allocation."""
    returns = operation._schema.returns
    views = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    return views or name in NO_KERNEL
