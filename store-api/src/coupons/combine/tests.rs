//! The best combination, held to trying everything.

use proptest::prelude::*;

use super::*;

fn coupon(id: &str, lines: u64, discount: Discount) -> Candidate {
    Candidate {
        id: id.to_owned(),
        name: id.to_owned(),
        ends_at: 0,
        stackable: true,
        of_publisher: false,
        discount,
        lines,
    }
}

const fn part(percent: u8) -> Discount {
    Discount::Percent {
        percent,
        cap: i64::MAX,
    }
}

const fn fixed(amount: i64) -> Discount {
    Discount::Fixed { amount }
}

fn total(combination: &Combination) -> i64 {
    combination.used.iter().map(|used| used.off).sum()
}

fn ids(combination: &Combination) -> Vec<&str> {
    combination
        .used
        .iter()
        .map(|used| used.id.as_str())
        .collect()
}

#[test]
fn parts_come_before_amounts() {
    // 20 % of 1000 and then 300: the other way round 140 would come off, and 300.
    let coupons = [coupon("a", 1, fixed(300)), coupon("b", 1, part(20))];
    let best = best(&[1000], &coupons);
    assert_eq!(ids(&best), ["b", "a"]);
    assert_eq!(total(&best), 500);
}

#[test]
fn what_comes_off_is_spread_over_what_it_is_for() {
    let coupons = [coupon("a", 0b101, fixed(100))];
    let best = best(&[333, 1000, 667], &coupons);
    let off: Vec<i64> = best.lines.iter().map(|line| line.total()).collect();
    assert_eq!(off, [34, 0, 66]);
}

#[test]
fn one_that_stands_alone_is_weighed_against_several() {
    let mut alone = coupon("alone", 1, fixed(500));
    alone.stackable = false;
    let mut coupons = vec![
        alone,
        coupon("a", 1, fixed(300)),
        coupon("b", 1, fixed(199)),
    ];
    assert_eq!(ids(&best(&[1000], &coupons)), ["alone"]);
    coupons[2].discount = fixed(201);
    assert_eq!(ids(&best(&[1000], &coupons)), ["a", "b"]);
    // As much off with one as with two: one is used.
    coupons[2].discount = fixed(200);
    assert_eq!(ids(&best(&[1000], &coupons)), ["alone"]);
}

#[test]
fn of_equals_the_one_that_ends_first_is_used() {
    let mut coupons = vec![coupon("a", 1, fixed(100)), coupon("b", 1, fixed(100))];
    assert_eq!(ids(&best(&[100], &coupons)), ["a"]);
    coupons[0].ends_at = 1;
    assert_eq!(ids(&best(&[100], &coupons)), ["b"]);
}

#[test]
fn nothing_is_used_where_nothing_comes_off() {
    let coupons = [coupon("a", 0b10, part(50)), coupon("b", 1, part(50))];
    assert_eq!(best(&[0], &coupons), Combination::none(1));
    assert_eq!(best(&[1], &[]), Combination::none(1));
}

