"""Parameters and modules: how a network is put together, run forwards, and told what to change.

A network is a function with dials. Each dial is a number in an array that we call a *parameter*. Learning means: run
the function, measure how wrong it was (the *loss*, one number), and ask for every dial which way to turn it. The answer
is the *gradient*, an array of the same shape as the parameter: d loss / d parameter.

A *module* is a part of the network that knows two things:

    y = module.forward(x)       what it makes of its input
    d_x = module.backward(d_y)  given d loss / d y, the gradient of its output: d loss / d x, the gradient of its input;
                                on the way it adds d loss / d parameter to each of its own parameters

`backward` is the chain rule, worked out by hand for each kind of module. A chain of modules needs nothing more:
forwards from first to last, then backwards from last to first, each handing its `d_x` to the one before, whose `d_y` it
is. `forward` remembers what `backward` will need (`self.memory`), so the two are called in pairs.

Throughout this package `d_name` is the gradient of the loss with respect to `name` and has its shape. Gradients are
added, never assigned: a parameter used in two places (a tied embedding) collects what both places ask of it.

Names follow attributes: `blocks.0.attention.query.weight` is `model.blocks[0].attention.query.weight`. They are the
names that the PyTorch model gives the same arrays, so weights move between the two without translation.

Run me: `python -m groundzero.reference.module`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.floating[Any]]
Ids = NDArray[np.integer[Any]]
Visible = NDArray[np.bool_]


class Parameter:
    """An array that is learnt, and the gradient of the loss with respect to it.

    >>> weight = Parameter(np.ones((2, 3)))
    >>> weight.gradient += 0.5
    """

    def __init__(self, value: Array) -> None:
        self.value = value
        self.gradient: Array = np.zeros_like(value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value, and of the gradient."""
        return self.value.shape

    def astype(self, dtype: DTypeLike) -> None:
        """Change the precision, in place; the gradient is forgotten."""
        self.value = self.value.astype(dtype)
        self.gradient = np.zeros_like(self.value)


class Module:
    """A part of a network: its parameters and its parts are its attributes.

    Subclasses define `forward` and `backward`; calling the module runs `forward`.
    """

    training: bool = False
    """Whether dropout drops."""
    watcher: Callable[[Array], None] | None = None
    """Shown every output, for those who look inside (`watch`)."""
    memory: Any = None
    """What `forward` keeps for `backward`."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        output = self.forward(*inputs, **options)
        if self.watcher is not None:
            self.watcher(output)
        return output

    def parts(self) -> Iterator[tuple[str, Module | Parameter]]:
        """Direct parts and parameters by name, in the order they were made."""
        for name, value in vars(self).items():
            if isinstance(value, Module | Parameter):
                yield name, value

    def modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all within it, by dotted name; its own name is `prefix`."""
        yield prefix, self
        for name, part in self.parts():
            if isinstance(part, Module):
                yield from part.modules(f"{prefix}.{name}" if prefix else name)

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter by dotted name, each once."""
        found: dict[str, Parameter] = {}
        for prefix, module in self.modules():
            for name, part in module.parts():
                if isinstance(part, Parameter):
                    found[f"{prefix}.{name}" if prefix else name] = part
        return found

    def zero_gradients(self) -> None:
        """Forget all gradients, before the next backward pass."""
        for parameter in self.parameters().values():
            parameter.gradient[...] = 0.0

    def astype(self, dtype: DTypeLike) -> None:
        """Compute in another precision from now on."""
        for parameter in self.parameters().values():
            parameter.astype(dtype)

    def train(self, training: bool = True) -> None:
        """Switch dropout on, or off."""
        for _, module in self.modules():
            module.training = training

    def watch(self, watcher: Callable[[str, Array], None] | None) -> None:
        """Show `watcher` the name and output of every module at each forward pass; None stops it."""
        for name, module in self.modules():
            module.watcher = None if watcher is None else (lambda output, name=name: watcher(name, output))


class Sequence(Module):
    """Modules in a row, named 0, 1, 2 ...; each works on what the one before it made."""

    def __init__(self, *items: Module) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def parts(self) -> Iterator[tuple[str, Module | Parameter]]:
        """The items, named by their places."""
        yield from ((str(i), item) for i, item in enumerate(self.items))

    def forward(self, x: Array) -> Array:
        """From first to last."""
        for item in self.items:
            x = item(x)
        return x

    def backward(self, d_y: Array) -> Array:
        """From last to first: the chain rule."""
        for item in reversed(self.items):
            d_y = item.backward(d_y)
        return d_y


def central_differences(loss: Callable[[], float], value: Array, step: float = 1e-5) -> Array:
    """d loss / d value by trying: nudge each number both ways and look. Slow, and the first judge of every backward.

    (loss(v + h) - loss(v - h)) / 2h, whose error is of order h^2 plus rounding / h. `value` is changed and restored, so
    `loss` must read that very array.
    """
    gradient = np.zeros_like(value)
    for place in np.ndindex(value.shape):
        kept = value[place]
        value[place] = kept + step
        above = loss()
        value[place] = kept - step
        below = loss()
        value[place] = kept
        gradient[place] = (above - below) / (2 * step)
    return gradient


class _Scale(Module):
    """y = a x, the smallest module there is: for the demo."""

    def __init__(self, a: float) -> None:
        self.a = Parameter(np.array([a]))

    def forward(self, x: Array) -> Array:
        self.memory = x
        return self.a.value * x

    def backward(self, d_y: Array) -> Array:
        x: Array = self.memory
        self.a.gradient += (d_y * x).sum()  # dy/da = x
        return self.a.value * d_y  # dy/dx = a


def demo() -> None:
    """Learn a factor of six in two modules, and check the chain rule by trying."""
    network = Sequence(_Scale(1.5), _Scale(0.5))
    x, target = np.array([1.0, 2.0, 3.0]), np.array([6.0, 12.0, 18.0])

    def loss() -> float:
        return float(((network(x) - target) ** 2).sum())

    print("The network is y = a * (b * x), and should learn y = 6 x. It starts at")
    print(f"  a = {network[1].a.value[0]}, b = {network[0].a.value[0]}, loss = sum of (y - 6x)^2 = {loss():.2f}")
    network.backward(2 * (network(x) - target))  # d loss / d y
    print("\nbackward() gives d loss / d parameter; nudging each parameter both ways must agree:")
    for name, parameter in network.parameters().items():
        tried = central_differences(loss, parameter.value)
        print(f"  {name}: by hand {parameter.gradient[0]:9.3f}, tried {tried[0]:9.3f}")
    print("\nNow turn each dial a little against its gradient, again and again:")
    for step in range(1, 13):
        network.zero_gradients()
        network.backward(2 * (network(x) - target))
        for parameter in network.parameters().values():
            parameter.value -= 0.004 * parameter.gradient
        if step % 3 == 0:
            a, b = network[1].a.value[0], network[0].a.value[0]
            print(f"  step {step:2d}: a = {a:.3f}, b = {b:.3f}, a*b = {a * b:.3f}, loss = {loss():.4f}")
    print("\nThat is all of deep learning but for the choice of modules. Next: activations.")


if __name__ == "__main__":
    demo()
