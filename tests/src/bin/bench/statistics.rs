//! Medians, percentiles and spreads of a few samples.

/// The middle of the samples; of an even number of them, the mean of the two in the middle.
///
/// # Panics
/// Without samples.
pub fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// The smallest sample that at least `percent` of all samples do not exceed.
///
/// # Panics
/// Without samples.
pub fn percentile(samples: &[f64], percent: usize) -> f64 {
    let sorted = sorted(samples);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.saturating_sub(1)]
}

/// The smallest and the largest sample.
///
/// # Panics
/// Without samples.
pub fn range(samples: &[f64]) -> (f64, f64) {
    let sorted = sorted(samples);
    (sorted[0], sorted[sorted.len() - 1])
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    assert!(!samples.is_empty(), "a figure needs a sample");
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: f64, right: f64) -> bool {
        left.total_cmp(&right).is_eq()
    }

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert!(same(median(&[9.0, 1.0, 5.0]), 5.0));
        assert!(same(median(&[4.0, 1.0, 9.0, 2.0]), 3.0));
        assert!(same(median(&[7.0]), 7.0));
    }

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!(same(percentile(&hundred, 99), 99.0));
        assert!(same(percentile(&hundred, 50), 50.0));
        assert!(same(percentile(&[3.0, 1.0], 99), 3.0));
        assert!(same(percentile(&[3.0], 1), 3.0));
    }

    #[test]
    fn the_range_is_from_the_smallest_to_the_largest() {
        let (low, high) = range(&[3.0, -1.0, 2.0]);
        assert!(same(low, -1.0) && same(high, 3.0));
    }
}
