"""Reference rows for the statistics of docs/statistics.md: python reference.py > reference.jsonl
One JSON object a line: {"fn", "in": {...}, "out": {...}, "by": which library}. null = not defined or unbounded. The deviation of
methods.py from each is printed to stderr. pip install numpy scipy statsmodels mpmath"""
import json, sys, warnings
import mpmath as mp
import numpy as np
from scipy import integrate, stats
from statsmodels.stats import proportion as sp
from statsmodels.stats.contingency_tables import StratifiedTable
import methods as m

warnings.simplefilter("ignore")
mp.mp.dps = 40
worst = {}
num = lambda v: None if v is None or not mp.isfinite(mp.mpf(v)) else float(v)


def row(fn, by, args, out, ours=None):
    out = {k: (v if isinstance(v, list) else num(v)) for k, v in out.items()}
    print(json.dumps({"fn": fn, "in": args, "out": out, "by": by}))
    for k, v in (ours or {}).items():
        a, b = num(float(v)), out[k]
        assert (a is None) == (b is None), (fn, args, k, a, b)
        if a is not None:
            worst[fn] = max(worst.get(fn, 0), abs(a - b) / max(1e-12, abs(b)) if abs(b) > 1e-9 else abs(a - b))


COUNTS = [(132, 1000, 120, 1000), (0, 50, 0, 40), (5, 5, 3, 4), (1, 1, 0, 1), (0, 10000, 12, 1000), (7, 10000, 0, 1000), (40, 40, 40, 40),
          (1320, 10000, 1180, 10000), (3, 20000, 1, 2000), (51234, 500000, 5012, 50000), (0, 1, 0, 1), (999, 1000, 998, 1000)]

for x, n in sorted({(c[0], c[1]) for c in COUNTS} | {(c[2], c[3]) for c in COUNTS}):
    lo, hi = sp.proportion_confint(x, n, method="wilson")
    w = m.wilson(x, n)
    row("wilson", "statsmodels", dict(x=x, n=n), dict(lo=0 if x == 0 else lo, hi=1 if x == n else hi), dict(lo=w[0], hi=w[1]))

