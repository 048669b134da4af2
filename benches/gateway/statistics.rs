//! Medians and percentiles, and how figures are written.
//!
//! Takes figures in any order. Deliberately no means: one disturbed round would move them.

/// The figure in the middle.
pub fn median(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The median, and the lowest and the highest figure beside it.
pub fn median_and_range(figures: &[f64]) -> String {
    let sorted = sorted(figures);
    let (lowest, highest) = (sorted[0], sorted[sorted.len() - 1]);
    format!("{} ({}-{})", figure(median(figures)), figure(lowest), figure(highest))
}

/// The figure that this share of them, between 0 and 1, does not exceed.
pub fn percentile(figures: &[f64], share: f64) -> f64 {
    let sorted = sorted(figures);
    // A share of a count is small and never negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Three digits or so, with commas between thousands.
pub fn figure(value: f64) -> String {
    if value.abs() < 9.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A ratio, with two digits behind the point.
pub fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    assert!(!figures.is_empty(), "nothing was measured");
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
