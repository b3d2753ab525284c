//! What placement promises, in figures: run with `--nocapture` to see them.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

const USERS: usize = 1_000_000;

fn targets(names: impl IntoIterator<Item = usize>) -> Vec<Target> {
    names
        .into_iter()
        .map(|n| Target {
            key: Key::of(&format!("chat-node-{n}")),
            weight: 1.0,
            load: 0,
        })
        .collect()
}

fn users() -> Vec<Key> {
    (0..USERS).map(|n| Key::of(&format!("u{n}"))).collect()
}

/// Where everybody is, as the node's key.
fn placed(users: &[Key], targets: &[Target]) -> Vec<Key> {
    let at = |user: &Key| targets[first(*user, targets).unwrap()].key;
    users.iter().map(at).collect()
}

fn share(placed: &[Key], target: &Target) -> f64 {
    placed.iter().filter(|key| **key == target.key).count() as f64 / placed.len() as f64
}

#[test]
fn users_are_spread_evenly_and_a_node_that_comes_or_goes_moves_only_its_share() {
    let users = users();
    for nodes in [3, 16] {
        let before = targets(0..nodes);
        let after = targets(0..=nodes);
        let came = after[nodes].key;
        let (old, new) = (placed(&users, &before), placed(&users, &after));
        let shares = before.iter().map(|target| share(&old, target));
        let most = shares.fold(0.0, f64::max) * nodes as f64;
        let moved: Vec<usize> = (0..USERS).filter(|n| old[*n] != new[*n]).collect();
        // Read backwards it is the node going: the same users move, and no others.
        let ideal = USERS as f64 / (nodes + 1) as f64;
        let ratio = moved.len() as f64 / ideal;
        println!(
            "{nodes} nodes: max/mean {most:.4}; with one more {} of {USERS} moved, {ratio:.4} of the ideal",
            moved.len()
        );
        assert!(most < 1.02, "{nodes} nodes: {most}");
        assert!(ratio <= 1.02, "{nodes}: {ratio}");
        assert!(
            moved.iter().all(|n| new[*n] == came),
            "somebody moved between nodes that both stayed"
        );
    }
}

#[test]
fn weights_are_shares() {
    let users = users();
    let mut targets = targets(0..4);
    for (target, weight) in targets.iter_mut().zip([1.0, 2.0, 3.0, 0.5]) {
        target.weight = weight;
    }
    let before = placed(&users, &targets);
    for target in &targets {
        let (share, ideal) = (share(&before, target), target.weight / 6.5);
        println!("weight {}: {share:.4}, ideal {ideal:.4}", target.weight);
        assert!((share / ideal - 1.0).abs() < 0.02, "{target:?}: {share}");
    }
    // More weight takes from all others and gives to none of them.
    targets[3].weight = 1.5;
    let after = placed(&users, &targets);
    let grown = targets[3].key;
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(a, b)| a == b || *b == grown)
    );
}

#[test]
fn where_somebody_is_does_not_change_between_versions() {
    let targets = targets(0..5);
    let places: Vec<usize> = ["u1", "ann", "01J9ZQ", ""]
        .iter()
        .map(|user| first(Key::of(user), &targets).unwrap())
        .collect();
    assert_eq!(places, GOLDEN, "every balancer has to find the same");
}

const GOLDEN: [usize; 4] = [1, 4, 2, 4];

#[test]
fn a_full_node_takes_nobody_new_while_others_may() {
    let mut targets = targets(0..3);
    let user = Key::of("ann");
    let order = ranked(user, &targets);
    assert_eq!(for_connect(user, &targets, 1.25), order);
    for target in &mut targets {
        target.load = 1000;
    }
    targets[order[0]].load = 1500;
    let expected = [order[1], order[2], order[0]];
    assert_eq!(for_connect(user, &targets, 1.25), expected);
    // Few sockets are no load.
    for target in &mut targets {
        target.load = 0;
    }
    targets[order[0]].load = BOUND_FLOOR - 1;
    assert_eq!(for_connect(user, &targets, 1.25), order);
}

#[test]
fn nobody_is_sent_where_there_is_no_weight() {
    let mut targets = targets(0..3);
    targets[1].weight = 0.0;
    for n in 0..1000 {
        let user = Key::of(&format!("u{n}"));
        assert_ne!(first(user, &targets), Some(1));
        assert_eq!(ranked(user, &targets).len(), 2);
    }
    assert_eq!(first(Key::of("u"), &[]), None);
    assert_eq!(for_connect(Key::of("u"), &[], 1.25), Vec::<usize>::new());
}

proptest! {
    /// Who is next is who would be first if those before were not there.
    #[test]
    fn the_ranks_are_the_fall_over(
        user in any::<String>(),
        weights in prop::collection::vec(1_u32..5, 1..12),
    ) {
        let user = Key::of(&user);
        let mut targets = targets(0..weights.len());
        for (target, weight) in targets.iter_mut().zip(&weights) {
            target.weight = f64::from(*weight);
        }
        let order = ranked(user, &targets);
        prop_assert_eq!(order.len(), targets.len());
        for place in order {
            prop_assert_eq!(first(user, &targets), Some(place));
            targets[place].weight = 0.0;
        }
        prop_assert_eq!(first(user, &targets), None);
    }

    /// However the list is ordered, and whoever is asked for it.
    #[test]
    fn the_order_of_the_list_does_not_matter(user in any::<String>(), turn in 0_usize..9) {
        let user = Key::of(&user);
        let one = targets(0..9);
        let mut other = one.clone();
        other.rotate_left(turn);
        let at = |targets: &[Target]| targets[first(user, targets).unwrap()].key;
        prop_assert_eq!(at(&one), at(&other));
        let names = |targets: &[Target]| -> Vec<Key> {
            ranked(user, targets).into_iter().map(|place| targets[place].key).collect()
        };
        prop_assert_eq!(names(&one), names(&other));
    }

    /// The bound only ever puts off: nobody is refused for it.
    #[test]
    fn the_bound_leaves_nobody_out(
        user in any::<String>(),
        loads in prop::collection::vec(0_usize..5_000, 1..12),
    ) {
        let mut targets = targets(0..loads.len());
        for (target, load) in targets.iter_mut().zip(&loads) {
            target.load = *load;
        }
        let mut order = for_connect(Key::of(&user), &targets, 1.25);
        let share = (loads.iter().sum::<usize>() + 1) as f64 / loads.len() as f64;
        let bound = ((share * 1.25).ceil() as usize).max(BOUND_FLOOR);
        prop_assert!(targets[order[0]].load < bound);
        order.sort_unstable();
        prop_assert!(order.into_iter().eq(0..loads.len()));
    }
}
