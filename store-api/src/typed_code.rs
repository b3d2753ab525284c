//! Codes that people read and type: letters and digits that are not taken for each other
//! (Crockford's), five bits each.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A code of so many characters out of a digest, in groups with a dash between them.
pub(crate) fn spell(digest: &[u8], length: usize, group: usize) -> String {
    // Five bits of each byte: the bytes of a hash are as good as dice.
    let letters = digest.iter().take(length);
    let letters = letters.map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    let mut code = String::with_capacity(length + length / group);
    for (place, letter) in letters.enumerate() {
        if place > 0 && place % group == 0 {
            code.push('-');
        }
        code.push(letter);
    }
    code
}

/// A code without what people put into it or take for something else, and no longer than `most`.
pub(crate) fn plain(code: &str, most: usize) -> String {
    let letters = code.chars().filter(|c| !c.is_whitespace() && *c != '-');
    letters
        .take(most)
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = spell(&[0, 1, 2, 10, 31, 0, 18, 20], 8, 4);
        assert_eq!(code, "012A-Z0JM");
        assert_eq!(plain(" o12a z0jm ", 8), plain(&code, 8));
        assert_eq!(plain("il", 8), "11");
        assert_eq!(plain(&"A".repeat(1000), 8).len(), 8);
    }
}
