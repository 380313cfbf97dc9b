//! What the monitoring is given: alerts, dashboard and pages against the metrics that there are, and a true Prometheus
//! that scrapes a balancer in the lab. Needs root, and Debian's `prometheus`.
#[path = "monitoring/files.rs"]
mod files;
#[path = "monitoring/prometheus.rs"]
mod prometheus;
// What this suite does not use of it, others do.
#[allow(dead_code, unused_imports)]
#[path = "http_support/mod.rs"]
mod support;
