//! What a message may show of a text that may hold a secret. Messages end up in logs and in questions to others.
//!
//! Hidden are user name and password, query and fragment of an address, and a token before it, in every form in which
//! they are written, right or wrong; and the values of a line that is not TOML and may hold one of them. When it is
//! not clear where a secret ends, more is hidden.

const HIDDEN: &str = "…";

/// An address without its secrets. What is there already hidden stays as it is.
pub(super) fn address(text: &str) -> String {
    let (before, rest) = scheme(text);
    let end = rest.find(['?', '#']);
    match rest.rfind('@') {
        // A password may hold any letter, and a query an @: then nobody can say where the host begins.
        Some(at) if end.is_some_and(|end| end < at) => format!("{before}{HIDDEN}"),
        Some(at) => format!("{before}{HIDDEN}@{}", cut(&rest[at + 1..])),
        None => format!("{before}{}", cut(rest)),
    }
}

/// Any text: unchanged, unless it may be an address with a secret.
pub(super) fn text(text: &str) -> String {
    let user = text.split_once(':').is_some_and(|(_, rest)| rest.contains('@'));
    let query = text.split_once('?').is_some_and(|(_, rest)| rest.contains('='));
    let is_suspect = user || query || text.contains("://") || token_end(text).is_some();
    if is_suspect { address(text) } else { text.to_owned() }
}

/// A line that is not TOML, with the heading of the table it stands in.
pub(super) fn line(line: &str, heading: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let is_suspect = text(line) != line
        || line.contains('@')
        || ["token", "header", "authorization"].iter().any(|word| lower.contains(word))
        || heading.contains("headers");
    match line.split_once('=') {
        Some((key, _)) if is_suspect => format!("{}= {HIDDEN}", text(key)),
        None if is_suspect => HIDDEN.to_owned(),
        _ => line.to_owned(),
    }
}

/// What may be shown before the host: the scheme, or what stands for a token before it.
fn scheme(text: &str) -> (String, &str) {
    if let Some(end) = token_end(text) {
        return (format!("{HIDDEN}:"), &text[end + 1..]);
    }
    match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        Some((before, rest)) => match before.rsplit_once(':') {
            Some((_, scheme)) if is_scheme(scheme) => (format!("{HIDDEN}:{scheme}://"), rest),
            _ => (String::new(), text),
        },
        None => (String::new(), text),
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Where the token of `TOKEN:/ip4/…` ends: other programs of the field write their addresses so.
fn token_end(text: &str) -> Option<usize> {
    ["/ip4/", "/ip6/", "/dns"].iter().filter_map(|family| text.find(&format!(":{family}"))).min()
}

fn cut(rest: &str) -> String {
    match rest.find(['?', '#']) {
        Some(end) => format!("{}{HIDDEN}", &rest[..=end]),
        None => rest.to_owned(),
    }
}

/// Whether a token stands before the address.
pub(super) fn has_token(text: &str) -> bool {
    token_end(text).is_some() || text.split_once("://").is_some_and(|(before, _)| before.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_shown_without_its_secrets() {
        for (written, shown) in [
            ("http://10.0.0.1:1789/path", "http://10.0.0.1:1789/path"),
            ("/ip4/10.0.0.1/tcp/1789", "/ip4/10.0.0.1/tcp/1789"),
            ("http://bob:hunter2@h:1", "http://…@h:1"),
            ("hunter2@h", "…@h"),
            ("bob:hunter2@10.0.0.1:1789", "…@10.0.0.1:1789"),
            ("http://bob:hunter/2@h", "http://…@h"),
            ("http://bob:hunter@2@h", "http://…@h"),
            ("http://bob:hunter?2@h", "http://…"),
            ("http://bob:hunter2@h?token=hunter2", "http://…@h?…"),
            ("http://h?token=hunter2", "http://h?…"),
            ("h?token=hunter2", "h?…"),
            ("http://h/#hunter2", "http://h/#…"),
            ("/dns/bob:hunter2@h/tcp/1", "…@h/tcp/1"),
            ("/ip4/10.0.0.1/tcp/1/http?token=hunter2", "/ip4/10.0.0.1/tcp/1/http?…"),
            ("hunter2:/ip4/10.0.0.1/tcp/1", "…:/ip4/10.0.0.1/tcp/1"),
            ("hunter2:http://h", "…:http://h"),
        ] {
            assert_eq!(address(written), shown);
            assert_eq!(text(written), if written == "hunter2@h" { written } else { shown });
            assert_eq!(address(shown), shown, "shown twice");
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for plain in ["/mnt/a@b", "10:30", "what?", "2 KiB", "worker-#1", "", "a=b"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn a_line_that_may_hold_a_secret_shows_its_key_only() {
        assert_eq!(line("location = \"/mnt/a", "[attached]"), "location = \"/mnt/a");
        assert_eq!(line("x = \"http://h?t=hunter2", ""), "x = …");
        assert_eq!(line("rpc_client.addr = \"http://bob:hun\"ter2@h\"", ""), "rpc_client.addr = …");
        assert_eq!(line("piece_token = \"hunter2", "[sector_manager]"), "piece_token = …");
        assert_eq!(line("X-Key = \"hunter2", "[sector_manager.rpc_client.headers]"), "X-Key = …");
        assert_eq!(line("bob:hunter2@h", ""), "…");
    }
}
