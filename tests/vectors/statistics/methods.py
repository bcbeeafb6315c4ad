"""The formulas of docs/statistics.md in float64 numpy, vectorised: a second opinion beside reference.py.
reference.py recomputes the same figures with SciPy, statsmodels and mpmath and compares."""
import numpy as np
from scipy import special, stats

Z = 1.959963984540054
GOAL_W, GUARD_W = 5000.0, 500.0                     # tuning: the W at which the always-valid interval is tightest
R_STAR = float(-special.lambertw(-0.05**2 / np.e, -1).real - 1)   # 8.21..., for alpha = 0.05
quiet = lambda: np.errstate(divide="ignore", invalid="ignore")


def wilson(x, n, z=Z):
    x, n = np.asarray(x, float), np.asarray(n, float)
    with quiet():
        p, d = x / n, 1 + z * z / n
        h = z / d * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        c = (p + z * z / (2 * n)) / d
    lo = np.where(x <= 0, 0.0, c - h)
    hi = np.where(x >= n, 1.0, c + h)
    return np.where(n > 0, lo, 0.0), np.where(n > 0, hi, 1.0)


def newcombe(x1, n1, x0, n0, z=Z):
    p1, p0 = x1 / n1, x0 / n0
    l1, u1 = wilson(x1, n1, z)
    l0, u0 = wilson(x0, n0, z)
    d = p1 - p0
    return d - np.hypot(p1 - l1, u0 - p0), d + np.hypot(u1 - p1, p0 - l0)


def mover_r(x1, n1, x0, n0, z=Z):
    """Interval of p1 / p0; inf = unbounded."""
    p1, p0 = x1 / n1, x0 / n0
    l1, u1 = wilson(x1, n1, z)
    l0, u0 = wilson(x0, n0, z)
    a = p1 * p0
    x, y = u0 * (2 * p0 - u0), l1 * (2 * p1 - l1)
    with quiet():
        lo = np.where(y <= 0, 0.0, y / (a + np.sqrt(np.maximum(a * a - x * y, 0))))
        x, y = l0 * (2 * p0 - l0), u1 * (2 * p1 - u1)
        hi = np.where(x <= 0, np.inf, (a + np.sqrt(np.maximum(a * a - x * y, 0))) / x)
    return lo, hi


def multiplier(r, alpha=0.05):
    r = np.asarray(r, float)
    with quiet():
        return np.where(r > 0, np.sqrt((1 + 1 / r) * (np.log1p(r) - 2 * np.log(alpha))), np.inf)


def av_p(z2, r):
    """Always-valid p-value: 1 / mixture likelihood ratio, at most 1."""
    return np.minimum(1.0, np.exp(0.5 * np.log1p(r) - 0.5 * z2 * r / (1 + r)))


def fieller(R1, V1, R0, V0, c):
    a, b, k = R0 * R0 - c * c * V0, R1 * R0, R1 * R1 - c * c * V1
    root = np.sqrt(np.maximum(b * b - a * k, 0))
    with quiet():
        lo = np.where(k <= 0, 0.0, k / (b + root))
        hi = np.where(a <= 0, np.inf, (b + root) / a)
    return lo, hi


def strata(n1, y1, n0, y0):
    """Mantel-Haenszel over the last axis. -> W, w, R1, R0, unpooled var of each arm, pooled var of the difference, Sato var."""
    n1, y1, n0, y0 = (np.asarray(v, float) for v in (n1, y1, n0, y0))
    N = n1 + n0
    with quiet():
        h = np.where((n1 > 0) & (n0 > 0), n1 * n0 / N, 0.0)
        W = h.sum(-1)
        w = h / W[..., None]
        p1, p0, p = (np.where(h > 0, v, 0.0) for v in (y1 / n1, y0 / n0, (y1 + y0) / N))
        R1, R0 = (w * p1).sum(-1), (w * p0).sum(-1)
        v1 = np.where(h > 0, w * w * p1 * (1 - p1) / n1, 0).sum(-1)
        v0 = np.where(h > 0, w * w * p0 * (1 - p0) / n0, 0).sum(-1)
        vp = ((h * p * (1 - p) * np.where(N > 1, N / (N - 1), 1)).sum(-1) + W / np.where(h > 0, N, 0).sum(-1)) / W**2   # hypergeometric, and one conversion more
        P = np.where(h > 0, (n1**2 * y0 - n0**2 * y1 + n1 * n0 * (n0 - n1) / 2) / N**2, 0).sum(-1)
        Q = np.where(h > 0, (y1 * (n0 - y0) + y0 * (n1 - y1)) / (2 * N), 0).sum(-1)
        sato = ((R1 - R0) * P + Q) / W**2
    return W, w, R1, R0, v1, v0, vp, sato