#[test]
fn many_coupons_are_weighed_in_a_moment() {
    // Every set is as good as every other, so that none can be left out early.
    let coupons: Vec<_> = (0..500)
        .map(|number| coupon(&format!("{number:03}"), u64::MAX >> 14, part(10)))
        .collect();
    let prices = [999; 50];
    let began = std::time::Instant::now();
    assert_eq!(ids(&best(&prices, &coupons)), ["000", "001", "002"]);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// How a set ranks, the least first, and its coupons in the order in which they are applied.
type Ranked = (i64, usize, Vec<(i64, String)>, Vec<String>);

/// The best of all sets, each applied as the rules say, step by step and without any shortcut.
fn brute_force(prices: &[i64], coupons: &[Candidate]) -> (i64, Vec<String>) {
    let mut all: Vec<Ranked> = vec![(0, 0, Vec::new(), Vec::new())];
    for set in 0..1_u32 << coupons.len() {
        let chosen = |place: &usize| set >> place & 1 == 1;
        let mut chosen: Vec<&Candidate> = (0..coupons.len())
            .filter(chosen)
            .map(|place| &coupons[place])
            .collect();
        let together = chosen.len() < 2 || chosen.iter().all(|coupon| coupon.stackable);
        if chosen.len() > 3 || !together {
            continue;
        }
        chosen.sort_by(|a, b| {
            let fixed = |c: &Candidate| matches!(c.discount, Discount::Fixed { .. });
            (fixed(a), a.ends_at, &a.id).cmp(&(fixed(b), b.ends_at, &b.id))
        });
        let mut left: Vec<i128> = prices.iter().map(|price| i128::from(*price)).collect();
        let before: i128 = left.iter().sum();
        for coupon in &chosen {
            let mine: Vec<usize> = (0..left.len())
                .filter(|n| coupon.lines >> n & 1 == 1)
                .collect();
            let sum: i128 = mine.iter().map(|n| left[*n]).sum();
            let off = match coupon.discount {
                Discount::Percent { percent, cap } => {
                    (sum * i128::from(percent) / 100).min(i128::from(cap))
                }
                Discount::Fixed { amount } => sum.min(i128::from(amount)),
            };
            if off == 0 {
                continue;
            }
            let shares: Vec<i128> = mine.iter().map(|n| off * left[*n] / sum).collect();
            let mut rest = off - shares.iter().sum::<i128>();
            for (n, share) in mine.iter().zip(shares) {
                let more = i128::from(rest > 0 && share < left[*n]);
                left[*n] -= share + more;
                rest -= more;
            }
            assert_eq!(rest, 0, "all of it is spread");
        }
        let total = i64::try_from(before - left.iter().sum::<i128>()).unwrap();
        let mut ends: Vec<_> = chosen.iter().map(|c| (c.ends_at, c.id.clone())).collect();
        ends.sort();
        let names = chosen.iter().map(|c| c.id.clone()).collect();
        all.push((-total, chosen.len(), ends, names));
    }
    let (total, _, _, names) = all.into_iter().min().unwrap();
    (-total, names)
}

fn discounts() -> impl Strategy<Value = Discount> {
    prop_oneof![
        (1_u8..=100, prop_oneof![Just(i64::MAX), 1_i64..2000])
            .prop_map(|(percent, cap)| Discount::Percent { percent, cap }),
        (1_i64..3000).prop_map(fixed),
    ]
}

prop_compose! {
    fn candidates()(
        number in 0..20_u8,
        lines in 0_u64..64,
        discount in discounts(),
        ends_at in 0_i64..3,
        stackable in prop::bool::weighted(0.7),
        of_publisher: bool,
    ) -> Candidate {
        Candidate {
            ends_at,
            stackable,
            of_publisher,
            ..coupon(&format!("{number:02}"), lines, discount)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn it_is_the_best_there_is(
        prices in prop::collection::vec(0_i64..3000, 1..7),
        mut coupons in prop::collection::vec(candidates(), 0..9),
        turn in 0_usize..9,
    ) {
        // An id stands for one coupon.
        coupons.sort_by(|a, b| a.id.cmp(&b.id));
        coupons.dedup_by(|a, b| a.id == b.id);
        let found = best(&prices, &coupons);
        let (most, names) = brute_force(&prices, &coupons);
        prop_assert_eq!(total(&found), most);
        prop_assert_eq!(ids(&found), names);
        // In whatever order they come.
        let turn = turn % (coupons.len() + 1);
        coupons.rotate_left(turn);
        prop_assert_eq!(&best(&prices, &coupons), &found);
        // And what comes off is what lines and coupons say, and no line is paid for less than nothing.
        let lines: i64 = found.lines.iter().map(|line| line.total()).sum();
        prop_assert_eq!(lines, total(&found));
        for (line, price) in found.lines.iter().zip(&prices) {
            prop_assert!(line.of_store >= 0 && line.of_publisher >= 0 && line.total() <= *price);
        }
        prop_assert!(found.used.iter().all(|used| used.off > 0));
    }
}
