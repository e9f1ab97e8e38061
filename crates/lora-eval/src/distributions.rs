//! Student's t and the binomial, as far as intervals and sign tests need them.

/// Half the width of an interval in standard errors: the t with P(|T| > t) = `tail` at these degrees of freedom.
pub(crate) fn student_t(tail: f64, degrees_of_freedom: usize) -> f64 {
    if degrees_of_freedom == 0 {
        return f64::INFINITY;
    }
    let nu = degrees_of_freedom as f64;
    // P(|T| > t) = I_x(ν/2, 1/2) with x = ν/(ν + t²), which grows with x.
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if incomplete_beta(0.5 * nu, 0.5, middle) < tail {
            low = middle
        } else {
            high = middle
        }
    }
    let x = 0.5 * (low + high);
    (nu * (1.0 - x) / x).sqrt()
}

/// P(|T| > |t|) at these degrees of freedom.
pub(crate) fn two_sided(t: f64, degrees_of_freedom: usize) -> f64 {
    let nu = degrees_of_freedom as f64;
    incomplete_beta(0.5 * nu, 0.5, nu / (nu + t * t))
}

/// Clopper and Pearson's interval of a share of `n` (which need not be whole): quantiles of the beta distribution.
pub(crate) fn binomial_interval(share: f64, n: f64, tail: f64) -> (f64, f64) {
    let hits = share * n;
    let low = if hits <= 0.0 {
        0.0
    } else {
        beta_quantile(hits, n - hits + 1.0, 0.5 * tail)
    };
    let high = if hits >= n {
        1.0
    } else {
        beta_quantile(hits + 1.0, n - hits, 1.0 - 0.5 * tail)
    };
    (low, high)
}

/// The x with I_x(a, b) = p.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if incomplete_beta(a, b, middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The two-sided exact sign test: how likely `smaller` or fewer of `n` fair coins fall on one chosen side, doubled.
pub(crate) fn sign_test(smaller: usize, n: usize) -> f64 {
    let log_choose = |k: usize| {
        ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
    };
    let half = n as f64 * std::f64::consts::LN_2;
    let tail: f64 = (0..=smaller.min(n))
        .map(|k| (log_choose(k) - half).exp())
        .sum();
    (2.0 * tail).min(1.0)
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz and Stegun, 26.5.8).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    // Lentz: the value of 1 + d₁/(1 + d₂/(1 + …)).
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for step in 1..500 {
        let m = f64::from(step / 2);
        let term = match step % 2 {
            0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / (1.0 + term * d);
        c = 1.0 + term / c;
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front.exp() / (a * value)
}

/// ln Γ for x > 0: Stirling's series from x ≥ 10, reached by Γ(x + 1) = x·Γ(x).
fn ln_gamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 10.0 {
        below += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5))
        - 1.0 / (1680.0 * x.powi(7));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_quantiles_are_those_of_the_tables() {
        for (tail, degrees, wanted) in [
            (0.05, 1, 12.706_205),
            (0.05, 2, 4.302_653),
            (0.05, 10, 2.228_139),
            (0.05, 30, 2.042_272),
            (0.01, 5, 4.032_143),
            (0.05, 1_000_000, 1.959_966),
        ] {
            let t = student_t(tail, degrees);
            assert!((t - wanted).abs() < 1e-5, "{tail}, {degrees}: {t}");
        }
        assert_eq!(student_t(0.05, 0), f64::INFINITY);
        assert!((two_sided(-2.228_138_85, 10) - 0.05).abs() < 1e-8);
        assert_eq!(two_sided(0.0, 3), 1.0);
    }

    #[test]
    fn the_sign_test_counts_coins() {
        assert!((sign_test(0, 5) - 2.0 / 32.0).abs() < 1e-12);
        assert!((sign_test(1, 8) - 2.0 * 9.0 / 256.0).abs() < 1e-12);
        assert_eq!((sign_test(0, 0), sign_test(3, 6)), (1.0, 1.0));
        assert!(
            (sign_test(400, 1000) / 2.728_464_156e-10 - 1.0).abs() < 1e-8,
            "{}",
            sign_test(400, 1000)
        );
    }
}