def clustered(w, n, y, nn, yn, yy):
    """Variance of R = sum_k w_k y_k/n_k of one arm when a unit can be in several stages. nn[k,l]: units in both k and l;
    yn[k,l]: of those, converted in k; yy[k,l]: converted in both."""
    with quiet():
        c = np.where(n > 0, w / n, 0.0); p = np.where(n > 0, y / n, 0.0)
    s = yy - p[None, :] * yn - p[:, None] * yn.T + np.outer(p, p) * nn
    return float(c @ s @ c)


def spread(v1, v0, vp, n1, n0):
    """Per-arm variances whose sum is max(v1 + v0, vp): the excess goes to the smaller arm."""
    e = np.maximum(0, vp - v1 - v0)
    return v1 + e * n0 / (n1 + n0), v0 + e * n1 / (n1 + n0)


def reach(a, b):
    """mean, and the interval outside which a Beta has no mass that counts (1e-13): nine sd is not enough when a or b is small"""
    mu, sd = a / (a + b), np.sqrt(a * b / (a + b + 1)) / (a + b)
    k = 9 + 30 / np.sqrt(np.minimum(a, b))
    return sd, np.maximum(0, mu - k * sd), np.minimum(1, mu + k * sd)


def prob_better(a1, b1, a0, b0, nodes=64):
    """P(p1 > p0), independent Beta posteriors: Gauss-Legendre; the narrower one is the density, the wider one the smooth CDF."""
    a1, b1, a0, b0 = np.broadcast_arrays(*(np.asarray(v, float) for v in (a1, b1, a0, b0)))
    swap = reach(a1, b1)[0] > reach(a0, b0)[0]
    A, B, C, D = (np.where(swap, u, v)[..., None] for u, v in ((a0, a1), (b0, b1), (a1, a0), (b1, b0)))
    t, g = np.polynomial.legendre.leggauss(nodes)
    _, lo, hi = reach(A, B)
    x = lo + (hi - lo) * (t + 1) / 2
    f = np.exp(special.xlogy(A - 1, x) + special.xlog1py(B - 1, -x) - special.betaln(A, B)) * (hi - lo) / 2
    P = (f * special.betainc(C, D, x) * g).sum(-1)                     # P(the wider one is smaller)
    return np.where(swap, 1 - P, P)


def expected_loss(a1, b1, a0, b0, nodes=256):
    """E[max(p0 - p1, 0)] = integral of F1 (1 - F0): what choosing the treatment costs if it is the worse one."""
    t, g = np.polynomial.legendre.leggauss(nodes)
    lo, hi = reach(a1, b1)[1], reach(a0, b0)[2]
    if lo >= hi: return 0.0
    x = lo + (hi - lo) * (t + 1) / 2
    return float((special.betainc(a1, b1, x) * special.betaincc(a0, b0, x) * g).sum() * (hi - lo) / 2)


def srm_log_e(n, share, strength=1000.0):
    """log Bayes factor, multinomial against fixed shares: Dirichlet(strength * share). n: (..., arms)."""
    n, share = np.asarray(n, float), np.asarray(share, float)
    a = strength * share
    N = n.sum(-1)
    return (special.gammaln(strength) - special.gammaln(strength + N) + (special.gammaln(a + n) - special.gammaln(a)).sum(-1)
            - (n * np.log(share)).sum(-1))


def srm_chi2_p(n, share):
    n, share = np.asarray(n, float), np.asarray(share, float)
    e = n.sum(-1, keepdims=True) * share
    with quiet():
        return stats.chi2.sf(((n - e) ** 2 / e).sum(-1), len(share) - 1)


def limit_log_e(y, n, limit, strength=None):
    """log e-value against 'the rate is at most limit': Beta mixture over rates above the limit."""
    k = 1 / limit if strength is None else strength  # prior worth k units: about one event
    a, b = 1.0, k - 1.0
    y, n = np.asarray(y, float), np.asarray(n, float)
    f = n - y
    tail = stats.beta.logsf(limit, a + y, b + f) - stats.beta.logsf(limit, a, b)
    return special.betaln(a + y, b + f) - special.betaln(a, b) + tail - special.xlogy(y, limit) - special.xlog1py(f, -limit)