for x1, n1, x0, n0 in COUNTS:
    a = dict(x1=x1, n1=n1, x0=x0, n0=n0)
    lo, hi = sp.confint_proportions_2indep(x1, n1, x0, n0, method="newcomb", compare="diff")
    o = m.newcombe(x1, n1, x0, n0)
    row("newcombe", "statsmodels", a, dict(lo=lo, hi=hi), dict(lo=o[0], hi=o[1]))
    # MOVER-R: the two roots in r of  (p1 - r p0)^2 = (p1 - l1)^2 + r^2 (u0 - p0)^2  and  = (u1 - p1)^2 + r^2 (p0 - l0)^2
    p1, p0 = mp.mpf(x1) / n1, mp.mpf(x0) / n0
    z = mp.mpf(m.Z)

    def wil(x, n):
        p, d = mp.mpf(x) / n, 1 + z * z / n
        c, h = (p + z * z / (2 * n)) / d, z / d * mp.sqrt(p * (1 - p) / n + z * z / (4 * mp.mpf(n) ** 2))
        return (mp.mpf(0) if x == 0 else c - h), (mp.mpf(1) if x == n else c + h)

    (l1, u1), (l0, u0) = wil(x1, n1), wil(x0, n0)

    def root(e1, e0, upper):
        a2, b2, c2 = p0**2 - e0**2, -2 * p1 * p0, p1**2 - e1**2
        if upper and a2 <= 0: return None
        if not upper and c2 <= 0: return mp.mpf(0)
        r = [(-b2 + s * mp.sqrt(b2 * b2 - 4 * a2 * c2)) / (2 * a2) for s in (1, -1)] if a2 != 0 else [-c2 / b2]
        r = [v for v in r if v >= 0]
        return max(r) if upper else min(r)

    o = m.mover_r(x1, n1, x0, n0)
    row("mover_r", "mpmath", a, dict(ratio=p1 / p0 if p0 else None, lo=root(p1 - l1, u0 - p0, False), hi=root(u1 - p1, p0 - l0, True)), dict(lo=o[0], hi=o[1]))
    if 0 < x1 + x0 < n1 + n0:
        zz, p = sp.proportions_ztest([x1, x0], [n1, n0])
        row("pooled_z", "statsmodels", a, dict(z=zz, p=p))
    row("fisher", "scipy", a, dict(p=stats.fisher_exact([[x1, n1 - x1], [x0, n0 - x0]])[1]))
    # always-valid interval, one stratum, goal tuning
    W = mp.mpf(n1) * n0 / (n1 + n0); pp = mp.mpf(x1 + x0) / (n1 + n0)
    v1, v0 = p1 * (1 - p1) / n1, p0 * (1 - p0) / n0
    vp = pp * (1 - pp) / W * (n1 + n0) / (n1 + n0 - 1) + 1 / (W * (n1 + n0)); e = max(0, vp - v1 - v0)
    V1, V0 = v1 + e * n0 / (n1 + n0), v0 + e * n1 / (n1 + n0)
    rs = -mp.lambertw(-mp.mpf("0.05") ** 2 / mp.e, -1).real - 1
    r = rs * W / 5000
    c = mp.sqrt((1 + 1 / r) * (mp.log(1 + r) + 2 * mp.log(20)))
    h = c * mp.sqrt(V1 + V0)
    pav = min(1, mp.sqrt(1 + r) * mp.exp(-(p1 - p0) ** 2 / (V1 + V0) * r / (2 * (1 + r))))
    A, B, K = p0**2 - c * c * V0, p1 * p0, p1**2 - c * c * V1
    lo = 0 if K <= 0 else K / (B + mp.sqrt(B * B - A * K)); hi = None if A <= 0 else (B + mp.sqrt(B * B - A * K)) / A
    W_, w_, R1, R0, u1_, u0_, up, sato = m.strata([n1], [x1], [n0], [x0])
    s1, s0 = m.spread(u1_, u0_, up, n1, n0); rr = m.R_STAR * W_ / m.GOAL_W; cc = m.multiplier(rr); f = m.fieller(R1, s1, R0, s0, cc)
    row("always_valid", "mpmath", dict(a, tuning=5000, alpha=0.05), dict(r=r, c=c, se=mp.sqrt(V1 + V0), lo=p1 - p0 - h, hi=p1 - p0 + h, p=pav, ratio_lo=lo, ratio_hi=hi),
        dict(r=rr, c=cc, se=np.sqrt(s1 + s0), lo=R1 - R0 - cc * np.sqrt(s1 + s0), p=m.av_p((R1 - R0) ** 2 / (s1 + s0), rr), ratio_lo=f[0], ratio_hi=f[1]))
    # Bayes, Beta(1,1)
    a1, b1, a0, b0 = 1 + x1, 1 + n1 - x1, 1 + x0, 1 + n0 - x0
    if n1 + n0 <= 3000:
        I = lambda a_, b_, t: mp.betainc(a_, b_, 0, t, regularized=True)
        pdf = lambda a_, b_, t: t ** (a_ - 1) * (1 - t) ** (b_ - 1) / mp.beta(a_, b_)
        mp.mp.dps = 20
        mid = sorted({0.0, 1.0} | {min(1 - 1e-12, max(1e-12, float(mu + k * sd))) for aa, bb in ((a1, b1), (a0, b0)) for mu, sd in [(aa / (aa + bb), (aa * bb / (aa + bb) ** 2 / (aa + bb + 1)) ** .5)] for k in (-10, -4, -1.5, 0, 1.5, 4, 10)})
        pb = mp.quad(lambda t: pdf(a1, b1, t) * I(a0, b0, t), mid, maxdegree=5)
        loss = mp.quad(lambda t: I(a1, b1, t) * (1 - I(a0, b0, t)), mid, maxdegree=5)
        row("bayes", "mpmath", a, dict(prob_better=pb, expected_loss=loss), dict(prob_better=m.prob_better(a1, b1, a0, b0), expected_loss=m.expected_loss(a1, b1, a0, b0)))
        mp.mp.dps = 40
    else:
        f1, f0 = stats.beta(a1, b1), stats.beta(a0, b0)
        lo, hi = min(f1.ppf(1e-15), f0.ppf(1e-15)), max(f1.isf(1e-15), f0.isf(1e-15))
        at = sorted(f.mean() + k * f.std() for f in (f1, f0) for k in (-3, 0, 3))
        area = lambda g: integrate.quad(g, lo, hi, points=[v for v in at if lo < v < hi], epsabs=1e-14, epsrel=1e-11, limit=500)[0]
        row("bayes", "scipy", a, dict(prob_better=area(lambda t: f1.pdf(t) * f0.cdf(t)), expected_loss=area(lambda t: f1.cdf(t) * f0.sf(t))),
            dict(prob_better=m.prob_better(a1, b1, a0, b0), expected_loss=m.expected_loss(a1, b1, a0, b0)))

