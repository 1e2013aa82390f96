//! The machines that ship.

crate::machine! {
    /// A dispatched unit of work, from the queue to its arrival.
    pub machine Dispatch: "dispatch", version 1, starts Queued;
    /// Where it is.
    pub enum DispatchState {
        /// Waiting.
        Queued = "queued" -> [Allocated, Cancelled],
        /// Something will carry it.
        Allocated = "allocated" -> [Departed, Cancelled],
        /// On its way: too late to cancel.
        Departed = "departed" -> [Arrived],
        /// Done.
        Arrived = "arrived" -> end,
        /// Given up before it departed.
        Cancelled = "cancelled" -> end,
    }
}

crate::machine! {
    /// An inference request, from its receipt to its one outcome.
    pub machine RequestLife: "request", version 1, starts Received;
    /// Where it is.
    pub enum RequestState {
        /// Not yet at an outcome: it may be given up at any time.
        Open = "open" -> [Cancelled, Failed],
        /// Before it runs: it may be turned away, and its time may run out.
        Waiting = "waiting" in Open -> [Shed, Expired],
        /// Read and checked.
        Received = "received" in Waiting -> [Admitted],
        /// Within its limits and the server's.
        Admitted = "admitted" in Waiting -> [Queued],
        /// In its group, waiting for a batch to close.
        Queued = "queued" in Waiting -> [Batched],
        /// In a batch that closed.
        Batched = "batched" in Waiting -> [Running],
        /// On a device. A batch that failed puts those back that may run again.
        Running = "running" in Open -> [Succeeded, Queued],
        /// Answered.
        Succeeded = "succeeded" -> end,
        /// Answered with an error.
        Failed = "failed" -> end,
        /// The client gave it up, or hung up.
        Cancelled = "cancelled" -> end,
        /// Turned away: too much waits.
        Shed = "shed" -> end,
        /// Its deadline came before its turn.
        Expired = "expired" -> end,
    }
}

crate::machine! {
    /// A version of a model, from its registration to the archive.
    pub machine Deployment: "deployment", version 1, starts Registered;
    /// Where it is.
    pub enum DeploymentState {
        /// Not archived yet: it may be at any time.
        Kept = "kept" -> [Archived],
        /// Known, with its files in place.
        Registered = "registered" in Kept -> [Validating],
        /// Being loaded and tried. What fails goes back.
        Validating = "validating" in Kept -> [Staging, Registered],
        /// Loaded, without traffic of its own.
        Staging = "staging" in Kept -> [Canary, Registered],
        /// With a share of the traffic. Rolled back to staging.
        Canary = "canary" in Kept -> [Production, Staging],
        /// With all of it. Rolled back to canary or staging.
        Production = "production" in Kept -> [Deprecated, Canary, Staging],
        /// Serving those who name it, until they have moved on. Brought back if its successor fails.
        Deprecated = "deprecated" in Kept -> [Production],
        /// No longer served.
        Archived = "archived" -> end,
    }
}

crate::machine! {
    /// A job in the background: a load, an export, a migration.
    pub machine Job: "job", version 1, starts Pending;
    /// Where it is.
    pub enum JobState {
        /// Not over yet: it may be cancelled.
        Active = "active" -> [Cancelled],
        /// Waiting for its turn.
        Pending = "pending" in Active -> [Running],
        /// At work. Paused on request; what fails and may be tried again goes to retrying.
        Running = "running" in Active -> [Succeeded, Failed, Retrying, Paused],
        /// Waiting until it is tried again.
        Retrying = "retrying" in Active -> [Running, Failed],
        /// Stopped until it is resumed.
        Paused = "paused" in Active -> [Running],
        /// Done.
        Succeeded = "succeeded" -> end,
        /// Given up after its last attempt.
        Failed = "failed" -> end,
        /// Given up on request.
        Cancelled = "cancelled" -> end,
    }
}
