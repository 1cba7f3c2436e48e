//! Reading configuration from environment variables.
//!
//! A function's `config.rs` lists its variables; everything below it gets values. Tests feed pairs
//! to the same reader instead of changing the process's environment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A variable is missing or unusable. The function doesn't start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable} {reason}")]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it; never its value, which may be secret.
    pub reason: String,
}

impl ConfigError {
    /// Logs it, for a function that ends with it. The line names the `binary` that runs, and the
    /// function that runs it: the binary may be another function's.
    pub fn log(&self, binary: &str, environment: &Environment) {
        tracing::error!(
            binary,
            function = environment.function_name(),
            variable = self.variable,
            reason = self.reason,
            "configuration refused"
        );
    }
}

type Lookup = Box<dyn Fn(&str) -> Option<String>>;

/// Environment variables, and the names of the variables that were read.
pub struct Environment {
    lookup: Lookup,
    read: RefCell<BTreeSet<&'static str>>,
}

impl Environment {
    /// The process's own environment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the process's environment"
    )]
    pub fn process() -> Self {
        Self {
            lookup: Box::new(|name| std::env::var(name).ok()),
            read: RefCell::default(),
        }
    }

    /// These variables and no others.
    pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let pairs: BTreeMap<String, String> = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            lookup: Box::new(move |name| pairs.get(name).cloned()),
            read: RefCell::default(),
        }
    }

    /// The variable's value; `None` if it is not set or empty, because a template can't leave a
    /// variable out.
    pub fn optional(&self, variable: &'static str) -> Option<String> {
        self.read.borrow_mut().insert(variable);
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// The variable's value, which must be set.
    pub fn required(&self, variable: &'static str) -> Result<String, ConfigError> {
        self.optional(variable).ok_or_else(|| ConfigError {
            variable,
            reason: "must be set".to_owned(),
        })
    }

    /// The variable's value, which must be set and have the form of a `T`.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        variable: &'static str,
    ) -> Result<T, ConfigError> {
        self.required(variable)?
            .parse()
            .map_err(|error: T::Err| ConfigError {
                variable,
                reason: format!("can't be used: {error}"),
            })
    }

    /// The name of the Lambda function, which Lambda sets.
    fn function_name(&self) -> Option<String> {
        (self.lookup)("AWS_LAMBDA_FUNCTION_NAME")
    }

    /// The variables that were read so far, so that a test can compare them with the template.
    pub fn variables_read(&self) -> BTreeSet<&'static str> {
        self.read.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::telemetry::held::HeldLines;
    use crate::telemetry::{Service, logs};
    use crate::testing::listen_to;
    use crate::testing::log_schema::check_log_line;

    #[test]
    fn a_refused_configuration_is_logged_with_the_binary_and_the_function() {
        let (heard, _guard) = listen_to(|log| {
            let service = Service::new("cleanup", "v1");
            logs::layer(service, LevelFilter::INFO, HeldLines::default(), log)
        });
        let environment =
            Environment::of([("AWS_LAMBDA_FUNCTION_NAME", "agents-ExecutorFunction")]);
        let refused = environment.required("TASK_RETENTION_DAYS").unwrap_err();
        refused.log("cleanup", &environment);
        let line: Value = serde_json::from_str(&heard.text()).unwrap();
        check_log_line(&line).unwrap();
        assert_eq!(
            ["message", "binary", "function", "variable"].map(|field| &line[field]),
            [
                "configuration refused",
                "cleanup",
                "agents-ExecutorFunction",
                "TASK_RETENTION_DAYS"
            ]
        );
        assert_eq!(
            environment.variables_read(),
            BTreeSet::from(["TASK_RETENTION_DAYS"])
        );
    }

    #[test]
    fn an_empty_variable_counts_as_missing() {
        let environment = Environment::of([("EMPTY", ""), ("COUNT", "x")]);
        assert_eq!(environment.optional("EMPTY"), None);
        assert_eq!(
            environment.required("EMPTY").unwrap_err().to_string(),
            "environment variable EMPTY must be set"
        );
        assert!(environment.parsed::<u32>("COUNT").is_err());
        assert_eq!(
            environment.variables_read(),
            BTreeSet::from(["COUNT", "EMPTY"])
        );
    }
}
