//! The keys of the public JSON, asked of the types themselves: a deserialiser that only looks at the field names.

use std::cell::RefCell;
use std::collections::BTreeSet;

use evenkeel_web::views;
use serde::de::value::Error;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

struct Fields<'a>(&'a RefCell<BTreeSet<String>>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only structs are asked"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        let mut seen = self.0.borrow_mut();
        seen.extend(fields.iter().map(|field| (*field).to_owned()));
        Err(Error::custom("the names are enough"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn keys<'de, T: Deserialize<'de>>() -> BTreeSet<String> {
    let seen = RefCell::new(BTreeSet::new());
    assert!(T::deserialize(Fields(&seen)).is_err());
    seen.into_inner()
}

/// Heading in the chapter, and the keys of its type.
pub(crate) fn views() -> Vec<(&'static str, BTreeSet<String>)> {
    vec![
        ("Status", keys::<views::StatusView>()),
        ("Listener", keys::<views::ListenerView>()),
        ("Certificate", keys::<views::CertificateView>()),
        ("Audit", keys::<views::AuditView>()),
        ("Pool", keys::<views::PoolView>()),
        ("Drain", keys::<views::DrainView>()),
        ("DrainOutcome", keys::<views::DrainOutcomeView>()),
        ("Rollout", keys::<views::RolloutView>()),
        ("Version", keys::<views::VersionView>()),
        ("RolloutOutcome", keys::<views::RolloutOutcomeView>()),
        ("Worker", keys::<views::WorkerView>()),
        ("WorkerBackend", keys::<views::WorkerBackendView>()),
        ("Members", keys::<views::MembersView>()),
        ("HotKey", keys::<views::HotKeyView>()),
        ("Backend", keys::<views::BackendView>()),
        ("Plan", keys::<views::PlanView>()),
        ("Gap", keys::<views::GapView>()),
        ("Route", keys::<views::RouteView>()),
        ("Target", keys::<views::TargetView>()),
        ("Verify", keys::<views::VerifyView>()),
        ("VerifyPool", keys::<views::VerifyPoolView>()),
        ("Change", keys::<views::ChangeView>()),
        ("Finding", keys::<views::FindingView>()),
        ("Waived", keys::<views::WaivedView>()),
        ("Case", keys::<views::CaseView>()),
        ("Carried", keys::<views::CarriedView>()),
        ("Loss", keys::<views::LossView>()),
        ("Renamed", keys::<views::RenamedView>()),
        ("Forecast", keys::<views::ForecastView>()),
        ("Failure", keys::<views::FailureView>()),
        ("PoolForecast", keys::<views::PoolForecastView>()),
        ("BackendForecast", keys::<views::BackendForecastView>()),
        ("Outcome", keys::<views::ChangeOutcomeView>()),
        ("Revision", keys::<views::RevisionView>()),
        ("Deployment", keys::<views::DeploymentView>()),
        ("Incident", keys::<views::IncidentView>()),
        ("Impact", keys::<views::ImpactView>()),
        ("Diagnosis", keys::<views::DiagnosisView>()),
        ("Candidate", keys::<views::CandidateView>()),
        ("Action", keys::<views::ActionView>()),
        ("Event", keys::<views::EventView>()),
    ]
}
