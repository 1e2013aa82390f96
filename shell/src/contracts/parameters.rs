//! Reading parameters: few, and each a string, a number or a boolean, as the protocol says.
//!
//! Nested values would take many times their text's size in memory, and nobody has a use for them.

use super::Parameters;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use std::fmt;

/// The request parameter that says, where it is `true`, that the request is a copy of another one that
/// was answered already: what comes of it is told to nobody but those who watch.
///
/// It is a claim, which anyone can send. All that a request gains by it is to count apart, never as a
/// user's, and to stand behind users' requests.
pub const SHADOW: &str = "route_shadow";

/// Whether a request with these parameters says that it is a [copy](SHADOW).
#[must_use]
pub fn is_shadow(parameters: &Parameters) -> bool {
    parameters.get(SHADOW) == Some(&Value::Bool(true))
}

/// Parameters in one place of a message at most, those of gateways apart.
const MOST: usize = 64;

/// How the names begin of the parameters that gateways add: a full message must still pass through them.
const OF_GATEWAYS: &str = "route_";

/// Those at most.
const MOST_OF_GATEWAYS: usize = 32;

/// Reads an object of parameters; `null` is an empty one.
pub(super) fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Parameters, D::Error> {
    json.deserialize_any(ParametersVisitor)
}

struct ParametersVisitor;

impl<'de> Visitor<'de> for ParametersVisitor {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {MOST} parameters")
    }

    fn visit_unit<E: Error>(self) -> Result<Parameters, E> {
        Ok(Parameters::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
        let mut parameters = Parameters::new();
        let (mut own, mut of_gateways) = (0, 0);
        while let Some(name) = map.next_key::<String>()? {
            let (count, most) = match name.starts_with(OF_GATEWAYS) {
                true => (&mut of_gateways, MOST_OF_GATEWAYS),
                false => (&mut own, MOST),
            };
            if *count == most {
                return Err(A::Error::custom(format_args!("more than {most} parameters")));
            }
            *count += 1;
            parameters.insert(name, map.next_value::<Scalar>()?.0);
        }
        Ok(parameters)
    }
}

struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl de::Visitor<'_> for ScalarVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter: a string, a number or a boolean")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}
