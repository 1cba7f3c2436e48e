//! Metric math, and the rules of composite alarms.

use super::*;

/// Metric math: numbers, ids, `FILL(id, n)`, `IF(c, a, b)`, `+`, `-`, `*`, `/`, `>=` and
/// parentheses. What needs a value that is missing, or divides by zero, has none.
pub(super) struct Formula<'a> {
    pub(super) rest: &'a str,
    pub(super) measured: &'a BTreeMap<&'a str, Option<f64>>,
}

impl Formula<'_> {
    pub(super) fn comparison(&mut self) -> Option<f64> {
        let left = self.sum();
        if !self.eat(">=") {
            return left;
        }
        let right = self.sum();
        Some(if left? >= right? { 1.0 } else { 0.0 })
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product();
        loop {
            if self.eat("+") {
                value = value.zip(self.product()).map(|(left, right)| left + right);
            } else if self.eat("-") {
                value = value.zip(self.product()).map(|(left, right)| left - right);
            } else {
                return value;
            }
        }
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.term();
        loop {
            if self.eat("*") {
                value = value.zip(self.term()).map(|(left, right)| left * right);
            } else if self.eat("/") {
                let divisor = self.term().filter(|divisor| *divisor != 0.0);
                value = value.zip(divisor).map(|(left, right)| left / right);
            } else {
                return value;
            }
        }
    }

    fn term(&mut self) -> Option<f64> {
        if self.eat("(") {
            let value = self.comparison();
            self.require(")");
            return value;
        }
        let word = self.word();
        match word.as_str() {
            "FILL" => {
                let [value, otherwise] = self.arguments();
                value.or(otherwise)
            }
            "IF" => {
                let [condition, then, otherwise] = self.arguments();
                if condition? == 0.0 { otherwise } else { then }
            }
            word if word.starts_with(|first: char| first.is_ascii_digit()) => {
                Some(word.parse().unwrap())
            }
            id => *self
                .measured
                .get(id)
                .unwrap_or_else(|| panic!("no metric is called {id}")),
        }
    }

    /// The values in the parentheses of a function.
    fn arguments<const COUNT: usize>(&mut self) -> [Option<f64>; COUNT] {
        let values = std::array::from_fn(|place| {
            self.require(if place == 0 { "(" } else { "," });
            self.comparison()
        });
        self.require(")");
        values
    }

    fn word(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn require(&mut self, token: &str) {
        assert!(self.eat(token), "{token} is missing before {}", self.rest);
    }
}

/// A composite alarm's rule: `ALARM("${…}")`, `AND`, `OR` and parentheses.
pub(super) struct Rule<'a> {
    pub(super) rest: &'a str,
    pub(super) on: &'a BTreeSet<String>,
}

impl Rule<'_> {
    pub(super) fn any(&mut self) -> bool {
        let mut is_on = self.all();
        while self.eat("OR") {
            is_on |= self.all();
        }
        is_on
    }

    fn all(&mut self) -> bool {
        let mut is_on = self.one();
        while self.eat("AND") {
            is_on &= self.one();
        }
        is_on
    }

    fn one(&mut self) -> bool {
        if self.eat("(") {
            let is_on = self.any();
            assert!(self.eat(")"), "{}", self.rest);
            return is_on;
        }
        assert!(self.eat("ALARM(\"${"), "{}", self.rest);
        let (name, rest) = self.rest.split_once("}\")").unwrap();
        self.rest = rest;
        self.on.contains(name)
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest;
        true
    }
}
