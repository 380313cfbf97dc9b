//! Families of the text format, and what goes into them.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::core::control::state::ServiceState;
use crate::core::control::word::Word;

pub type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

pub fn service_labels(service: &ServiceState) -> Labels<'_, 3> {
    [("virtual_server", &service.virtual_server), ("service", &service.service), ("family", service.family.word())]
}

pub fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// Exact up to 2⁵³; Prometheus has no other numbers.
pub fn float(value: u64) -> f64 {
    value as f64
}

/// A number with its labels; which kind of metric it is comes with the family.
pub fn sample(labels: &[(&'static str, &str)], value: f64) -> Metric {
    let mut metric = Metric::default();
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    metric.set_label(pairs.collect());
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

/// A histogram of these classes: upper end, and how many there are up to it. The encoder adds the class without end.
pub fn distribution(labels: &[(&'static str, &str)], classes: &[(f64, u64)], count: u64, sum: f64) -> Metric {
    let mut metric = sample(labels, 0.0);
    let mut histogram = Histogram::default();
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    let buckets = classes.iter().map(|(end, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*end);
        bucket.set_cumulative_count(*count);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    metric.set_histogram(histogram);
    metric
}

#[derive(Default)]
pub struct Families(pub Vec<MetricFamily>);

impl Families {
    pub fn gauge(&mut self, name: &str, help: &str, samples: Vec<Metric>) {
        self.add(MetricType::GAUGE, name, help, samples);
    }

    pub fn counter(&mut self, name: &str, help: &str, mut samples: Vec<Metric>) {
        for metric in &mut samples {
            let mut counter = Counter::default();
            counter.set_value(metric.get_gauge().get_value());
            metric.set_counter(counter);
        }
        self.add(MetricType::COUNTER, name, help, samples);
    }

    pub fn histogram(&mut self, name: &str, help: &str, samples: Vec<Metric>) {
        self.add(MetricType::HISTOGRAM, name, help, samples);
    }

    /// A family without samples is left out: the format has no use for it.
    fn add(&mut self, kind: MetricType, name: &str, help: &str, samples: Vec<Metric>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples);
        self.0.push(family);
    }
}
