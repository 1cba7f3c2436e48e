//! `CloudWatch` as far as the template's alarms need it: metrics by their dimensions, statistics,
//! the part of metric math that the alarms are written in, and when an alarm fires (Amazon
//! `CloudWatch` user guide, "Alarm evaluation", "Using metric math").
//!
//! Periods begin at multiples of their length. [`Metrics::fired`] takes by how much the metrics are
//! moved against these, so that a test can show that an alarm fires wherever a period's edge falls.

mod expressions;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use saphyr::Yaml;
use serde_json::Value;

use self::expressions::{Formula, Rule};

/// The name and dimensions of a metric.
type Name = (String, String, BTreeMap<String, String>);

/// What was written.
#[derive(Default)]
pub(crate) struct Metrics {
    samples: BTreeMap<Name, Vec<(u64, f64)>>,
}

impl Metrics {
    /// Takes one value, as of so many seconds.
    pub(crate) fn put(
        &mut self,
        (namespace, name): (&str, &str),
        dimensions: &[(&str, &str)],
        at: u64,
        value: f64,
    ) {
        let dimensions = dimensions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.samples
            .entry((namespace.to_owned(), name.to_owned(), dimensions))
            .or_default()
            .push((at, value));
    }

    /// Takes a document in the embedded metric format, whose values it has under the names that it
    /// declares.
    pub(crate) fn take(&mut self, document: &Value, at: u64) {
        let Some(directives) = document["_aws"]["CloudWatchMetrics"].as_array() else {
            return;
        };
        for directive in directives {
            let namespace = directive["Namespace"].as_str().unwrap();
            for set in directive["Dimensions"].as_array().unwrap() {
                let names = set
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|name| name.as_str().unwrap());
                let dimensions: Vec<(&str, &str)> = names
                    .map(|name| (name, document[name].as_str().unwrap()))
                    .collect();
                for metric in directive["Metrics"].as_array().unwrap() {
                    let name = metric["Name"].as_str().unwrap();
                    match &document[name] {
                        Value::Array(values) => {
                            for value in values {
                                self.put(
                                    (namespace, name),
                                    &dimensions,
                                    at,
                                    value.as_f64().unwrap(),
                                );
                            }
                        }
                        value => {
                            self.put((namespace, name), &dimensions, at, value.as_f64().unwrap());
                        }
                    }
                }
            }
        }
    }

    /// The alarms of the template that fire at some time, if all that was written had been written
    /// `offset` seconds later.
    pub(crate) fn fired(&self, template: &Yaml<'_>, offset: u64) -> BTreeSet<String> {
        let of_type = |kind: &'static str| {
            let all = template["Resources"].as_mapping().unwrap().iter();
            all.filter(move |(_, resource)| resource["Type"].as_str() == Some(kind))
                .map(|(name, resource)| {
                    (name.as_str().unwrap().to_owned(), &resource["Properties"])
                })
        };
        let on: BTreeMap<String, BTreeSet<u64>> = of_type("AWS::CloudWatch::Alarm")
            .map(|(name, alarm)| (name, self.minutes_on(&Alarm { template, alarm }, offset)))
            .collect();
        let mut fired: BTreeSet<String> = on
            .iter()
            .filter(|(_, minutes)| !minutes.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        let minutes: BTreeSet<u64> = on.values().flatten().copied().collect();
        for minute in minutes {
            let is_on = on.iter().filter(|(_, minutes)| minutes.contains(&minute));
            let mut now: BTreeSet<String> = is_on.map(|(name, _)| name.clone()).collect();
            // A composite alarm may name one before it.
            for (name, composite) in of_type("AWS::CloudWatch::CompositeAlarm") {
                if (Rule {
                    rest: &text(&composite["AlarmRule"]),
                    on: &now,
                })
                .any()
                {
                    now.insert(name);
                }
            }
            fired.append(&mut now);
        }
        fired
    }

    /// The minutes in which an alarm on metrics is on.
    fn minutes_on(&self, alarm: &Alarm<'_>, offset: u64) -> BTreeSet<u64> {
        let period = alarm.period();
        let (evaluated, needed) = (
            alarm.number("EvaluationPeriods"),
            alarm.number_or("DatapointsToAlarm", "EvaluationPeriods"),
        );
        let moments: Vec<u64> = self
            .samples
            .values()
            .flatten()
            .map(|(at, _)| at + offset)
            .collect();
        let (Some(first), Some(last)) = (moments.iter().min(), moments.iter().max()) else {
            return BTreeSet::new();
        };
        // Nothing is missing of a period that began before the first moment or ended after the
        // last.
        let mut states = Vec::new();
        let mut minutes = BTreeSet::new();
        for index in first / period..=last / period {
            let value = alarm.value(self, index, offset);
            let is_whole = index * period >= *first && (index + 1) * period <= *last;
            states.push(value.map_or_else(
                || is_whole && alarm.missing_breaches(),
                |value| alarm.breaches(value),
            ));
            let breaching = states
                .iter()
                .rev()
                .take(usize::try_from(evaluated).unwrap())
                .filter(|on| **on)
                .count();
            if breaching as u64 >= needed {
                let end = (index + 1) * period;
                minutes.extend(end / 60..(end + period) / 60);
            }
        }
        minutes
    }

    /// The statistic of a metric in the `window`, if all had been written `offset` seconds later.
    fn statistic(
        &self,
        metric: &Name,
        window: &Range<u64>,
        offset: u64,
        statistic: &str,
    ) -> Option<f64> {
        let samples = self
            .samples
            .get(metric)?
            .iter()
            .filter(|(at, _)| window.contains(&(at + offset)));
        let mut values: Vec<f64> = samples.map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let (count, sum) = (values.len(), values.iter().sum::<f64>());
        let (least, most) = (values.first()?, values.last()?);
        #[expect(clippy::cast_precision_loss, reason = "few values")]
        let of = |count: usize| count as f64;
        Some(match statistic {
            "Sum" => sum,
            "SampleCount" => of(count),
            "Average" => sum / of(count),
            "Minimum" => *least,
            "Maximum" => *most,
            percentile => {
                let share: f64 = percentile.strip_prefix('p').unwrap().parse().unwrap();
                let rank = values
                    .iter()
                    .enumerate()
                    .find(|(place, _)| of(place + 1) >= of(count) * share / 100.0);
                *rank.unwrap().1
            }
        })
    }
}

