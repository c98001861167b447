//! Values with their unit in a scenario, written as in the configuration: `"250ms"`, `"20%"`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use evenkeel_model::units::{Ratio, format_duration, parse_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration: `"250ms"`, `"10s"`, `"5m"`, `"1h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl Span {
    /// `seconds` seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// `millis` milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_duration(self.0))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(Text("a duration such as `\"250ms\"`"))?;
        parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number with its unit: us, ms, s, m, h or d.",
            "pattern": "^([0-9]+(\\.[0-9]{1,3})?(us|ms|s|m|h|d)|0)$",
            "examples": ["250ms", "10s", "5m"]
        })
    }
}

/// A fraction: `"20%"`, `"0.5%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = Ratio::from_ppm((self.0 * 1e6).round() as u32);
        f.pad(&ratio.to_string())
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(Text("a percentage such as `\"20%\"`"))?;
        let ratio = Ratio::parse(&text).map_err(D::Error::custom)?;
        if ratio.as_f64() > 1.0 {
            return Err(D::Error::custom(format!("`{text}` is more than `100%`")));
        }
        Ok(Self(ratio.as_f64()))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A share from 0% to 100%.",
            "pattern": "^[0-9]+(\\.[0-9]{1,4})?%$",
            "examples": ["20%", "0.5%"]
        })
    }
}

/// Takes a string and says what was expected otherwise.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        if text.len() > 64 {
            return Err(E::invalid_value(Unexpected::Other("a long text"), &self));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{Percent, Span};
    use std::time::Duration;

    #[derive(serde::Deserialize)]
    struct Holder {
        span: Option<Span>,
        share: Option<Percent>,
    }

    #[test]
    fn values_are_read_with_their_unit_and_nothing_else() {
        let holder: Holder = toml::from_str("span = \"1.5s\"\nshare = \"0.5%\"").unwrap();
        assert_eq!(holder.span, Some(Span(Duration::from_millis(1_500))));
        assert!((holder.share.unwrap().0 - 0.005).abs() < 1e-9);
        for wrong in [
            "span = 5",
            "span = \"5\"",
            "share = 0.5",
            "share = \"101%\"",
        ] {
            assert!(toml::from_str::<Holder>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_written_as_they_are_read() {
        assert_eq!(Span::millis(250).to_string(), "250ms");
        assert_eq!(Percent(0.2).to_string(), "20%");
    }
}
