//! One version of a table.

use super::TableVersion;
use crate::routing::gate::{EndpointGate, InFlight};
use crate::routing::route::Route;
use crate::routing::routes::{CheckedEndpoint, CheckedRoutes, Routes};
use std::ops::Deref;
use std::sync::Arc;

/// A version of a [`RouteTable`](super::RouteTable), which never changes. Only the counts and states of its
/// endpoints' gates do.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    version: TableVersion,
    restored: Option<TableVersion>,
    /// Whether it came of adding or removing one channel.
    pub(super) is_single_change: bool,
    /// By channel. Shared with other versions one by one.
    pub(super) channels: Arc<[Arc<Route>]>,
    routes: Arc<CheckedRoutes>,
    /// One for each of the endpoints, in their order.
    gates: Arc<[Arc<EndpointGate>]>,
}

/// The version that was current when it was asked for. Keep it for as long as one request is routed; to keep
/// one for long, clone the [`Snapshot`] behind it.
#[derive(Debug)]
pub struct CurrentTable(pub(super) arc_swap::Guard<Arc<Snapshot>>);

impl Deref for CurrentTable {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl Snapshot {
    /// Its number.
    #[must_use]
    pub const fn version(&self) -> TableVersion {
        self.version
    }

    /// Which version it is again, if it came of a rollback.
    #[must_use]
    pub const fn restored(&self) -> Option<TableVersion> {
        self.restored
    }

    /// The plain route of a channel. O(log n).
    #[must_use]
    pub fn route(&self, channel: &str) -> Option<&Route> {
        Some(&self.channels[self.position(channel).ok()?])
    }

    /// Endpoints and models.
    #[must_use]
    pub fn routes(&self) -> &CheckedRoutes {
        &self.routes
    }

    /// What is written in it, to be changed and published again. O(n).
    #[must_use]
    pub fn written(&self) -> Routes {
        let channels = self.channels.iter().map(|route| Route::clone(route)).collect();
        Routes { channels, ..self.routes.written.clone() }
    }

    /// The gates of [`CheckedRoutes::endpoints`], in the same order.
    #[must_use]
    pub fn gates(&self) -> &[Arc<EndpointGate>] {
        &self.gates
    }

    /// The gate of an endpoint. O(1).
    #[must_use]
    pub fn gate(&self, endpoint: &str) -> Option<&Arc<EndpointGate>> {
        self.gates.get(self.routes.endpoint_index(endpoint)?)
    }

    /// Counts a request in at an endpoint; `None` if there is none of that name, or it drains or has left.
    #[must_use]
    pub fn enter(&self, endpoint: &str) -> Option<InFlight> {
        self.gate(endpoint)?.enter()
    }

    pub(super) fn of(
        last: TableVersion,
        mut checked: CheckedRoutes,
        gates: Arc<[Arc<EndpointGate>]>,
    ) -> Self {
        let channels = std::mem::take(&mut checked.channels).into();
        let routes = Arc::new(checked);
        Self {
            version: after(last),
            restored: None,
            is_single_change: false,
            channels,
            routes,
            gates,
        }
    }

    /// The next version, with other channels.
    pub(super) fn with_channels(&self, channels: Vec<Arc<Route>>) -> Self {
        Self {
            version: after(self.version),
            restored: None,
            is_single_change: true,
            channels: channels.into(),
            ..self.clone()
        }
    }

    /// The version after `last`, with this one's content.
    pub(super) fn again_after(&self, last: TableVersion) -> Self {
        Self {
            version: after(last),
            restored: Some(self.version),
            is_single_change: false,
            ..self.clone()
        }
    }

    /// Where a channel is, or would be.
    pub(super) fn position(&self, channel: &str) -> Result<usize, usize> {
        self.channels.binary_search_by(|route| route.channel.as_str().cmp(channel))
    }

    pub(super) fn endpoints_and_gates(
        &self,
    ) -> impl Iterator<Item = (&CheckedEndpoint, &Arc<EndpointGate>)> {
        self.routes.endpoints().iter().zip(self.gates.iter())
    }

    /// Whether it differs in channels only.
    pub(super) fn has_routes_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.routes, &other.routes)
    }
}

fn after(version: TableVersion) -> TableVersion {
    TableVersion(version.0.saturating_add(1))
}
