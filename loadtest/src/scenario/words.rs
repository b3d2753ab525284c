//! What people say: text that compresses as talk does, the same every time.

/// Words of players, the common ones more than once.
const WORDS: &str = "the a to you i it is and of in that for on me we are was be have not this my \
    so but with just what they can do if all your at no like or one get know up out good when \
    there go think now time see here how then really want some well still would been more right \
    yeah lol ok haha raid boss tonight quest server loot guild dungeon match team heal tank level \
    map patch ping lag queue ready wait sure maybe later tomorrow server's friend party potion \
    sword harbour north bridge anyone free wanna play game again sorry thanks nice brb gg";

/// The `n`th thing that is said, in ASCII of exactly `length` bytes (more if its number is longer).
/// It begins with its number, so no two are alike.
pub(super) fn words(n: u64, length: usize) -> String {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = n.to_string();
    let number = text.len();
    let mut state = n;
    while text.len() < length {
        // Splitmix64: neighbours in `n` say different things.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The product of two is more often small: common words stand first.
        let (a, b) = ((mixed >> 48) as usize, (mixed >> 16 & 0xffff) as usize);
        let place = (a * b / 0x1_0000) * all.len() / 0x1_0000;
        text.push(' ');
        text.push_str(all[place]);
    }
    text.truncate(length.max(number));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_has_its_length_and_is_said_once() {
        let mut said = std::collections::HashSet::new();
        for n in 0..1000 {
            let text = words(n, 64);
            assert_eq!(text.len(), 64);
            assert_eq!(text, words(n, 64));
            assert!(said.insert(text));
        }
        assert_eq!(words(12_345, 3), "12345");
    }
}
