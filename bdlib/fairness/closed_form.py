"""The closed forms of ridge regression under B f = 0, or with a penalty: eta times the square of B f.

The predictions are f = K w. K is the kernel matrix (n, n), y the centered target (n,), B the operator of
`bdlib.fairness.parity` (m, n), alpha the ridge. `eta` None means that B f = 0 holds exactly.
"""

from collections.abc import Callable

import numpy as np
from scipy import linalg

from bdlib.fairness.parity import Array

RANK = 1e-10  # eigenvalues below this share of the largest count as zero
LEAST_RIDGE = 1e-7  # of the trace of K; below it a Cholesky factor of K + alpha I loses the parity
ROUNDING = 10 * np.finfo(float).eps
UNLIKE = 100  # times as long as another may a row of B be, before all are made of one length


def one_solve_weights(kernel: Array, y: Array, operator: Array, *, alpha: float, eta: float | None = None) -> Array:
    """w (n,) by one Cholesky factor: R = (K + alpha I)^-1, mu = (B K R B')^+ B K R y, w = R (y - B' mu).

    With a penalty, mu = (B K R B' + I / eta)^-1 B K R y, which is the solution w of (K + alpha I + eta B'B K) w = y.
    Without a ridge, or with hardly any, K + alpha I cannot be inverted well; then w is the same solution in the span of
    K's eigenvectors, which takes about ten times as long.

    Example: ``one_solve_weights(K, y - y.mean(), parity_operator(codes), alpha=1.0)``
    """
    if not alpha or alpha < LEAST_RIDGE * np.trace(kernel):
        values, vectors = linalg.eigh(kernel)
        kept = values > (len(y) * ROUNDING if alpha else RANK) * values.max(initial=0.0)
        roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
        return np.asarray(vectors / roots @ primal_weights(vectors * roots, y, operator, alpha=alpha, eta=eta))
    ridged = kernel.copy()
    ridged[np.diag_indices(len(y))] += alpha
    factor = linalg.cho_factor(ridged, overwrite_a=True)
    operator = balanced(operator, eta)
    return constrained(lambda right: linalg.cho_solve(factor, right), operator, kernel, y, operator.T, eta)


def primal_weights(
    features: Array, y: Array, operator: Array, *, alpha: float = 0.0, eta: float | None = None
) -> Array:
    """v (r,) for predictions Z v with features Z (n, r), such as Nystroem's: the same problem in r unknowns.

    Example: ``primal_weights(Z, y - y.mean(), parity_operator(codes), alpha=1.0)``
    """
    system = features.T @ features
    least = RANK * 1e-4 * np.trace(system) / max(len(system), 1) or 1.0  # any, where all features are zero
    system[np.diag_indices(len(system))] += alpha or least
    factor, operator = linalg.cho_factor(system), balanced(operator, eta)
    columns = (operator @ features).T
    return constrained(lambda right: linalg.cho_solve(factor, right), operator, features, features.T @ y, columns, eta)


def null_space_weights(kernel: Array, y: Array, operator: Array, *, alpha: float) -> Array:
    """w (n,) as the released code finds it: P projects on the null space of B K, w = P (P (KK + alpha K) P)^+ P K y.

    It solves the least-squares problem that has these normal equations, as they square its condition number, by several
    decompositions of n by n matrices. B is ours: the released code's adds 1 where 1 / n_j belongs, and so forces every
    group's mean to zero.

    Example: ``null_space_weights(K, y - y.mean(), parity_operator(codes), alpha=1.0)``
    """
    operator = balanced(operator)
    _, values, rows = linalg.svd(operator @ kernel)
    least = max(RANK * values.max(initial=0.0), ROUNDING * linalg.norm(operator) * linalg.norm(kernel))
    null = rows[int((values > least).sum()) :].T
    powers, vectors = linalg.eigh(kernel)
    cutoff = len(y) * np.finfo(float).eps * powers.max(initial=0.0)
    powers[powers < cutoff] = 0.0  # rounding, which the root would enlarge
    root = np.sqrt(alpha * powers)[:, None] * vectors.T  # root' root = alpha K
    left, values, right = linalg.svd(np.vstack([kernel @ null, root @ null]), full_matrices=False)
    kept = values > max(2 * cutoff, len(y) * np.finfo(float).eps * values.max(initial=0.0))  # others are such rounding
    return np.asarray(null @ (right[kept].T @ (left[: len(y), kept].T @ y / values[kept])))


def balanced(operator: Array, eta: float | None = None) -> Array:
    """B with rows of one length, where one is over 100 times as long as another: B f = 0 says the same.

    The covariance with an income in dollars would otherwise hide that with an attribute of 0 and 1 behind rounding. A
    penalty weighs the rows by their lengths, so with `eta` B stays as it is.
    """
    if eta is not None:
        return operator
    lengths = linalg.norm(operator, axis=1)
    some = lengths[lengths > 0]
    if not len(some) or some.max() <= UNLIKE * some.min():
        return operator
    return np.asarray(operator / np.where(lengths > 0, lengths, 1.0)[:, None])


def constrained(
    solve: Callable[[Array], Array], operator: Array, matrix: Array, right: Array, columns: Array, eta: float | None
) -> Array:
    """S^-1 (right - columns mu) with the multipliers mu that make B M of it zero, or small as eta says.

    Where B M is rounding, because no function of the space tells the groups apart, there is nothing to make equal.
    """
    free, moved, means = solve(right), solve(columns), operator @ matrix
    inner, violation = means @ moved, means @ free
    inner = (inner + inner.T) / 2
    if eta is None:
        rounding = ROUNDING * linalg.norm(operator) * linalg.norm(matrix) * linalg.norm(moved)
        multipliers = linalg.pinvh(inner, atol=rounding, rtol=RANK) @ violation
    else:
        multipliers = eta * linalg.solve(np.eye(len(inner)) + eta * inner, violation)
    return np.asarray(free - moved @ multipliers)