/// An alarm on metrics.
struct Alarm<'a> {
    template: &'a Yaml<'a>,
    alarm: &'a Yaml<'a>,
}

impl Alarm<'_> {
    /// A number of the alarm, or the default of the parameter that it refers to.
    fn number_of(&self, node: &Yaml<'_>) -> f64 {
        let node = match node {
            Yaml::Tagged(_, parameter) => {
                &self.template["Parameters"][parameter.as_str().unwrap()]["Default"]
            }
            node => node,
        };
        #[expect(clippy::cast_precision_loss, reason = "small numbers of a template")]
        node.as_floating_point()
            .or_else(|| node.as_integer().map(|number| number as f64))
            .unwrap()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small numbers of a template"
    )]
    fn number(&self, name: &str) -> u64 {
        self.number_of(&self.alarm[name]) as u64
    }

    fn number_or(&self, name: &'static str, otherwise: &'static str) -> u64 {
        let is_there = self.alarm.as_mapping_get(name).is_some();
        self.number(if is_there { name } else { otherwise })
    }

    fn parts(&self) -> impl Iterator<Item = &Yaml<'_>> {
        self.alarm
            .as_mapping_get("Metrics")
            .and_then(Yaml::as_sequence)
            .into_iter()
            .flatten()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small numbers of a template"
    )]
    fn period(&self) -> u64 {
        let mut parts = self
            .parts()
            .filter_map(|part| part.as_mapping_get("MetricStat"));
        self.number_of(&parts.next().unwrap_or(self.alarm)["Period"]) as u64
    }

    fn missing_breaches(&self) -> bool {
        match self.alarm["TreatMissingData"].as_str() {
            Some("notBreaching") => false,
            Some("breaching") => true,
            other => panic!("{other:?}"),
        }
    }

    fn breaches(&self, value: f64) -> bool {
        let threshold = self.number_of(&self.alarm["Threshold"]);
        match self.alarm["ComparisonOperator"].as_str() {
            Some("GreaterThanOrEqualToThreshold") => value >= threshold,
            Some("GreaterThanThreshold") => value > threshold,
            Some("LessThanThreshold") => value < threshold,
            other => panic!("{other:?}"),
        }
    }

    /// The value that is held against the threshold, of one period.
    fn value(&self, metrics: &Metrics, index: u64, offset: u64) -> Option<f64> {
        let window = index * self.period()..(index + 1) * self.period();
        let of = |metric: &Yaml<'_>, statistic: &str| {
            metrics.statistic(&self.name_of(metric), &window, offset, statistic)
        };
        if self.parts().next().is_none() {
            let properties = self.alarm;
            let statistic = ["Statistic", "ExtendedStatistic"]
                .iter()
                .find_map(|name| properties.as_mapping_get(name));
            return of(properties, statistic.unwrap().as_str().unwrap());
        }
        let (mut measured, mut expression) = (BTreeMap::new(), None);
        for part in self.parts() {
            match part.as_mapping_get("MetricStat") {
                Some(stat) => {
                    let value = of(&stat["Metric"], stat["Stat"].as_str().unwrap());
                    measured.insert(part["Id"].as_str().unwrap(), value);
                }
                None => expression = part["Expression"].as_str(),
            }
        }
        let mut formula = Formula {
            rest: expression.unwrap(),
            measured: &measured,
        };
        let value = formula.comparison();
        assert_eq!(
            formula.rest.trim(),
            "",
            "the formula is not understood from here on"
        );
        value
    }

    fn name_of(&self, metric: &Yaml<'_>) -> Name {
        let dimension = |dimension: &Yaml<'_>| {
            let value = match &dimension["Value"] {
                // What a parameter is by default; of a resource, its name in the template.
                Yaml::Tagged(_, name) => {
                    let name = name.as_str().unwrap();
                    let parameter = self.template["Parameters"].as_mapping_get(name);
                    parameter
                        .map_or(name, |parameter| parameter["Default"].as_str().unwrap())
                        .to_owned()
                }
                value => value.as_str().unwrap().to_owned(),
            };
            (dimension["Name"].as_str().unwrap().to_owned(), value)
        };
        let dimensions = metric["Dimensions"]
            .as_sequence()
            .unwrap()
            .iter()
            .map(dimension)
            .collect();
        let name = text(&metric["MetricName"]);
        (text(&metric["Namespace"]), name, dimensions)
    }
}

