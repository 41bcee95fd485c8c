"""The density of low-rank Gaussian vectors as one PyTensor operation that returns its own gradient.

PyTensor's compilers take the written-out gradient as it is; Numba takes minutes to compile the same formula in parts.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.jax.dispatch import jax_funcify  # pyright: ignore[reportPrivateImportUsage] - as documented

from bayes_cpt._support.typing import Array
from bayes_cpt.statistical_model.low_rank_gaussian import value_and_gradient


class LowRankGaussian(Op):
    """Outputs the log density up to constants, then its gradients by residual, weight and columns."""

    __props__ = ()

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node; the inputs are residual, weight and columns of `value_and_gradient`."""
        tensors = [pt.as_tensor(value) for value in inputs]
        return Apply(self, tensors, [pt.dscalar(), *(value.type() for value in tensors)])

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        """Compute with NumPy."""
        del node
        for storage, value in zip(output_storage, value_and_gradient(*inputs), strict=True):
            storage[0] = np.asarray(value)

    def infer_shape(self, node: Apply, shapes: Any) -> list[Any]:
        """Return the shapes of the outputs."""
        del node
        return [(), *shapes]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Return the cotangents of the inputs; only the value can be differentiated, and once."""
        del inputs
        if not all(isinstance(cotangent.type, DisconnectedType) for cotangent in cotangents[1:]):
            raise NotImplementedError("the gradients of LowRankGaussian cannot be differentiated again")
        return [cotangents[0] * gradient for gradient in outputs[1:]]


@jax_funcify.register(LowRankGaussian)
def _with_jax(op: LowRankGaussian, **kwargs: Any) -> Any:
    del op, kwargs
    return lambda residual, weight, columns: value_and_gradient(residual, weight, columns, jnp)


def marginal_log_likelihood(losses: Array, mean: Array, variance: Array, columns: Array, measured: Array) -> Array:
    """Return the log density of ``Normal(mean, diag(variance) + columns^T columns)`` at the measured losses.

    Parameters
    ----------
    losses, mean, variance
        (n,).
    columns
        (k, n) One row per effect, scaled by its standard deviation.
    measured
        (n,) 1 where a loss was measured, 0 elsewhere.
    """
    value, *_gradients = LowRankGaussian().make_node(losses - mean, measured / variance, columns).outputs
    return value - 0.5 * (measured * pt.log(2 * np.pi * variance)).sum()
