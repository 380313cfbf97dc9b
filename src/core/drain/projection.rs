//! When will the last connection of a drained server be gone?
//!
//! From the decay of the count alone. It is taken to follow `dn/dt = -c·n^β`, one family for what drains
//! look like: `β = 0` is a straight line (all wait for the same time-out), `β = 1` exponential
//! lifetimes, `β = 1 + 1/α` Pareto's tail with the exponent α, in which the longer a session has lived
//! the longer it will. Both are fitted to the latest part of the drain, in which the count has fallen to a
//! quarter: of POP3 beside IMAP only IMAP is left in the end, and tells of itself.
//!
//! The count at which the curve is over is a matter of chance: of independent lifetimes, none is left
//! with the probability `q` when `-ln q` are expected to be. So the curve is followed down to 2.3, 0.69
//! and 0.11 connections for the 10 %, 50 % and 90 % points, the outer two with what few departures leave
//! uncertain about `c` and `β`.

use std::time::Duration;

/// In a part with fewer departures than this, no slope is looked for.
const SLOPED_BY: f64 = 5.0;
/// The part of the drain that is fitted: since the count was so many times what it is, and at least so
/// many departures.
const WINDOW_TIMES: u64 = 4;
const WINDOW_DEPARTURES: u64 = 60;
/// What lies farther ahead is told as unknown.
const HORIZON: Duration = Duration::from_secs(7 * 86_400);
/// A normal distribution is below this many standard deviations with 90 %.
const Z90: f64 = 1.2816;
/// Before anything is seen, β is 1, give or take this.
const POWER_DOUBT: f64 = 0.7;
/// Slower than a straight line at first, faster at the end.
const POWER_MIN: f64 = -1.0;
const POWER_MAX: f64 = 3.0;

/// The count at a time after the begin of the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub at: Duration,
    pub left: u64,
}

/// When the last connection will be gone, counted from now. `None`: later than can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// Not before this, with 90 %.
    pub earliest: Option<Duration>,
    /// As probably before as after.
    pub likely: Option<Duration>,
    /// Not after this, with 90 %; `None` also while nothing moves.
    pub latest: Option<Duration>,
}

impl Projection {
    /// Nothing is left.
    pub const OVER: Self =
        Self { earliest: Some(Duration::ZERO), likely: Some(Duration::ZERO), latest: Some(Duration::ZERO) };

    /// What is left at `bound` from now is reset.
    pub fn bounded(self, bound: Duration) -> Self {
        let least = |end: Option<Duration>| Some(end.map_or(bound, |end| end.min(bound)));
        Self { earliest: least(self.earliest), likely: least(self.likely), latest: least(self.latest) }
    }
}

