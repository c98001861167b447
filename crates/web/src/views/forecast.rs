//! The forecast: shares, rates and loads, on a usual day and on others.

use evenkeel_forecast::{Forecast, PoolForecast};
use evenkeel_model::setup::Setup;
use serde::{Deserialize, Serialize};

/// A forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ForecastView {
    pub pools: Vec<PoolForecastView>,
    pub failures: Vec<FailureView>,
    pub cases: Vec<CaseView>,
    pub notes: Vec<String>,
}

/// A pool of a forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct PoolForecastView {
    pub name: String,
    pub rps: Option<f64>,
    /// Where the shares come from.
    pub method: String,
    pub backends: Vec<BackendForecastView>,
}

/// A backend of a forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct BackendForecastView {
    pub name: String,
    pub address: Option<String>,
    pub intended_share: Option<f64>,
    pub expected_share: Option<f64>,
    pub share_low: Option<f64>,
    pub share_high: Option<f64>,
    pub expected_rps: Option<f64>,
    pub utilisation: Option<f64>,
    pub in_flight: Option<f64>,
    pub queue_seconds: Option<f64>,
}

/// Something out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct FailureView {
    pub out: String,
    pub pools: Vec<PoolForecastView>,
}

/// Another day than a usual one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct CaseView {
    pub case: String,
    pub title: String,
    pub pools: Vec<PoolForecastView>,
}

impl ForecastView {
    /// The view of a forecast of `setup`.
    pub fn of(forecast: &Forecast, setup: &Setup) -> Self {
        let pools = |pools: &[PoolForecast]| -> Vec<PoolForecastView> {
            pools.iter().map(|pool| pool_view(pool, setup)).collect()
        };
        let failures = forecast.failures.iter().map(|failure| FailureView {
            out: failure.out.clone(),
            pools: pools(&failure.pools),
        });
        let cases = forecast.cases.iter().map(|case| CaseView {
            case: case.case.as_str().to_owned(),
            title: case.title.clone(),
            pools: pools(&case.pools),
        });
        Self {
            pools: pools(&forecast.pools),
            failures: failures.collect(),
            cases: cases.collect(),
            notes: forecast.notes.clone(),
        }
    }
}

fn pool_view(pool: &PoolForecast, setup: &Setup) -> PoolForecastView {
    let known = setup.pool(&pool.name);
    let backends = pool.backends.iter().enumerate().map(|(index, backend)| {
        // Both are in file order; a rollback target may have other backends.
        let same = known.and_then(|known| known.backends.get(index));
        let same = same.filter(|known| known.name == backend.name);
        BackendForecastView {
            name: backend.name.clone(),
            address: same.map(|known| known.address.clone()),
            intended_share: backend.intended_share,
            expected_share: backend.expected_share,
            share_low: backend.share_low,
            share_high: backend.share_high,
            expected_rps: backend.expected_rps,
            utilisation: backend.utilisation,
            in_flight: backend.in_flight,
            queue_seconds: backend.queue_seconds,
        }
    });
    PoolForecastView {
        name: pool.name.clone(),
        rps: pool.rps,
        method: pool.method.as_str().to_owned(),
        backends: backends.collect(),
    }
}
