//! What model calls cost, in whole micro-USD.
//!
//! The table is the data file `prices.json`: list prices by model and date, each with its source
//! and the day on which it was checked. If a price's first day is unknown, it begins on the day on
//! which it was first seen. A model without a row for a day has no price, and the caller must
//! report that: an unknown price is never zero. The prices are for the providers' standard tier,
//! with the shorter cache lifetime: 5 minutes at Anthropic, 30 at OpenAI. Batch and fast modes,
//! regional surcharges and fees of server-side tools are not included.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::{ModelRef, Timestamp, Usage};

/// Prices are in micro-USD for this many tokens.
const TOKENS: u128 = 1_000_000;

#[expect(
    clippy::expect_used,
    reason = "the table is part of the program, and a test reads it"
)]
static CURRENT: LazyLock<PriceTable> = LazyLock::new(|| {
    serde_json::from_str(include_str!("prices.json")).expect("the price table is sound")
});

/// The prices of models, by date.
#[derive(Debug, Deserialize)]
pub struct PriceTable {
    version: String,
    rows: Vec<Row>,
}

/// The prices of one model for some time.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    provider: String,
    /// The name of the model; it also stands for the model's dated snapshots.
    model: String,
    /// The first day.
    valid_from: Midnight,
    /// The day after the last one.
    valid_until: Option<Midnight>,
    pub(super) prices: Prices,
    pub(super) long_prompt: Option<LongPrompt>,
    /// The most tokens that the model reads and writes together, if it is known.
    pub(super) context_window: Option<u32>,
    /// The most tokens that the model writes in one answer, if it is known.
    pub(super) max_output_tokens: Option<u32>,
}

/// Prices of calls with a long input. They hold for the whole call, also for its output.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LongPrompt {
    /// A longer input has these prices.
    pub over_input_tokens: u64,
    /// The prices.
    pub prices: Prices,
}

/// Micro-USD for a million tokens of each class. Reasoning is output.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Prices {
    /// Input that is neither read from the provider's cache nor written to it.
    pub input: u32,
    /// Input that the provider has cached.
    pub cache_read: u32,
    /// Input that the provider caches.
    pub cache_write: u32,
    /// Output.
    pub output: u32,
}

/// The start of a day, in UTC.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Midnight(Timestamp);

impl PriceTable {
    /// The table that this version of the platform was built with.
    pub fn current() -> &'static Self {
        &CURRENT
    }

    /// The table's version, to be stored with every amount that comes from the table.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What `usage` of `model` costs at `at`, rounded up to a whole micro-USD; `None` if the table
    /// has no row for it.
    ///
    /// If the cached tokens exceed the input, they are cut to it: first cache writes count, then
    /// cache reads.
    pub fn cost(&self, model: &ModelRef, usage: &Usage, at: Timestamp) -> Option<u64> {
        let row = self.row(model, at)?;
        Some(micro_usd(row.prices_for(usage.input_tokens).total(usage)))
    }

    /// The most, in micro-USD, that a call of `model` costs at `at` with at most `input_bytes`
    /// tokens of input and `max_output_tokens` of output; `None` if the table has no row for it.
    ///
    /// A token of text has at least one byte, so the size of a request bounds its input. The caller
    /// must add input that is not in the request's bytes, such as an image given by its URL.
    pub fn bound(
        &self,
        model: &ModelRef,
        input_bytes: u64,
        max_output_tokens: u32,
        at: Timestamp,
    ) -> Option<u64> {
        Some(self.row(model, at)?.bound(input_bytes, max_output_tokens))
    }

    /// Whether the table has a price for `model` at `at`.
    pub fn has_price(&self, model: &ModelRef, at: Timestamp) -> bool {
        self.row(model, at).is_some()
    }

    /// [`cost`](Self::cost), but a model without a row counts as the most expensive model of its
    /// provider; `None` for a provider without rows.
    pub fn assumed_cost(&self, model: &ModelRef, usage: &Usage, at: Timestamp) -> Option<u64> {
        self.assumed_rows(model, at)
            .map(|row| micro_usd(row.prices_for(usage.input_tokens).total(usage)))
            .max()
    }

    /// [`bound`](Self::bound), but a model without a row counts as the most expensive model of its
    /// provider; `None` for a provider without rows.
    pub fn assumed_bound(
        &self,
        model: &ModelRef,
        input_bytes: u64,
        max_output_tokens: u32,
        at: Timestamp,
    ) -> Option<u64> {
        self.assumed_rows(model, at)
            .map(|row| row.bound(input_bytes, max_output_tokens))
            .max()
    }

    /// The most tokens that `model` writes in one answer at `at`; `None` if that is unknown.
    pub fn max_output_tokens(&self, model: &ModelRef, at: Timestamp) -> Option<u32> {
        self.row(model, at)?.max_output_tokens
    }

    /// Whether a row has exactly this model, and not only one whose dated snapshot it is.
    pub fn names(&self, model: &ModelRef) -> bool {
        let is_named =
            |row: &Row| row.provider == model.provider().as_str() && row.model == model.name();
        self.rows.iter().any(is_named)
    }

    /// The provider and the model as dimensions of a metric. All names that the table doesn't have
    /// count as one, because `CloudWatch` charges for each name.
    pub fn labels<'a>(&self, model: &'a ModelRef) -> [&'a str; 2] {
        let is_listed = self.rows.iter().any(|row| row.is_of(model));
        [
            model.provider().as_str(),
            if is_listed { model.name() } else { "unlisted" },
        ]
    }

    /// The rows that are valid at the moment.
    pub(super) fn rows_at(&self, at: Timestamp) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.is_valid(at))
    }

    /// The model's row, or all rows of its provider if it has none.
    fn assumed_rows(&self, model: &ModelRef, at: Timestamp) -> impl Iterator<Item = &Row> {
        let (own, provider) = (self.row(model, at), model.provider().as_str());
        let others = self
            .rows
            .iter()
            .filter(move |row| own.is_none() && row.provider == provider && row.is_valid(at));
        own.into_iter().chain(others)
    }

    fn row(&self, model: &ModelRef, at: Timestamp) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.is_of(model) && row.is_valid(at))
    }
}

