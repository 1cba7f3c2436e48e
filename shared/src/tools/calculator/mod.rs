//! The tool `calculator`: an arithmetic expression, worked out in 64-bit floating point.
//!
//! An expression is read once from left to right, with bounds on its length and on how deep it is
//! nested, so that no text takes long or fills the stack. Nothing but a number comes out, or a few
//! words on what is wrong.

#[cfg(test)]
mod tests;

use std::f64::consts::{E, PI};
use std::iter::Peekable;
use std::str::CharIndices;

use serde::Deserialize;
use serde_json::Value;

use crate::ports::ToolOutput;

/// The longest expression, and the most parentheses, signs and powers inside each other.
const MAX_BYTES: usize = 1_000;
const MAX_DEPTH: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    expression: String,
}

/// Works out the expression in the arguments.
pub(super) fn run(arguments: &Value) -> ToolOutput {
    let Ok(Arguments { expression }) = Arguments::deserialize(arguments) else {
        return ToolOutput::error("the argument expression must be a text");
    };
    match evaluate(&expression) {
        Ok(number) => ToolOutput::new(shown(number)),
        Err(problem) => ToolOutput::error(problem),
    }
}

/// A number as people write it; with an exponent where it would be all zeros.
fn shown(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if (1e-6..1e21).contains(&size) {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}

fn evaluate(expression: &str) -> Result<f64, String> {
    if expression.len() > MAX_BYTES {
        return Err(format!("the expression has more than {MAX_BYTES} bytes"));
    }
    let mut parser = Parser {
        text: expression,
        rest: expression.char_indices().peekable(),
    };
    let number = parser.sum(0)?;
    match parser.peek() {
        Some(_) => Err(parser.unexpected()),
        None if number.is_finite() => Ok(number),
        None => Err("the result is not a finite number".to_owned()),
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl<'a> Parser<'a> {
    /// Products, added and subtracted.
    fn sum(&mut self, depth: usize) -> Result<f64, String> {
        let mut sum = self.product(depth)?;
        loop {
            if self.takes('+') {
                sum += self.product(depth)?;
            } else if self.takes('-') {
                sum -= self.product(depth)?;
            } else {
                return Ok(sum);
            }
        }
    }

    /// Signed powers, multiplied and divided.
    fn product(&mut self, depth: usize) -> Result<f64, String> {
        let mut product = self.signed(depth)?;
        loop {
            if self.takes('*') {
                product *= self.signed(depth)?;
            } else if self.takes('/') {
                product /= divisor(self.signed(depth)?)?;
            } else if self.takes('%') {
                product %= divisor(self.signed(depth)?)?;
            } else {
                return Ok(product);
            }
        }
    }

    fn signed(&mut self, depth: usize) -> Result<f64, String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "the expression is nested more than {MAX_DEPTH} deep"
            ));
        }
        if self.takes('-') {
            return Ok(-self.signed(depth + 1)?);
        }
        if self.takes('+') {
            return self.signed(depth + 1);
        }
        let base = self.operand(depth)?;
        if self.takes('^') {
            // From right to left, and with a sign of its own: 2^-1.
            return Ok(base.powf(self.signed(depth + 1)?));
        }
        Ok(base)
    }

    fn operand(&mut self, depth: usize) -> Result<f64, String> {
        match self.peek() {
            Some('(') => {
                self.takes('(');
                let inner = self.sum(depth + 1)?;
                self.expects(')')?;
                Ok(inner)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.named(depth),
            Some(_) | None => Err(self.unexpected()),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let begin = self.position();
        self.digits();
        if self.rest.next_if(|(_, c)| *c == '.').is_some() {
            self.digits();
        }
        if self.rest.next_if(|(_, c)| matches!(c, 'e' | 'E')).is_some() {
            self.rest.next_if(|(_, c)| matches!(c, '+' | '-'));
            self.digits();
        }
        let number = self.since(begin);
        number
            .parse()
            .map_err(|_| format!("{number} is not a number"))
    }

    fn digits(&mut self) {
        while self.rest.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
    }

    /// A constant, or a function with its arguments.
    fn named(&mut self, depth: usize) -> Result<f64, String> {
        let begin = self.position();
        while self
            .rest
            .next_if(|(_, c)| c.is_ascii_alphanumeric())
            .is_some()
        {}
        let name = self.since(begin);
        match name {
            "pi" => return Ok(PI),
            "e" => return Ok(E),
            _ => self.expects('(').map_err(|_| unknown(name))?,
        }
        let mut arguments = vec![self.sum(depth + 1)?];
        while self.takes(',') {
            arguments.push(self.sum(depth + 1)?);
        }
        self.expects(')')?;
        apply(name, &arguments)
    }

    fn peek(&mut self) -> Option<char> {
        while self.rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        self.rest.peek().map(|(_, c)| *c)
    }

    fn takes(&mut self, sought: char) -> bool {
        self.peek() == Some(sought) && self.rest.next().is_some()
    }

    fn expects(&mut self, sought: char) -> Result<(), String> {
        if self.takes(sought) {
            Ok(())
        } else {
            Err(format!("{}, where {sought} is missing", self.unexpected()))
        }
    }

    fn unexpected(&mut self) -> String {
        match self.peek() {
            Some(c) => format!(
                "the expression has an unexpected {c} at character {}",
                self.characters_before() + 1
            ),
            None => "the expression ends too early".to_owned(),
        }
    }

    fn characters_before(&mut self) -> usize {
        let position = self.position();
        self.text
            .get(..position)
            .unwrap_or_default()
            .chars()
            .count()
    }

    fn position(&mut self) -> usize {
        self.rest
            .peek()
            .map_or(self.text.len(), |(place, _)| *place)
    }

    fn since(&mut self, begin: usize) -> &'a str {
        let end = self.position();
        self.text.get(begin..end).unwrap_or_default()
    }
}

fn divisor(number: f64) -> Result<f64, String> {
    if number == 0.0 {
        Err("the expression divides by zero".to_owned())
    } else {
        Ok(number)
    }
}

fn unknown(name: &str) -> String {
    format!("{name:.20} is not known here")
}

fn apply(name: &str, arguments: &[f64]) -> Result<f64, String> {
    let (Some(first), count) = (arguments.first().copied(), arguments.len()) else {
        return Err(unknown(name));
    };
    match name {
        "min" => return Ok(arguments.iter().copied().fold(first, f64::min)),
        "max" => return Ok(arguments.iter().copied().fold(first, f64::max)),
        _ => {}
    }
    let function: fn(f64) -> f64 = match name {
        "sqrt" => f64::sqrt,
        "abs" => f64::abs,
        "round" => f64::round,
        "floor" => f64::floor,
        "ceil" => f64::ceil,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "exp" => f64::exp,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        _ => return Err(unknown(name)),
    };
    if count == 1 {
        Ok(function(first))
    } else {
        Err(format!("{name} takes one argument, not {count}"))
    }
}
