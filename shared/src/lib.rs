//! The platform itself. Without the Lambda functions, everything of value still compiles and is
//! tested here.
//!
//! The core:
//!
//! - [`domain`]: the nouns, the rules and the task's state machine.
//! - [`ports`]: what the outside must offer, as traits.
//! - [`app`]: the use cases.
//! - [`policy`]: the layers around a model call, such as cache, fallback and retry.
//!
//! The adapters:
//!
//! - [`store`] for DynamoDB, [`queue`] for SQS, [`secrets`] for Secrets Manager.
//! - [`jwt`] for the JWTs of one issuer.
//! - [`llm`] for the model providers.
//! - [`tools`]: the tools that the platform runs itself.
//!
//! Beside them, [`config`] reads the environment, [`telemetry`] writes logs, traces and metrics,
//! [`metric`] lists the metrics, [`runtime`] runs long computations, and `tls` lists the trusted
//! certificates. `testing` (a feature) has the ports in memory.

pub mod app;
pub mod config;
pub mod domain;
pub mod jwt;
pub mod llm;
pub mod metric;
pub mod policy;
pub mod ports;
pub mod queue;
pub mod runtime;
pub mod secrets;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
pub mod tools;