impl Row {
    /// The model by its own name.
    pub(super) fn model(&self) -> Option<ModelRef> {
        ModelRef::new(self.provider.parse().ok()?, self.model.as_str()).ok()
    }

    /// Whether a request names the row's model by its own name or by the name of a dated snapshot,
    /// such as `claude-haiku-4-5-20251001` or `gpt-5.5-2026-04-23`. A longer name is another model
    /// with another price: `gpt-5.4-mini` is no `gpt-5.4`.
    fn is_of(&self, model: &ModelRef) -> bool {
        let is_snapshot = |rest: &str| {
            rest.strip_prefix('-')
                .is_some_and(|date| epoch_day(date).is_some())
        };
        self.provider == model.provider().as_str()
            && model
                .name()
                .strip_prefix(&self.model)
                .is_some_and(|rest| rest.is_empty() || is_snapshot(rest))
    }

    fn is_valid(&self, at: Timestamp) -> bool {
        self.valid_from.0 <= at && self.valid_until.is_none_or(|until| at < until.0)
    }

    fn bound(&self, input_bytes: u64, max_output_tokens: u32) -> u64 {
        let short = self.prices.dearest(input_bytes, max_output_tokens);
        let reached = self
            .prices_for(input_bytes)
            .dearest(input_bytes, max_output_tokens);
        micro_usd(short.max(reached))
    }

    fn prices_for(&self, input_tokens: u64) -> &Prices {
        let long = self
            .long_prompt
            .as_ref()
            .filter(|long| input_tokens > long.over_input_tokens);
        long.map_or(&self.prices, |long| &long.prices)
    }
}

impl Prices {
    /// The price of `usage`, times [`TOKENS`].
    fn total(&self, usage: &Usage) -> u128 {
        let written = usage.cache_write_tokens.min(usage.input_tokens);
        let read = usage.cache_read_tokens.min(usage.input_tokens - written);
        let plain = usage.input_tokens - written - read;
        times(plain, self.input)
            + times(read, self.cache_read)
            + times(written, self.cache_write)
            + times(usage.output_tokens, self.output)
    }

    /// The price if all input has the highest input price, times [`TOKENS`].
    fn dearest(&self, input_tokens: u64, output_tokens: u32) -> u128 {
        let input = self.input.max(self.cache_read).max(self.cache_write);
        times(input_tokens, input) + times(u64::from(output_tokens), self.output)
    }
}

impl TryFrom<String> for Midnight {
    type Error = &'static str;

    fn try_from(date: String) -> Result<Self, Self::Error> {
        let day = epoch_day(&date).ok_or("must be a date such as 2026-10-07")?;
        Ok(Self(Timestamp::start_of_day(day)))
    }
}

fn times(tokens: u64, price: u32) -> u128 {
    u128::from(tokens) * u128::from(price)
}

fn micro_usd(total: u128) -> u64 {
    u64::try_from(total.div_ceil(TOKENS)).unwrap_or(u64::MAX)
}

/// The days from the epoch to a date, written as `2026-10-07` or `20261007`. The algorithm is
/// Howard Hinnant's `days_from_civil`: years begin in March, so a leap day is the last day of its
/// year.
fn epoch_day(date: &str) -> Option<u64> {
    let (year, rest) = date.split_at_checked(4)?;
    let (month, day) = match rest.strip_prefix('-') {
        Some(rest) => rest.split_once('-')?,
        None => rest.split_at_checked(2)?,
    };
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    Some(
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468,
    )
}

/// The number that `text` is if it has exactly this many digits and nothing else.
fn number(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
