//! The choice of permessage-deflate (RFC 7692) among the extensions that a client offers.
//!
//! A client may offer it several times, with the parameters it likes best first; the first offer
//! that this server can keep is taken. Neither side carries a window from one message to the next,
//! whether the client asked for that or not: both parameters may be in an answer unasked.

use actix_web::http::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

const NAME: &str = "permessage-deflate";

/// The answer, when something that was offered can be kept.
pub(super) fn choose(headers: &HeaderMap) -> Option<&'static str> {
    let lines = headers.get_all(SEC_WEBSOCKET_EXTENSIONS);
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| split(line, b','))
        .find_map(accept)
}

/// What is answered to an offer; `None` to another extension's, a malformed one, and one that asks
/// for what this server does not do.
fn accept(offer: &str) -> Option<&'static str> {
    let mut parts = split(offer, b';').map(str::trim);
    if parts.next() != Some(NAME) {
        return None;
    }
    // Each parameter may come once (RFC 7692, 7.1).
    let (mut client_takeover, mut server_takeover) = (false, false);
    let (mut client_window, mut server_window) = (false, false);
    for part in parts {
        let (name, value) = parameter(part)?;
        let seen = match (name, value) {
            ("client_no_context_takeover", None) => &mut client_takeover,
            ("server_no_context_takeover", None) => &mut server_takeover,
            // A hint that the client could do with a smaller window; ours fits any message.
            ("client_max_window_bits", None) => &mut client_window,
            ("client_max_window_bits", Some(bits)) if window(bits).is_some() => &mut client_window,
            // The compressor has one window. Promising a smaller one would be a lie.
            ("server_max_window_bits", Some(bits)) if window(bits) == Some(15) => {
                &mut server_window
            }
            _ => return None,
        };
        if std::mem::replace(seen, true) {
            return None;
        }
    }
    Some(if server_window {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         server_max_window_bits=15"
    } else {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    })
}

/// A parameter's name and value; `None` when it is malformed.
fn parameter(part: &str) -> Option<(&str, Option<&str>)> {
    let Some((name, value)) = part.split_once('=') else {
        return Some((part, None));
    };
    let (name, value) = (name.trim(), value.trim());
    let bare = value.trim_start_matches('"').len() == value.len();
    let value = if bare {
        value
    } else {
        value.strip_prefix('"')?.strip_suffix('"')?
    };
    Some((name, Some(value)))
}

/// 8 to 15, without a zero in front (RFC 7692, 7.1.2).
fn window(bits: &str) -> Option<u8> {
    let plain = !bits.starts_with(['0', '+']);
    let bits = bits.parse().ok().filter(|_| plain)?;
    (8..=15).contains(&bits).then_some(bits)
}

/// Cuts `text` at each `at` that stands outside quotes.
fn split(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let cut = text.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => return byte == at && !quoted,
            }
            false
        });
        rest = cut.map(|cut| &text[cut + 1..]);
        Some(&text[..cut.unwrap_or(text.len())])
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(lines: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).unwrap();
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
        }
        choose(&headers)
    }

    #[test]
    fn what_clients_offer_is_taken() {
        for offer in [
            "permessage-deflate",
            // Chromium, Firefox, Safari
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=15;server_no_context_takeover",
            "permessage-deflate;client_max_window_bits = \"9\" ; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "foo; a=\"b, permessage-deflate; c\", permessage-deflate",
        ] {
            assert_eq!(answer(&[offer]), Some(PLAIN), "{offer}");
        }
        let bits = answer(&["permessage-deflate; server_max_window_bits=15"]);
        assert_eq!(bits, Some(&*format!("{PLAIN}; server_max_window_bits=15")));
    }

    #[test]
    fn what_is_not_offered_or_cannot_be_kept_is_declined() {
        assert_eq!(answer(&[]), None);
        for offer in [
            "",
            ",;,",
            "permessage-bzip2",
            "permessage-deflater",
            "foo; a=\"permessage-deflate, permessage-deflate\"",
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"9",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate;",
        ] {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_kept_counts() {
        let offers = [
            "permessage-deflate; server_max_window_bits=9, foo",
            "permessage-deflate; server_max_window_bits=15, permessage-deflate",
        ];
        assert!(answer(&offers).is_some_and(|answer| answer.ends_with("=15")));
        let offers = ["permessage-deflate; mux", "permessage-deflate"];
        assert_eq!(answer(&offers), Some(PLAIN));
    }
}
