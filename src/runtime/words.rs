//! What a failure says, on one line: a panic's message, an error with its causes.

use std::{any::Any, error::Error};

/// What a panic said, where it said it in words.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

/// An error with its causes: many print only their own part, such as "error sending request".
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_words_and_one_without_words_too() {
        let said: [Box<dyn Any + Send>; 3] = [Box::new("why"), Box::new("why 7".to_owned()), Box::new(7)];
        assert_eq!(said.each_ref().map(|panic| panic_text(panic.as_ref())), ["why", "why 7", "no reason given"]);
    }

    #[test]
    fn causes_follow_their_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("asking")]
        struct Asking(#[source] std::io::Error);
        assert_eq!(with_causes(&Asking(std::io::Error::other("no line"))), "asking: no line");
    }
}
