//! The platform itself. Delete the Lambda functions and everything of value still compiles and is
//! tested here.
//!
//! Read it inwards: [`domain`] holds the nouns and rules, [`ports`] what the outside must offer,
//! [`app`] the use cases, [`policy`] the rules of the model layer. Around them stand the adapters:
//! [`store`] on DynamoDB, [`queue`] on SQS, [`llm`] on the model providers, [`tools`] for those
//! that the platform runs itself and [`secrets`] on Secrets Manager; [`policy`] makes model calls
//! survive; [`config`] reads the environment, [`telemetry`] sets up logging, `tls` says which
//! servers are trusted, and `testing` (a feature) has the ports in memory.

pub mod app;
pub mod config;
pub mod domain;
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
