//! Single changes to what is written down.

use super::{EndpointEntry, EndpointState, Routes};

impl Routes {
    /// Puts an endpoint in, in place of the one of the same name.
    pub(crate) fn join(&mut self, endpoint: EndpointEntry) {
        match self.endpoints.iter_mut().find(|known| known.name == endpoint.name) {
            Some(known) => *known = endpoint,
            None => self.endpoints.push(endpoint),
        }
    }

    /// Lets an endpoint take no new requests. Whether there is one of that name.
    pub(crate) fn drain(&mut self, name: &str) -> bool {
        let known = self.endpoints.iter_mut().find(|known| known.name == name);
        known.map(|known| known.state = EndpointState::Draining).is_some()
    }

    /// Takes an endpoint out. Whether there was one of that name.
    pub(crate) fn leave(&mut self, name: &str) -> bool {
        let before = self.endpoints.len();
        self.endpoints.retain(|known| known.name != name);
        self.endpoints.len() < before
    }
}
