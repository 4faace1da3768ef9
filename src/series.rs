//! The series of a metric, each looked up once. It knows no label.
//!
//! Prometheus' vectors hash the label values and take a lock for each look-up. Where all values are constants of the
//! program, a series that was found is kept, and found again by where its values lie in memory. Only for metrics of which
//! no series is ever removed: what is counted in a removed one is seen by nobody.

use std::fmt;
use std::ptr;
use std::sync::{Arc, OnceLock};

use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

/// Series of one metric that are kept, at most; the others are looked up each time. No metric has half as many that are
/// usual.
const KEPT_MAX: usize = 1 << KEPT_BITS;

const KEPT_BITS: u32 = 7;

/// Places at which a series may be kept.
const PLACES: usize = 8;

/// Counters with `L` labels.
pub type Counters<const L: usize> = Series<IntCounterVec, L>;

/// Histograms with `L` labels.
pub type Histograms<const L: usize> = Series<HistogramVec, L>;

/// A metric with `L` labels. Clones share what they have found.
#[derive(Clone)]
pub struct Series<V: Vector, const L: usize> {
    vector: V,
    kept: Arc<[OnceLock<Kept<V::One, L>>]>,
}

/// One series under its label values. The same text at two places in memory makes two of these for one series.
type Kept<M, const L: usize> = ([&'static str; L], M);

/// What series are looked up in.
pub trait Vector {
    /// One series.
    type One;

    /// Makes the series where there is none.
    fn find(&self, values: &[&'static str]) -> Self::One;
}

impl<B: MetricVecBuilder> Vector for MetricVec<B> {
    type One = B::M;

    fn find(&self, values: &[&'static str]) -> B::M {
        self.with_label_values(values)
    }
}

impl<const L: usize> Counters<L> {
    /// Makes counters with these labels and registers them. There is no series yet.
    pub fn register(registry: &Registry, opts: Opts, labels: [&str; L]) -> Result<Self, Error> {
        let vector = IntCounterVec::new(opts, &labels)?;
        registry.register(Box::new(vector.clone()))?;
        Ok(Self::of(vector))
    }

    /// Counts one.
    pub fn inc(&self, values: [&'static str; L]) {
        self.with(values, IntCounter::inc);
    }

    /// Counts one where a value is no constant; there are few of them all the same.
    pub fn inc_any(&self, values: [&str; L]) {
        self.vector.with_label_values(&values).inc();
    }

    /// What was counted.
    #[cfg(test)]
    pub fn count(&self, values: [&'static str; L]) -> u64 {
        self.with(values, IntCounter::get)
    }

    /// From now on there is this series, at zero if nothing was counted.
    pub fn show(&self, values: [&'static str; L]) {
        self.with(values, |_| ());
    }
}

impl<const L: usize> Histograms<L> {
    /// Makes histograms with these labels and registers them. There is no series yet.
    pub fn register(registry: &Registry, opts: HistogramOpts, labels: [&str; L]) -> Result<Self, Error> {
        let vector = HistogramVec::new(opts, &labels)?;
        registry.register(Box::new(vector.clone()))?;
        Ok(Self::of(vector))
    }

    /// Counts one of this size.
    pub fn observe(&self, values: [&'static str; L], size: f64) {
        self.with(values, |one: &Histogram| one.observe(size));
    }
}

impl<V: Vector, const L: usize> Series<V, L> {
    fn of(vector: V) -> Self {
        Self { vector, kept: (0..KEPT_MAX).map(|_| OnceLock::new()).collect() }
    }

    fn with<R>(&self, values: [&'static str; L], act: impl FnOnce(&V::One) -> R) -> R {
        let (before, from) = self.kept.split_at_checked(place(&values)).unwrap_or_default();
        for kept in from.iter().chain(before).take(PLACES) {
            let (known, one) = kept.get_or_init(|| (values, self.vector.find(&values)));
            if known.iter().zip(&values).all(|(known, value)| ptr::eq::<str>(*known, *value)) {
                return act(one);
            }
        }
        act(&self.vector.find(&values))
    }
}

/// Where to begin to look: some bits of where the values lie in memory.
fn place(values: &[&'static str]) -> usize {
    let mixed = values.iter().fold(0, |mixed: u64, value| {
        let address = value.as_ptr().addr() as u64;
        (mixed.rotate_left(5) ^ address).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    usize::try_from(mixed >> (u64::BITS - KEPT_BITS)).unwrap_or(0)
}

impl<V: Vector + fmt::Debug, const L: usize> fmt::Debug for Series<V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("vector", &self.vector).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn counters(registry: &Registry) -> Counters<2> {
        Counters::register(registry, Opts::new("c", "c"), ["a", "b"]).expect("a new metric")
    }

    fn shown(registry: &Registry) -> String {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_series_is_there_from_the_first_time_on() {
        let registry = Registry::new();
        let counters = counters(&registry);
        assert_eq!(shown(&registry), "");
        for _ in 0..3 {
            counters.inc(["x", "y"]);
            counters.clone().inc(["y", "x"]);
        }
        counters.inc_any(["y", "x"]);
        counters.show(["z", ""]);
        assert_eq!(counters.count(["y", "x"]), 4);
        assert_eq!(shown(&registry), "c{a=\"x\",b=\"y\"} 3\nc{a=\"y\",b=\"x\"} 4\nc{a=\"z\",b=\"\"} 0\n");
        let times = Histograms::register(&registry, HistogramOpts::new("h", "h").buckets(vec![1.0]), ["a"]);
        let times = times.expect("a new metric");
        times.observe(["x"], 0.5);
        times.observe(["x"], 2.0);
        assert!(shown(&registry).ends_with("h_sum{a=\"x\"} 2.5\nh_count{a=\"x\"} 2\n"), "{}", shown(&registry));
    }

    #[test]
    fn one_text_at_two_places_is_one_series() {
        let registry = Registry::new();
        let counters = counters(&registry);
        let copy: &'static str = String::from("x").leak();
        counters.inc(["x", "y"]);
        counters.inc([copy, "y"]);
        // The same place in memory is not the same text.
        let (part, _rest) = "xx".split_at(1);
        counters.inc([part, "y"]);
        counters.inc(["xx", "y"]);
        assert_eq!(shown(&registry), "c{a=\"x\",b=\"y\"} 3\nc{a=\"xx\",b=\"y\"} 1\n");
    }

    #[test]
    fn what_finds_no_place_is_counted_all_the_same() {
        let registry = Registry::new();
        let counters = counters(&registry);
        let many: Vec<&'static str> = (0..3 * KEPT_MAX).map(|number| &*format!("{number}").leak()).collect();
        for value in many.iter().chain(&many) {
            counters.inc([value, "y"]);
        }
        let shown = shown(&registry);
        assert_eq!((shown.lines().count(), shown.lines().all(|line| line.ends_with(" 2"))), (many.len(), true));
        assert!(counters.kept.iter().filter(|kept| kept.get().is_some()).count() <= KEPT_MAX);
    }

    #[test]
    fn threads_count_in_one_series() {
        let registry = Registry::new();
        let counters = counters(&registry);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counters.inc(["x", "y"])));
            }
        });
        assert_eq!(shown(&registry), "c{a=\"x\",b=\"y\"} 4000\n");
    }
}