/// `samples` from the begin of the drain to now, in the order of time.
pub fn project(samples: &[Sample]) -> Projection {
    let Some(last) = samples.last() else { return Projection::default() };
    if last.left == 0 {
        return Projection::OVER;
    }
    let most = samples.iter().map(|sample| sample.left).max().unwrap_or(0);
    let high = last.left.saturating_mul(WINDOW_TIMES).max(last.left.saturating_add(WINDOW_DEPARTURES)).min(most);
    // From the last time when there were so many: a flat begin says nothing about the slope.
    let from = samples.iter().rposition(|sample| sample.left >= high).unwrap_or(0);
    let window = samples.get(from..).unwrap_or_default();
    let middle = ((high as f64) * (last.left as f64)).sqrt();
    let split = window.iter().position(|sample| (sample.left as f64) <= middle).unwrap_or(0);
    let (early, late) = (window.get(..=split).unwrap_or_default(), window.get(split..).unwrap_or_default());
    let n = last.left as f64;
    let (Some(whole), Some(all)) = (Part::of(window), Part::of(samples)) else {
        // Nobody has gone: had they gone faster than this, some would have, with 95 %.
        let [Some(first), Some(last)] = [samples.first(), samples.last()] else { return Projection::default() };
        let time = last.at.saturating_sub(first.at).as_secs_f64();
        let earliest = (time > 0.0).then(|| Curve { speed: 3.0 / (n * time), power: 1.0 }.time(n, 0.1)).flatten();
        return Projection { earliest, ..Projection::default() };
    };
    let (power, doubt) = match (Part::of(early), Part::of(late)) {
        (Some(early), Some(late)) if early.departures >= SLOPED_BY && late.departures >= SLOPED_BY => {
            let distance = (early.count / late.count).ln().max(f64::EPSILON);
            let seen = (early.rate() / late.rate()).ln() / distance;
            let variance = (1.0 / early.departures + 1.0 / late.departures) / (distance * distance);
            let trust = POWER_DOUBT.powi(2) / (POWER_DOUBT.powi(2) + variance);
            (1.0 + (seen - 1.0) * trust, (variance * trust).sqrt())
        }
        _ => (1.0, POWER_DOUBT),
    };
    // With hardly any departure in the window, those of the whole drain are better than none.
    let base = if whole.departures >= SLOPED_BY { whole } else { all };
    let curve = |departures: f64, power: f64| {
        let power = power.clamp(POWER_MIN, POWER_MAX);
        Curve { speed: departures / base.time / base.count.powf(power), power }
    };
    let [few, many] = departures_between(base.departures);
    let ends = [
        curve(many, power - Z90 * doubt).time(n, 0.1),
        curve(base.departures, power).time(n, 0.5),
        curve(few, power + Z90 * doubt).time(n, 0.9),
    ];
    let [earliest, likely, latest] = ends;
    // The doubt about β turns the curve around the middle of the window, which for small counts may
    // bring its ends out of order.
    let earliest = earliest.into_iter().chain(likely).min();
    let latest = likely.and_then(|likely| Some(latest?.max(likely)));
    Projection { earliest, likely, latest }
}

/// A stretch of the drain in which some have gone.
#[derive(Clone, Copy)]
struct Part {
    departures: f64,
    /// Seconds.
    time: f64,
    /// Mean count.
    count: f64,
}

impl Part {
    fn of(samples: &[Sample]) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        let (from, to) = (first.left as f64, last.left as f64);
        let time = last.at.saturating_sub(first.at).as_secs_f64();
        // The logarithmic mean: exact where the decay is exponential.
        (from > to && to > 0.0 && time > 0.0).then(|| Self {
            departures: from - to,
            time,
            count: (from - to) / (from / to).ln(),
        })
    }

    /// Departures per second.
    fn rate(&self) -> f64 {
        self.departures / self.time
    }
}

/// Between what the mean of a Poisson distribution lies with 80 %, of which `n` were seen (Wilson and
/// Hilferty 1931).
fn departures_between(n: f64) -> [f64; 2] {
    let bound = |m: f64, z: f64| m * (1.0 - 1.0 / (9.0 * m) + z / (3.0 * m.sqrt())).max(0.0).powi(3);
    [bound(n, -Z90), bound(n + 1.0, Z90)]
}

/// `dn/dt = -speed·n^power`
struct Curve {
    speed: f64,
    power: f64,
}

impl Curve {
    /// How long until none of `n` is left with the probability `q`.
    fn time(&self, n: f64, q: f64) -> Option<Duration> {
        // Exactly n·(1 - q^(1/n)), which for a single one is 1 - q.
        let end = -n * (q.ln() / n).exp_m1();
        let rest = 1.0 - self.power;
        let way = if rest.abs() < 1e-6 { (n / end).ln() } else { (n.powf(rest) - end.powf(rest)) / rest };
        let time = way / self.speed;
        (time.is_finite() && time <= HORIZON.as_secs_f64()).then(|| Duration::from_secs_f64(time.max(0.0)))
    }
}

#[cfg(test)]
mod tests;
