//! The trace that a task belongs to, in the form of X-Ray's tracing header.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::invalid::Invalid;
use super::time::Timestamp;

const OPEN_FOR: Duration = Duration::from_hours(30 * 24 - 1);

/// A trace, its current span, and whether it is recorded.
///
/// It has the form `Root=1-…-…;Parent=…;Sampled=1` (X-Ray developer guide, "Tracing header"). Other
/// fields of a header, such as `Lineage`, hold only for one hop and are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader(String);

impl TraceHeader {
    /// The header as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace's id, as X-Ray shows it.
    pub fn trace_id(&self) -> &str {
        self.0
            .split(';')
            .find_map(|field| field.strip_prefix("Root="))
            .unwrap_or_default()
    }

    /// Whether X-Ray still takes spans of this trace: for 30 days after its beginning, which its id
    /// contains (X-Ray API reference, `PutTraceSegments`), less an hour for spans that begin soon.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let begun = self
            .trace_id()
            .split('-')
            .nth(1)
            .and_then(|seconds| u64::from_str_radix(seconds, 16).ok());
        begun.is_some_and(|seconds| {
            now.since(Timestamp::from_millis(seconds.saturating_mul(1_000))) < OPEN_FOR
        })
    }

    /// The trace as the first value, if X-Ray still takes spans of it. Otherwise the trace as the
    /// second value: spans can only link to it.
    pub fn open_or_over(header: Option<&Self>, now: Timestamp) -> (Option<&Self>, Option<&Self>) {
        match header {
            Some(trace) if trace.is_open(now) => (Some(trace), None),
            over => (None, over),
        }
    }
}

impl fmt::Display for TraceHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TraceHeader {
    type Err = Invalid;

    /// Reads a header. If it leaves open whether the trace is recorded, the trace is not recorded.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let field = |name: &str| {
            text.split(';')
                .find_map(|field| field.trim().strip_prefix(name))
        };
        let root = field("Root=").filter(|root| is_trace_id(root));
        let Some(root) = root else {
            return Err(Invalid::new("trace", "must be an X-Ray tracing header"));
        };
        let parent = match field("Parent=") {
            Some(parent) if is_hex(parent, 16) => format!(";Parent={parent}"),
            Some(_) | None => String::new(),
        };
        let sampled = u8::from(field("Sampled=") == Some("1"));
        Ok(Self(format!("Root={root}{parent};Sampled={sampled}")))
    }
}

/// `1-<8 hex digits>-<24 hex digits>`
fn is_trace_id(text: &str) -> bool {
    let mut parts = text.split('-');
    let (version, time, random) = (parts.next(), parts.next(), parts.next());
    let is = |part: Option<&str>, digits| part.is_some_and(|part| is_hex(part, digits));
    version == Some("1") && is(time, 8) && is(random, 24) && parts.next().is_none()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

    #[track_caller]
    fn check_header(text: &str, expected: Option<&str>) {
        let header = text.parse::<TraceHeader>().ok();
        assert_eq!(header.as_ref().map(TraceHeader::as_str), expected, "{text}");
    }

    #[test]
    fn a_header_is_stored_in_one_form() {
        let whole = format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
        check_header(&whole, Some(&whole));
        check_header(
            &format!("Self=x; {whole};Lineage=1:a87bd80c:0"),
            Some(&whole),
        );
        check_header(ROOT, Some(&format!("{ROOT};Sampled=0")));
        check_header(
            &format!("{ROOT};Parent=x;Sampled=?"),
            Some(&format!("{ROOT};Sampled=0")),
        );
    }

    #[test]
    fn a_trace_is_open_for_thirty_days() {
        let header: TraceHeader = ROOT.parse().unwrap();
        let at = |days: u64| {
            Timestamp::from_millis(0x5759_e988 * 1_000).plus(Duration::from_hours(24 * days))
        };
        assert_eq!(
            [0, 29, 30, 400].map(|days| header.is_open(at(days))),
            [true, true, false, false]
        );
    }

    #[test]
    fn what_names_no_trace_is_refused() {
        let long = format!("{ROOT}-0");
        for text in [
            "",
            "Root=",
            "Root=1-5759e988",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            &long,
        ] {
            check_header(text, None);
        }
        check_header("Root=1-5759e98Z-bd862e3fe1be46a994272793", None);
    }

    #[test]
    fn the_trace_id_is_its_root() {
        let header: TraceHeader = format!("{ROOT};Sampled=1").parse().unwrap();
        assert_eq!(header.trace_id(), "1-5759e988-bd862e3fe1be46a994272793");
    }
}
