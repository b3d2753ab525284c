//! What of a text is to be seen.

/// Whether a character leaves no mark by itself: control characters, those that only join, separate,
/// choose the form of others or turn their direction, and blanks that are no white space. With them two
/// names could look the same and compare different. White space that is no control character is none
/// of them.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Whether there is anything to be seen in a text. What joins the parts of an emoji may stand in it.
pub fn shows_something(text: &str) -> bool {
    !text.chars().all(|c| c.is_whitespace() || is_unseen(c))
}
