//! Samples, their median and spread, and the table of them.

use serde::Serialize;

use crate::report::columns;

/// Everything that was measured, and on what.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Figures {
    pub machine: super::machine::Machine,
    pub figures: Vec<Figure>,
}

/// One figure: the median of its samples, their spread, and what it should be.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Figure {
    /// Short and stable, for scripts: `start`, `edit.added`, `mesh.sidecars.p50`.
    pub name: &'static str,
    /// What was measured, for people.
    pub what: String,
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
    /// What it should be; none for figures that others are compared with.
    pub target: Option<Target>,
    /// Whether the median keeps the target.
    pub met: Option<bool>,
}

/// A bound for a median.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Below(f64),
    Above(f64),
}

impl Figure {
    /// The figure of some samples. They must not be empty; a measurement that failed is an error before.
    pub fn of(name: &'static str, what: impl Into<String>, unit: &'static str, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            name,
            what: what.into(),
            unit,
            median: median(&sorted),
            min: sorted.first().copied().unwrap_or(f64::NAN),
            max: sorted.last().copied().unwrap_or(f64::NAN),
            runs: sorted.len(),
            target: None,
            met: None,
        }
    }

    /// With what it should be.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.met = Some(match target {
            Target::Below(bound) => self.median < bound,
            Target::Above(bound) => self.median > bound,
        });
        self.target = Some(target);
        self
    }
}

/// The median of sorted samples.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Figures {
    /// The table for people, fit to be pasted into a README.
    pub fn text(&self) -> String {
        let mut rows = vec![
            ["| figure", "| median", "| min to max", "| runs", "| target", "|"].map(str::to_owned).to_vec(),
        ];
        rows.push(["|---", "|---", "|---", "|---", "|---", "|"].map(str::to_owned).to_vec());
        for figure in &self.figures {
            let target = match (figure.target, figure.met) {
                (Some(Target::Below(bound)), Some(met)) => format!("< {bound} {}", verdict(met)),
                (Some(Target::Above(bound)), Some(met)) => format!("> {bound} {}", verdict(met)),
                _ => String::new(),
            };
            rows.push(vec![
                format!("| {}", figure.what),
                format!("| {} {}", number(figure.median), figure.unit),
                format!("| {} to {}", number(figure.min), number(figure.max)),
                format!("| {}", figure.runs),
                format!("| {target}"),
                "|".to_owned(),
            ]);
        }
        format!("{}\n\n{}", self.machine, columns(&rows))
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "(met)" } else { "(MISSED)" }
}

/// As many digits as say something: 12345, 123, 12.3, 1.23, 0.123.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(Figure::of("a", "", "ms", &[3.0, 1.0, 2.0]).median.to_bits(), 2.0_f64.to_bits());
        assert_eq!(Figure::of("a", "", "ms", &[4.0, 1.0, 2.0, 3.0]).median.to_bits(), 2.5_f64.to_bits());
    }

    #[test]
    fn the_table_says_what_was_missed() {
        let machine = super::super::machine::Machine {
            cpu: "A CPU".into(),
            cores: 2,
            memory_gib: 24,
            kernel: "6.1".into(),
            rustc: "1.95.0".into(),
        };
        let start = Figure::of("start", "warm start", "ms", &[400.0, 410.0]).target(Target::Below(500.0));
        let rate = Figure::of("rate", "throughput", "/s", &[9000.0]).target(Target::Above(20000.0));
        let figures =
            Figures { machine, figures: vec![start, rate, Figure::of("p50", "p50", "ms", &[0.123])] };
        insta::assert_snapshot!(figures.text(), @r"
        A CPU, 2 cores, 24 GiB, Linux 6.1, rustc 1.95.0

        | figure      | median    | min to max      | runs  | target            |
        |---          |---        |---              |---    |---                |
        | warm start  | 405 ms    | 400 to 410      | 2     | < 500 (met)       |
        | throughput  | 9000 /s   | 9000 to 9000    | 1     | > 20000 (MISSED)  |
        | p50         | 0.123 ms  | 0.123 to 0.123  | 1     |                   |
        ");
    }
}
