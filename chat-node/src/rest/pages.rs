//! Limits and positions in a query.

use std::ops::RangeInclusive;

use shared::problem::Problem;

/// The limit of a request, or the default; an error names the range.
pub(super) fn limit(
    asked: Option<u32>,
    range: RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(default);
    if range.contains(&limit) {
        return Ok(limit);
    }
    let allowed = format!("is {} to {}", range.start(), range.end());
    Err(Problem::invalid(format!("limit {allowed}")).field("limit", allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_out_of_range_is_told_the_range() {
        assert_eq!(limit(None, 1..=100, 50), Ok(50));
        assert_eq!(limit(Some(100), 1..=100, 50), Ok(100));
        for wrong in [0, 101] {
            let problem = limit(Some(wrong), 1..=100, 50).unwrap_err();
            assert_eq!(problem.detail, "limit is 1 to 100");
            assert_eq!(problem.errors[0].field, "limit");
        }
    }
}
