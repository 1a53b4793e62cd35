//! [`Page`]: one metric after the other onto an OpenMetrics page, each with its help text.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

/// A label and its value.
pub type Label = (&'static str, String);

/// The page that is being written.
pub struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    /// Writes where the encoder does.
    pub fn new(encoder: DescriptorEncoder<'a>) -> Page<'a> {
        Page(encoder)
    }

    fn begin<'s>(
        &'s mut self,
        (name, unit): (&'s str, Option<&'s Unit>),
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    /// A number of things that can fall.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.begin((name, None), help, MetricType::Gauge)?)
    }

    /// A measure that can fall; the unit is added to the name.
    pub fn gauge_in(&mut self, name: &str, help: &str, (unit, value): (Unit, u64)) -> fmt::Result {
        ConstGauge::new(value).encode(self.begin((name, Some(&unit)), help, MetricType::Gauge)?)
    }

    /// A time that can fall; `_seconds` is added to the name.
    pub fn time(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        let encoder = self.begin((name, Some(&Unit::Seconds)), help, MetricType::Gauge)?;
        ConstGauge::new(value.as_secs_f64()).encode(encoder)
    }

    /// A number that only grows; `_total` is added to the name.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.begin((name, None), help, MetricType::Counter)?)
    }

    /// A measure that only grows; the unit and `_total` are added to the name.
    pub fn counter_in(&mut self, name: &str, help: &str, (unit, value): (Unit, u64)) -> fmt::Result {
        ConstCounter::new(value).encode(self.begin((name, Some(&unit)), help, MetricType::Counter)?)
    }

    /// A time that only grows; `_seconds_total` is added to the name.
    pub fn seconds_counted(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        let encoder = self.begin((name, Some(&Unit::Seconds)), help, MetricType::Counter)?;
        ConstCounter::new(value.as_secs_f64()).encode(encoder)
    }

    /// Words instead of a number; `_info` is added to the name.
    pub fn info(&mut self, name: &str, help: &str, labels: &[Label]) -> fmt::Result {
        Info::new(labels.to_vec()).encode(self.begin((name, None), help, MetricType::Info)?)
    }

    /// Numbers of things that can fall, one for each set of labels.
    pub fn gauge_each(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin((name, None), help, MetricType::Gauge)?;
        each(values, |labels, value| ConstGauge::new(value).encode(encoder.encode_family(labels)?))
    }

    /// Measures that can fall, the same way; the unit is added to the name.
    pub fn gauge_in_each(
        &mut self,
        name: &str,
        (unit, help): (Unit, &str),
        values: impl Iterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin((name, Some(&unit)), help, MetricType::Gauge)?;
        each(values, |labels, value| ConstGauge::new(value).encode(encoder.encode_family(labels)?))
    }

    /// Numbers that only grow, the same way; `_total` is added to the name.
    pub fn counter_each(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin((name, None), help, MetricType::Counter)?;
        each(values, |labels, value| ConstCounter::new(value).encode(encoder.encode_family(labels)?))
    }

    /// Measures that only grow, the same way; the unit and `_total` are added to the name.
    pub fn counter_in_each(
        &mut self,
        name: &str,
        (unit, help): (Unit, &str),
        values: impl Iterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin((name, Some(&unit)), help, MetricType::Counter)?;
        each(values, |labels, value| ConstCounter::new(value).encode(encoder.encode_family(labels)?))
    }

    /// A 1 for each set of labels.
    pub fn flags<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        sets: impl Iterator<Item = [Label; N]>,
    ) -> fmt::Result {
        let mut encoder = self.begin((name, None), help, MetricType::Gauge)?;
        for labels in sets {
            ConstGauge::new(1_u64).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn each(
    mut values: impl Iterator<Item = (Vec<Label>, u64)>,
    mut write: impl FnMut(&Vec<Label>, u64) -> fmt::Result,
) -> fmt::Result {
    values.try_for_each(|(labels, value)| write(&labels, value))
}