S = [([100, 500, 2000, 5000], [12, 55, 190, 430], [500, 500, 500, 500], [60, 54, 47, 44]), ([3, 1, 0, 8], [0, 1, 0, 2], [2, 2, 5, 2], [0, 1, 1, 0]),
     ([1000] * 3, [0] * 3, [100] * 3, [0] * 3), ([10, 20], [10, 20], [5, 5], [5, 5])]
for n1, y1, n0, y0 in S:
    k = [i for i in range(len(n1)) if n1[i] and n0[i]]
    N1, Y1, N0, Y0 = ([mp.mpf(v[i]) for i in k] for v in (n1, y1, n0, y0))
    q = range(len(k))
    h = [N1[i] * N0[i] / (N1[i] + N0[i]) for i in q]; W = sum(h)
    R1, R0 = sum(h[i] * Y1[i] / N1[i] for i in q) / W, sum(h[i] * Y0[i] / N0[i] for i in q) / W
    P = sum((N1[i] ** 2 * Y0[i] - N0[i] ** 2 * Y1[i] + N1[i] * N0[i] * (N0[i] - N1[i]) / 2) / (N1[i] + N0[i]) ** 2 for i in q)
    Q = sum((Y1[i] * (N0[i] - Y0[i]) + Y0[i] * (N1[i] - Y1[i])) / (2 * (N1[i] + N0[i])) for i in q)
    pk = [(Y1[i] + Y0[i]) / (N1[i] + N0[i]) for i in q]
    vp = (sum(h[i] * pk[i] * (1 - pk[i]) * (N1[i] + N0[i]) / (N1[i] + N0[i] - 1) for i in q) + W / sum(N1[i] + N0[i] for i in q)) / W**2
    vu = sum(h[i] ** 2 * (Y1[i] / N1[i] * (1 - Y1[i] / N1[i]) / N1[i] + Y0[i] / N0[i] * (1 - Y0[i] / N0[i]) / N0[i]) for i in q) / W**2
    o = m.strata(n1, y1, n0, y0)
    if 0 < R0:
        t = StratifiedTable([np.array([[y1[i], n1[i] - y1[i]], [y0[i], n0[i] - y0[i]]]) for i in k]).riskratio_pooled
        assert abs(t - R1 / R0) < 1e-9, (t, R1 / R0)
    row("mantel_haenszel", "mpmath (ratio = statsmodels StratifiedTable.riskratio_pooled)", dict(n1=n1, y1=y1, n0=n0, y0=y0),
        dict(W=W, R1=R1, R0=R0, ratio=R1 / R0 if R0 else None, var_sato=((R1 - R0) * P + Q) / W**2, var_unpooled=vu, var_pooled=vp),
        dict(W=o[0], R1=o[2], R0=o[3], var_unpooled=o[4] + o[5], var_pooled=o[6], var_sato=o[7]))

rng = np.random.default_rng(1)
for N, K in ((12, 2), (200, 4)):                        # clustered variance from single units, against the stage x stage counts
    M = (rng.random((N, K)) < .6); M[0] = True
    Y = M & (rng.random((N, K)) < .3)
    w = np.arange(1, K + 1) / sum(range(1, K + 1))
    n, y = M.sum(0), Y.sum(0)
    psi = ((Y - y / n) * M * (w / n)).sum(1)
    nn, yn, yy = (M[:, :, None] & M[:, None]).sum(0), (Y[:, :, None] & M[:, None]).sum(0), (Y[:, :, None] & Y[:, None]).sum(0)
    row("clustered", "numpy, unit by unit", dict(w=w.tolist(), nn=nn.tolist(), yn=yn.tolist(), yy=yy.tolist()), dict(var=(psi**2).sum()), dict(var=m.clustered(w, n, y, nn, yn, yy)))

