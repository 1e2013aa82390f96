//! Changes to the table in force: who joins, drains and leaves, and how a model's split stands.
//!
//! Each makes a version of the table as [`Gateway::publish`] does, so it can be rolled back.

use super::{Gateway, PublishError};
use crate::concurrency::lock;
use crate::routing::{self, EndpointEntry, Routes, SplitEntry, TableVersion};
use serde::Serialize;
use tensorforge_core::route::Health;

/// Why the table was not changed. It is as it was.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableChangeError {
    /// There is no endpoint of that name.
    #[error("no endpoint '{name}' in the table; it has {}", list(.known))]
    UnknownEndpoint {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// No routes are written for that model.
    #[error("no routes for model '{name}' in the table; it has {}", list(.known))]
    UnknownModel {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The table would make no sense with the change, or somebody else was faster.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// How an endpoint of the table stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct EndpointStanding {
    /// Its name.
    pub name: String,
    /// What its active probes say: `healthy` or `unreachable`; `draining` and `gone` where the table says so.
    pub health: &'static str,
    /// Requests that are there.
    pub outstanding: u64,
    /// Whether it takes no more, and its last request has ended: it can be switched off.
    pub drained: bool,
}

impl Gateway {
    /// Changes what is written in the table, and puts it in force, unless the table is at another version than
    /// `expected`. Nobody else changes it meanwhile.
    ///
    /// # Errors
    /// What `change` says, or [`PublishError`]; the table before stays.
    pub fn change<E: From<PublishError>>(
        &self,
        expected: Option<TableVersion>,
        change: impl FnOnce(&mut Routes) -> Result<(), E>,
    ) -> Result<TableVersion, E> {
        let _alone = lock(&self.publishing);
        let table = self.table.current();
        let current = table.version();
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            let conflict = routing::PublishError::Conflict { expected, current };
            return Err(E::from(conflict.into()));
        }
        let mut routes = table.written();
        change(&mut routes)?;
        Ok(self.publish_alone(routes)?)
    }

    /// Puts an endpoint in, in place of the one of the same name. Models that name no endpoints have it at once,
    /// from a small part of its weight.
    ///
    /// # Errors
    /// [`PublishError`] says what makes no sense.
    pub fn join(&self, endpoint: EndpointEntry) -> Result<TableVersion, PublishError> {
        self.change(None, |routes| {
            routes.join(endpoint);
            Ok(())
        })
    }

    /// Lets an endpoint finish what it has: it takes no new requests, and stays in the table.
    ///
    /// # Errors
    /// [`TableChangeError::UnknownEndpoint`].
    pub fn drain(&self, name: &str) -> Result<TableVersion, TableChangeError> {
        self.change(None, |routes| {
            routes.drain(name).then_some(()).ok_or_else(|| unknown(routes, name))
        })
    }

    /// Takes an endpoint out. Requests that are there end as they would have.
    ///
    /// # Errors
    /// [`TableChangeError::UnknownEndpoint`]; [`TableChangeError::Publish`] where a model or a rule names it.
    pub fn leave(&self, name: &str) -> Result<TableVersion, TableChangeError> {
        self.change(None, |routes| {
            routes.leave(name).then_some(()).ok_or_else(|| unknown(routes, name))
        })
    }

    /// Divides a model's requests among versions anew; with no parts, all go to the newest one.
    ///
    /// # Errors
    /// [`TableChangeError::UnknownModel`]; [`TableChangeError::Publish`] where the parts make no sense.
    pub fn set_split(
        &self,
        model: &str,
        split: Vec<SplitEntry>,
    ) -> Result<TableVersion, TableChangeError> {
        self.change(None, |routes| {
            let Some(at) = routes.models.iter().position(|entry| entry.name == model) else {
                let known = routes.models.iter().map(|entry| entry.name.clone()).collect();
                return Err(TableChangeError::UnknownModel { name: model.to_owned(), known });
            };
            routes.models[at].split = split;
            Ok(())
        })
    }

    /// How the endpoints stand: those of the table in its order, then those that have left it with requests.
    #[must_use]
    pub fn standings(&self) -> Vec<EndpointStanding> {
        let (plan, table) = (self.plan.load(), self.table.current());
        let now = self.clock.now();
        let here = plan.members.iter().filter_map(|member| {
            let gate = table.gate(&member.name)?;
            let health = match (gate.is_closed(), member.health.health(now)) {
                (true, _) => "draining",
                (false, Health::Unreachable) => "unreachable",
                _ => "healthy",
            };
            Some(EndpointStanding {
                name: member.name.clone(),
                health,
                outstanding: gate.outstanding(),
                drained: gate.is_drained(),
            })
        });
        let gone = self.table.leaving().into_iter().map(|(name, outstanding)| EndpointStanding {
            name,
            health: "gone",
            outstanding,
            drained: outstanding == 0,
        });
        here.chain(gone).collect()
    }
}

fn unknown(routes: &Routes, name: &str) -> TableChangeError {
    let known = routes.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    TableChangeError::UnknownEndpoint { name: name.to_owned(), known }
}
