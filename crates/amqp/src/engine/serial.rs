//! Serial numbers (RFC 1982): counters of 32 bits that begin anew after the last one.

/// The half of all numbers: those at most so far ahead come after.
const HALF: u32 = 1 << 31;

/// Whether the first number comes before the second.
pub(super) const fn is_before(first: u32, second: u32) -> bool {
    first != second && second.wrapping_sub(first) < HALF
}

/// How far it is from the first number to the second; 0 if the second comes before.
pub(super) const fn distance(first: u32, second: u32) -> u32 {
    if is_before(first, second) { second.wrapping_sub(first) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_the_wrap_comes_after_one_before_it() {
        for (first, second, steps) in [
            (0, 1, Some(1)),
            (u32::MAX, 0, Some(1)),
            (u32::MAX - 2, 4, Some(7)),
            (7, 7, None),
            (1, 0, None),
            (0, u32::MAX, None),
            (0, HALF - 1, Some(HALF - 1)),
            (0, HALF, None),
            (HALF, 0, None),
        ] {
            assert_eq!(is_before(first, second), steps.is_some(), "{first} before {second}");
            assert_eq!(distance(first, second), steps.unwrap_or(0), "{first} to {second}");
        }
    }
}
