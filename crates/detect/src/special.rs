//! The few special functions, from one pure-Rust library so that a replay gives the same bits.

/// Natural logarithm.
pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `e` to the `x`.
pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Logarithm of the gamma function.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Logarithm of the beta function.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// `count * ln(p)` with 0 * ln(0) = 0: a cell that is impossible and empty says nothing.
pub(crate) fn count_ln(count: f64, p: f64) -> f64 {
    if count > 0.0 { count * ln(p) } else { 0.0 }
}
