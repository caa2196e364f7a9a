//! The token that lets other hosts change something: read from a private file, kept as a digest, never shown.

use blake2b_simd::{Hash, blake2b};
use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Shorter ones can be guessed.
const CHARS_MIN: usize = 8;

/// A token. Compared by digest, in a time that does not depend on it.
pub struct Token(Hash);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("token file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("token file {} has mode {mode:o}: others may read it; run chmod 600 {}", path.display(), path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "token file {} holds no token: one word of {CHARS_MIN} or more visible ASCII characters; make one with: \
         (umask 077; head -c 32 /dev/urandom | base64 > {})",
        path.display(), path.display()
    )]
    NoToken { path: PathBuf },
}

impl Token {
    /// The token of this text, if it can be one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let can_be = text.len() >= CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
        can_be.then(|| Self(blake2b(text.as_bytes())))
    }

    /// Whether the value of an Authorization header carries this token.
    pub fn is(&self, authorization: &str) -> bool {
        let Some((scheme, brought)) = authorization.trim().split_once(' ') else { return false };
        scheme.eq_ignore_ascii_case("bearer") && blake2b(brought.trim().as_bytes()) == self.0
    }

    /// Reads the token in `path`, which nobody but its owner may read.
    ///
    /// # Errors
    /// The file cannot be read, others can read it, or there is no token in it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Open { path: path.to_owned(), mode });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        Self::new(&text).ok_or_else(|| TokenError::NoToken { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "secret-token\n").unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("has mode {mode:o}")) && error.contains("chmod 600"), "{error}");
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let token = Token::read(&path).unwrap();
            assert!(token.is("Bearer secret-token") && token.is("bearer  secret-token "));
            assert!(!token.is("Bearer secret") && !token.is("secret-token"));
            assert_eq!(format!("{token:?}"), "Token(..)");
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::Read { .. })));
        for text in ["", "\n", "short", "two words here", "t\u{f6}ken-token"] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = Token::read(&path).unwrap_err().to_string();
            assert!(error.contains("holds no token") && !error.contains("words here"), "{error}");
        }
    }
}
