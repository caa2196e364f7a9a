//! Token files: a secret that one user of this host can read, and a comparison that tells nothing by its time.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Shorter ones can be guessed.
const CHARS_MIN: usize = 16;
/// No token is as long; the file is something else.
const BYTES_MAX: u64 = 4096;

/// A secret that callers send. Shown nowhere.
#[derive(Clone)]
pub struct Token(String);

/// Why a file holds no token. The file's content is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: others may read or write it (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{}: belongs to user {owner}, not to the user that runs this program ({user})", path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("{}: {what}; write one token of at least {CHARS_MIN} letters and digits, such as: openssl rand -hex 32", path.display())]
    Content { path: PathBuf, what: &'static str },
}

impl Token {
    /// Reads the token in `path`, which only its owner may read.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        // Of the open file, so that what is judged is what is read.
        let meta = file.metadata().map_err(io)?;
        let content = |what| TokenError::Content { path: path.to_owned(), what };
        if !meta.is_file() {
            return Err(content("is no file"));
        }
        let (mode, owner, user) = (meta.mode() & 0o7777, meta.uid(), nix::unistd::geteuid().as_raw());
        if mode & 0o077 != 0 {
            return Err(TokenError::Mode { path: path.to_owned(), mode });
        }
        if owner != user && owner != 0 && user != 0 {
            return Err(TokenError::Owner { path: path.to_owned(), owner, user });
        }
        let mut text = String::new();
        file.by_ref().take(BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        Self::parse(&text).map_err(content)
    }

    /// The token in a text; blanks and the end of the line around it do not count.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let token = text.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds more than one word, or characters that a header cannot carry");
        }
        if token.len() < CHARS_MIN {
            return Err("holds no token, or one that is too short");
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether `sent` is this token. Digests are compared, in a time that depends on neither.
    pub fn is(&self, sent: &str) -> bool {
        blake2b_simd::blake2b(self.0.as_bytes()) == blake2b_simd::blake2b(sent.as_bytes())
    }

    /// Whether the value of an `Authorization` header carries this token.
    pub fn is_sent(&self, authorization: &str) -> bool {
        bearer(authorization).is_some_and(|sent| self.is(sent))
    }

    /// The secret itself, for the header that carries it.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// The token of `Bearer TOKEN`.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    const SECRET: &str = "0123456789abcdef0123";

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_private_file_is_read_and_only_its_token_is_the_token() {
        let (_dir, path) = written(&format!("{SECRET}\n"), 0o600);
        let token = Token::read(&path).unwrap();
        assert!(token.is(SECRET));
        assert!(!token.is("") && !token.is(&SECRET[1..]) && !token.is(&format!("{SECRET} ")));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_header_carries_it_as_bearer_and_in_no_other_way() {
        let token = Token::parse(SECRET).unwrap();
        assert!(token.is_sent(&format!("Bearer {SECRET}")) && token.is_sent(&format!("bearer  {SECRET} ")));
        assert!(!token.is_sent(SECRET) && !token.is_sent(&format!("Basic {SECRET}")) && !token.is_sent("Bearer "));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_helps() {
        for mode in [0o644, 0o640, 0o602] {
            let (_dir, path) = written(SECRET, mode);
            let error = Token::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode {mode:04o}): chmod 600 ")) && !error.contains(SECRET), "{error}");
        }
    }

    #[test]
    fn what_holds_no_token_is_refused_without_showing_it() {
        for text in ["", "\n", "short", "two words that are long enough", "0123456789abcdefé"] {
            let (_dir, path) = written(text, 0o600);
            let error = Token::read(&path).unwrap_err().to_string();
            assert!(error.contains("openssl rand -hex 32") && !error.contains("words that"), "{error}");
        }
        let (dir, _path) = written(SECRET, 0o600);
        assert!(Token::read(dir.path()).is_err() && Token::read(&dir.path().join("gone")).is_err());
    }
}
