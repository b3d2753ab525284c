//! Which pages may connect. A token in a page's reach is worth nothing to a page of another
//! origin if that page's connection is refused.

use std::{fmt, str::FromStr};

/// An origin that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Every origin: for a public API where a page has no token it did not get by itself.
    Any,
    /// This one: `scheme://host[:port]`, in lower case, a default port left out.
    Is(String),
}

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an origin: write `https://host[:port]`, or `*`")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, authority) = split(text).ok_or_else(|| InvalidOrigin(text.to_owned()))?;
        Ok(Self::Is(format!("{scheme}://{authority}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Is(origin) => origin,
        })
    }
}

/// Whether a request may come from where its page is: from no page at all, from our own, or from an
/// allowed one. Our own is known by `Host`; the scheme is not compared, because the balancer ends TLS.
/// What is no text is the empty one.
pub fn is_welcome(origin: Option<&str>, host: &str, allowed: &[Origin]) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    if allowed.contains(&Origin::Any) {
        return true;
    }
    let Some((scheme, authority)) = split(origin) else {
        return false;
    };
    let ours = without_default_port(&scheme, &host.to_ascii_lowercase()) == authority;
    let named = || {
        allowed.iter().any(|allowed| match allowed {
            Origin::Any => true,
            Origin::Is(text) => text.split_once("://") == Some((&scheme, &authority)),
        })
    };
    ours || named()
}

/// Scheme and authority in lower case, a default port left out; `None` for what is no origin
/// (such as the `null` of a sandboxed page).
fn split(text: &str) -> Option<(String, String)> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let scheme_fits =
        scheme.starts_with(|c: char| c.is_ascii_lowercase()) && !scheme.contains(['/', ':']);
    if !scheme_fits || authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        return None;
    }
    Some((scheme.to_owned(), without_default_port(scheme, authority)))
}

fn without_default_port(scheme: &str, authority: &str) -> String {
    let suffix = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return authority.to_owned(),
    };
    authority
        .strip_suffix(suffix)
        .unwrap_or(authority)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(origin: Option<&str>, host: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<Origin> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        is_welcome(origin, host, &allowed)
    }

    #[test]
    fn the_same_origin_and_none_may_connect() {
        assert!(verdict(None, "chat.example", &[]));
        assert!(verdict(
            Some("http://127.0.0.1:8102"),
            "127.0.0.1:8102",
            &[]
        ));
        assert!(verdict(Some("https://Chat.example"), "chat.example", &[]));
        assert!(verdict(
            Some("https://chat.example"),
            "chat.example:443",
            &[]
        ));
        assert!(verdict(Some("http://[::1]:8102"), "[::1]:8102", &[]));
    }

    #[test]
    fn other_origins_may_not_unless_listed() {
        for other in [
            "https://evil.example",
            "http://127.0.0.1:8103",
            "null",
            "https://chat.example.evil.example",
            "https://chat.example@evil.example",
            "",
        ] {
            assert!(!verdict(Some(other), "127.0.0.1:8102", &[]), "{other}");
            assert!(
                !verdict(Some(other), "chat.example", &["https://play.example"]),
                "{other}"
            );
        }
        assert!(verdict(
            Some("https://play.example"),
            "chat.example",
            &["https://Play.example:443"]
        ));
        assert!(!verdict(
            Some("http://play.example"),
            "chat.example",
            &["https://play.example"]
        ));
        assert!(verdict(Some("null"), "chat.example", &["*"]));
    }

    #[test]
    fn a_setting_that_is_no_origin_is_refused() {
        for bad in ["play.example", "https://", "https://a/b", "://x", "null"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