for name, a, b in (("plain", rng.lognormal(3, 1, 40), rng.lognormal(3, 1, 25)), ("one unit", np.array([5.]), rng.lognormal(3, 1, 5)), ("constant", np.full(4, 2.), np.full(3, 2.))):
    a, b = a.round(2), b.round(2)
    ok = len(a) > 1 and len(b) > 1 and a.var() + b.var() > 0
    t = stats.ttest_ind(a, b, equal_var=False) if ok else None
    ci = t.confidence_interval() if ok else None
    row("welch", "scipy", dict(a=a.tolist(), b=b.tolist()), dict(diff=a.mean() - b.mean(), df=t.df if ok else None, p=t.pvalue if ok else None, lo=ci.low if ok else None, hi=ci.high if ok else None))
y, x = rng.poisson(2, 30), 1 + rng.poisson(3, 30)
R = y.sum() / x.sum()
row("ratio_delta", "numpy", dict(y=y.tolist(), x=x.tolist()), dict(ratio=R, var=(y - R * x).var(ddof=1) / 30 / x.mean() ** 2))

for n, s in (([5000, 5000], [.5, .5]), ([5100, 4900], [.5, .5]), ([10400, 1000], [10 / 11, 1 / 11]), ([3, 0], [.5, .5]), ([333, 320, 390], [1 / 3] * 3), ([520000, 500000], [.5, .5])):
    e = [sum(n) * v for v in s]
    A = [mp.mpf(1000) * mp.mpf(v) for v in s]
    le = mp.loggamma(1000) - mp.loggamma(1000 + sum(n)) + sum(mp.loggamma(A[i] + n[i]) - mp.loggamma(A[i]) for i in range(len(n))) - sum(n[i] * mp.log(mp.mpf(s[i])) for i in range(len(n)))
    c = stats.chisquare(n, e)
    row("srm", "scipy, mpmath", dict(n=n, share=s, strength=1000), dict(chi2=c.statistic, p=c.pvalue, log_e=le), dict(p=m.srm_chi2_p(n, s), log_e=m.srm_log_e(n, s)))
for y, n, L in ((0, 0, .03), (0, 10, .03), (5, 100, .03), (30, 1000, .03), (60, 1000, .03), (400, 10000, .03), (2, 20, .001)):
    a, b = mp.mpf(1), 1 / mp.mpf(L) - 1
    top = mp.betainc(a + y, b + n - y, L, 1); bot = mp.betainc(a, b, L, 1)
    le = mp.log(top / bot) - y * mp.log(mp.mpf(L)) - (n - y) * mp.log(1 - mp.mpf(L))
    row("limit_e", "mpmath", dict(y=y, n=n, limit=L), dict(log_e=le), dict(log_e=m.limit_log_e(y, n, L)))
for p in ([.001, .008, .039, .041, .042, .06, .074, .205, .212, .216], [.5], [1, 1], [.01, .01, .03]):
    row("benjamini_hochberg", "scipy", dict(p=p), dict(adjusted=stats.false_discovery_control(np.array(p, float)).tolist()))
for R0, W, W_day, mde in ((.12, 3000., 400., .012), (.02, 100., 30., .005), (.05, 0., 250., .005)):
    s2, zb = mp.mpf(R0) * (1 - mp.mpf(R0)), mp.sqrt(2) * mp.erfinv(mp.mpf("0.6"))
    def need(w, seq):
        r = rs * w / 5000
        return (mp.sqrt((1 + 1 / r) * (mp.log(1 + r) + 2 * mp.log(20))) if seq else mp.mpf(m.Z)) + zb
    day = lambda seq: next(d for d in range(0, 100000) if W + d * W_day > 0 and mde >= need(W + d * W_day, seq) * mp.sqrt(s2 / (W + d * W_day)))
    row("power", "mpmath", dict(sigma2=float(s2), W=W, W_per_day=W_day, mde=mde, tuning=5000), dict(mde_now_fixed=need(W, False) * mp.sqrt(s2 / W) if W else None, mde_now_sequential=need(W, True) * mp.sqrt(s2 / W) if W else None, days_fixed=day(False), days_sequential=day(True)))
print("largest relative deviation of methods.py:", {k: f"{v:.1e}" for k, v in worst.items()}, file=sys.stderr)
