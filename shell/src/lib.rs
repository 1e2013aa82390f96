//! TensorForge as a std library: the service around `tensorforge-core`'s decisions.

pub mod batch_scheduler;
pub mod cli;
pub mod client;
pub mod clock;
pub mod concurrency;
pub mod config;
pub mod contracts;
pub mod device;
pub mod events;
pub mod gateway;
pub mod limiter;
pub mod models;
pub mod policy;
pub mod queue;
pub mod registry;
pub mod resilience;
pub mod routing;
pub mod server;
pub mod service;
pub mod simulation;
pub mod statistics;
pub mod telemetry;
pub mod trace;
pub mod workflow;
