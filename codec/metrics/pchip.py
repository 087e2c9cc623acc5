"""The monotone cubic through points (Fritsch and Butland 1984), for thousands of curves at once.

R curves of P points each; what scipy.interpolate.PchipInterpolator gives for one.
"""

import numpy as np


def _at_end(h0: np.ndarray, h1: np.ndarray, slope0: np.ndarray, slope1: np.ndarray) -> np.ndarray:
    """The derivative at an end: by three points, held to the shape of the data."""
    derivative = ((2 * h0 + h1) * slope0 - h0 * slope1) / (h0 + h1)
    turns = (np.sign(slope0) != np.sign(slope1)) & (np.abs(derivative) > 3 * np.abs(slope0))
    return np.where(np.sign(derivative) != np.sign(slope0), 0.0, np.where(turns, 3 * slope0, derivative))


def _derivatives(h: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """[R, P] of intervals h and slopes [R, P - 1]: within, the weighted harmonic mean of both sides; 0 where they turn."""
    before, after = slope[:, :-1], slope[:, 1:]
    weights = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    same = before * after > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.where(same, (weights[0] + weights[1]) / (weights[0] / before + weights[1] / after), 0.0)
    first = _at_end(h[:, 0], h[:, 1], slope[:, 0], slope[:, 1])
    last = _at_end(h[:, -1], h[:, -2], slope[:, -1], slope[:, -2])
    return np.concatenate([first[:, None], within, last[:, None]], axis=1)


def integrals(x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The integral of each curve over x from low to high, [R].

    x, y: float64 [R, P], P at least 3, x increasing in each row. low, high: [R], within the row's x.
    """
    h = np.diff(x)
    rise = np.diff(y)
    derivative = _derivatives(h, rise / h)
    at_left, at_right = h * derivative[:, :-1], h * derivative[:, 1:]
    # y(t) = y0 + a t + b t² + c t³ over t from 0 to 1 of an interval.
    coefficients = (y[:, :-1], at_left, 3 * rise - 2 * at_left - at_right, at_left + at_right - 2 * rise)

    def up_to(end: np.ndarray) -> np.ndarray:
        t = np.clip((end[:, None] - x[:, :-1]) / h, 0, 1)
        return (h * sum(c * t ** (k + 1) / (k + 1) for k, c in enumerate(coefficients))).sum(axis=1)

    return up_to(high) - up_to(low)