/// A text, tagged or not.
fn text(node: &Yaml<'_>) -> String {
    match node {
        Yaml::Tagged(_, inner) => text(inner),
        node => node.as_str().unwrap().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use saphyr::LoadableYamlNode;

    use super::*;

    /// Whether an alarm with these properties fires over these values of a minute each, at some
    /// place of its periods' edges.
    #[track_caller]
    fn check(properties: &str, values: &[Option<f64>], fires: bool) {
        let alarm = format!(
            "Resources: {{ A: {{ Type: AWS::CloudWatch::Alarm, Properties: {{ Namespace: N, MetricName: M, Dimensions: [], {properties} }} }} }}"
        );
        let template = Yaml::load_from_str(&alarm).unwrap().remove(0);
        let mut metrics = Metrics::default();
        for (minute, value) in (0_u64..).zip(values) {
            metrics.put(("N", "other"), &[], minute * 60, 0.0);
            if let Some(value) = value {
                metrics.put(("N", "M"), &[], minute * 60, *value);
            }
        }
        assert_eq!(
            !metrics.fired(&template, 0).is_empty(),
            fires,
            "{properties}: {values:?}"
        );
    }

    const SUM: &str = "Statistic: Sum, Period: 60, ComparisonOperator: GreaterThanOrEqualToThreshold, Threshold: 2";

    #[test]
    fn an_alarm_fires_if_enough_of_the_last_periods_breach() {
        let two_of_three = format!(
            "{SUM}, EvaluationPeriods: 3, DatapointsToAlarm: 2, TreatMissingData: notBreaching"
        );
        check(&two_of_three, &[Some(2.0), Some(0.0), Some(2.0)], true);
        check(&two_of_three, &[Some(2.0), None, Some(2.0)], true);
        check(&two_of_three, &[Some(2.0), None, None, Some(2.0)], false);
        check(&two_of_three, &[Some(1.0), Some(1.0), Some(1.0)], false);
        let three = format!("{SUM}, EvaluationPeriods: 3, TreatMissingData: notBreaching");
        check(&three, &[Some(2.0), Some(2.0), None], false);
        check(&three, &[Some(2.0), Some(2.0), Some(2.0)], true);
    }

    #[test]
    fn missing_data_breach_only_where_the_alarm_says_so() {
        let quiet = "Statistic: Sum, Period: 60, EvaluationPeriods: 1, ComparisonOperator: LessThanThreshold, Threshold: 1";
        check(
            &format!("{quiet}, TreatMissingData: breaching"),
            &[Some(1.0), None, Some(1.0)],
            true,
        );
        check(
            &format!("{quiet}, TreatMissingData: breaching"),
            &[Some(1.0), None],
            false,
        );
        check(
            &format!("{quiet}, TreatMissingData: notBreaching"),
            &[Some(1.0), None, Some(1.0)],
            false,
        );
        check(
            &format!("{quiet}, TreatMissingData: breaching"),
            &[Some(1.0), Some(1.0)],
            false,
        );
    }

    #[test]
    fn formulas_mean_what_the_guide_says() {
        let measured = BTreeMap::from([("a", Some(6.0)), ("b", None), ("c", Some(2.0))]);
        let value = |rest| {
            Formula {
                rest,
                measured: &measured,
            }
            .comparison()
        };
        assert_eq!(value("FILL(b, 0) + a / c * 2 - 1"), Some(5.0));
        assert_eq!(value("a + b"), None);
        assert_eq!(value("a / FILL(b, 0)"), None);
        assert_eq!(
            value("IF(a + FILL(b, 0) >= 6, (a - c) / 0.5, 0)"),
            Some(8.0)
        );
        assert_eq!(value("IF(a >= 7, 1, 0)"), Some(0.0));
    }

    #[test]
    fn a_composite_alarm_follows_its_rule() {
        let is_on = |on: &[&str]| {
            let on = on.iter().map(ToString::to_string).collect();
            Rule {
                rest: r#"(ALARM("${A}") AND ALARM("${B}")) OR ALARM("${C}")"#,
                on: &on,
            }
            .any()
        };
        assert_eq!(
            [is_on(&["A"]), is_on(&["A", "B"]), is_on(&["C"]), is_on(&[])],
            [false, true, true, false]
        );
    }
}
