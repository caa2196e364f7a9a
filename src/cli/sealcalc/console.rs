//! The terminal under the view: its own screen, its keys, its size; and everything as it was when the view is left.

use super::view::{Press, View};
use anyhow::{Context, Result};
use console::{Key, Term};

/// The other screen, which leaves what was printed before untouched; the cursor has no use there.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// Shows the view until it is left.
pub(super) fn show(mut view: View) -> Result<()> {
    let term = Term::buffered_stdout();
    let _screen = Screen::enter(&term)?;
    loop {
        let (height, width) = term.size();
        // From the top, line by line: nothing flickers, and what a shorter line leaves over is wiped.
        let lines: Vec<String> = view.lines(height.into(), width.into());
        let frame = lines.iter().map(|line| format!("{line}\u{1b}[K")).collect::<Vec<_>>().join("\r\n");
        term.write_str(&format!("\u{1b}[H{frame}\u{1b}[J")).and_then(|()| term.flush()).context("draw the view")?;
        // Raw: an interrupt is a key like any other, and the screen is put back.
        let key = term.read_key_raw().context("read a key for the view; for a plain table write into a pipe")?;
        if !view.press(press(key)) {
            return Ok(());
        }
    }
}

/// The other screen, left whatever happens.
struct Screen<'t>(&'t Term);

impl<'t> Screen<'t> {
    fn enter(term: &'t Term) -> Result<Self> {
        term.write_str(ENTER).and_then(|()| term.flush()).context("open the view")?;
        Ok(Self(term))
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no screen.
        let _ = self.0.write_str(LEAVE).and_then(|()| self.0.flush());
    }
}

fn press(key: Key) -> Press {
    match key {
        Key::ArrowUp | Key::Char('k') => Press::Up,
        Key::ArrowDown | Key::Enter | Key::Char('j') => Press::Down,
        Key::PageUp | Key::Char('b') => Press::PageUp,
        Key::PageDown | Key::Char(' ' | 'f') => Press::PageDown,
        Key::Home | Key::Char('g') => Press::Home,
        Key::End | Key::Char('G') => Press::End,
        Key::Tab | Key::ArrowRight | Key::Char('l') => Press::NextInput,
        Key::BackTab | Key::ArrowLeft | Key::Char('h') => Press::InputBefore,
        Key::Char('+' | '=') => Press::More,
        Key::Char('-' | '_') => Press::Less,
        Key::Char('r') => Press::Reset,
        Key::Char('q') | Key::Escape | Key::CtrlC => Press::Quit,
        _ => Press::Other,
    }
}
