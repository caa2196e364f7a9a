//! The view of a course on a terminal: pages of rows, and inputs that change under the hand. Pure: keys come in,
//! lines of text go out.
//!
//! ```text
//!  tree_d 10m x2  pc1 320m x[10]  pc2 25m x5  seed 80m  c2 18m x2  threads 18      ◄ Tab chooses, + and - change
//!  1317 sectors in 30 days, 45.00 a day once it has settled; fullest: pc1, 100 %
//!  time (mins)  sealing threads  tree_d   pc1  pc2  …
//!         0           2/18        2/2     0/10 0/5                                  ◄ arrows, pages, Home, End
//! ```

use super::{cells, summary_line};
use crate::planner::sealcalc::{Course, DAY, Inputs};

/// What was pressed, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    NextInput,
    InputBefore,
    More,
    Less,
    Reset,
    Quit,
    Other,
}

/// The inputs that can be changed, in the order of the line.
const INPUTS: usize = 10;

/// Lines above and below the rows: inputs, summary, titles; keys.
const FRAME: usize = 4;

/// Titles short enough for a terminal of 80 columns.
const TITLES: [&str; 8] = ["mins", "threads", "tree_d", "pc1", "pc2", "seed", "c2", "finished"];

/// What is shown, and where one is in it.
#[derive(Debug)]
pub(super) struct View {
    begun_with: Inputs,
    inputs: Inputs,
    days: u32,
    step: u64,
    course: Course,
    top: usize,
    chosen: usize,
    /// Rows that were shown last: what a page is.
    page: usize,
}

impl View {
    pub fn new(inputs: Inputs, days: u32, step: u32) -> Self {
        let course = Course::of(&inputs, u64::from(days) * DAY);
        Self { begun_with: inputs, inputs, days, step: step.into(), course, top: 0, chosen: 0, page: 1 }
    }

    /// Takes a key; no when the view is to be left.
    pub fn press(&mut self, press: Press) -> bool {
        let rows = self.course.rows_count(self.step);
        let last = rows.saturating_sub(self.page);
        match press {
            Press::Up => self.top = self.top.saturating_sub(1),
            Press::Down => self.top = (self.top + 1).min(last),
            Press::PageUp => self.top = self.top.saturating_sub(self.page),
            Press::PageDown => self.top = (self.top + self.page).min(last),
            Press::Home => self.top = 0,
            Press::End => self.top = last,
            Press::NextInput => self.chosen = (self.chosen + 1) % INPUTS,
            Press::InputBefore => self.chosen = (self.chosen + INPUTS - 1) % INPUTS,
            Press::More => self.change(|number| number.saturating_add(1).min(1_000_000)),
            Press::Less => self.change(|number| number.saturating_sub(1)),
            Press::Reset => self.calculate(self.begun_with),
            Press::Quit => return false,
            Press::Other => {}
        }
        true
    }

    fn change(&mut self, to: impl Fn(u32) -> u32) {
        let mut inputs = self.inputs;
        let number = field(&mut inputs, self.chosen);
        *number = to(*number);
        self.calculate(inputs);
    }

    fn calculate(&mut self, inputs: Inputs) {
        self.inputs = inputs;
        self.course = Course::of(&inputs, u64::from(self.days) * DAY);
    }

    /// The whole picture, no line longer than `width`, as many as `height`.
    pub fn lines(&mut self, height: usize, width: usize) -> Vec<String> {
        self.page = height.saturating_sub(FRAME).max(1);
        let rows = self.course.rows_count(self.step);
        self.top = self.top.min(rows.saturating_sub(self.page));
        let summary = summary_line(&self.course.summary(&self.inputs), self.days);
        let mut lines = vec![self.inputs_line(), summary, row_line(&TITLES.map(str::to_owned))];
        let shown = (self.top..rows).take(self.page);
        lines.extend(shown.map(|i| row_line(&cells(&self.course.at(i as u64 * self.step), &self.inputs))));
        lines.resize(lines.len().max(FRAME - 1 + self.page), String::new());
        let (first, last) = (self.top.min(rows) + usize::from(rows > 0), (self.top + self.page).min(rows));
        lines.push(format!("rows {first}-{last} of {rows}  arrows pages Home End, Tab + - change, r resets, q leaves"));
        lines.truncate(height);
        lines.into_iter().map(|line| line.chars().take(width).collect()).collect()
    }

    fn inputs_line(&self) -> String {
        let mut inputs = self.inputs;
        let mut number = |i: usize| match (*field(&mut inputs, i), i == self.chosen) {
            (number, true) => format!("[{number}]"),
            (number, false) => number.to_string(),
        };
        let stage = |name: &str, mins: String, concurrent: String| format!("{name} {mins}m x{concurrent}");
        [
            stage("tree_d", number(0), number(1)),
            stage("pc1", number(2), number(3)),
            stage("pc2", number(4), number(5)),
            format!("seed {}m", number(6)),
            stage("c2", number(7), number(8)),
            format!("threads {}", number(9)),
        ]
        .join("  ")
    }
}

fn field(inputs: &mut Inputs, index: usize) -> &mut u32 {
    match index {
        0 => &mut inputs.tree_d.mins,
        1 => &mut inputs.tree_d.concurrent,
        2 => &mut inputs.pc1.mins,
        3 => &mut inputs.pc1.concurrent,
        4 => &mut inputs.pc2.mins,
        5 => &mut inputs.pc2.concurrent,
        6 => &mut inputs.seed_mins,
        7 => &mut inputs.c2.mins,
        8 => &mut inputs.c2.concurrent,
        _ => &mut inputs.sealing_threads,
    }
}

fn row_line(cells: &[String; 8]) -> String {
    cells.iter().map(|cell| format!("{cell:>9}")).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::sealcalc::Stage;

    fn view() -> View {
        let stage = |mins, concurrent| Stage { mins, concurrent };
        let inputs = Inputs {
            tree_d: stage(10, 2),
            pc1: stage(320, 10),
            pc2: stage(25, 5),
            c2: stage(18, 2),
            seed_mins: 80,
            sealing_threads: 18,
        };
        View::new(inputs, 30, 60)
    }

    #[test]
    fn pages_turn_and_stop_at_the_ends() {
        let mut view = view();
        let first = view.lines(24, 80);
        assert_eq!(first.len(), 24);
        assert!(first[3].trim_start().starts_with("0 "), "{first:?}");
        assert!(view.press(Press::PageDown));
        assert!(view.lines(24, 80)[3].trim_start().starts_with("1200 "), "20 rows of an hour further");
        view.press(Press::End);
        let last = view.lines(24, 80);
        assert!(last[22].trim_start().starts_with("43140 ") && last[23].starts_with("rows 701-720 of 720"), "{last:?}");
        view.press(Press::PageDown);
        assert_eq!(view.lines(24, 80), last);
        view.press(Press::Home);
        assert_eq!(view.lines(24, 80), first);
        assert!(!view.press(Press::Quit));
    }

    #[test]
    fn a_changed_input_changes_the_rows_at_once_and_r_takes_it_back() {
        let mut view = view();
        let before = view.lines(24, 120);
        (0..3).for_each(|_| assert!(view.press(Press::NextInput)));
        view.press(Press::More);
        let after = view.lines(24, 120);
        assert!(after[0].contains("pc1 320m x[11]"), "{}", after[0]);
        assert_ne!(before[1], after[1]);
        view.press(Press::Reset);
        view.press(Press::Less);
        assert!(view.lines(24, 120)[0].contains("x[9]"));
        (0..20).for_each(|_| assert!(view.press(Press::Less)));
        assert!(view.lines(24, 120)[1].starts_with("0 sectors"));
    }

    #[test]
    fn a_small_terminal_gets_what_fits() {
        let mut view = view();
        for (height, width) in [(1, 1), (2, 10), (5, 20), (24, 80)] {
            let lines = view.lines(height, width);
            assert!(lines.len() <= height && lines.iter().all(|line| line.chars().count() <= width));
        }
        let mut none = View::new(view.inputs, 0, 60);
        assert!(none.lines(24, 80)[23].starts_with("rows 0-0 of 0"));
        assert!(none.lines(24, 80)[1].starts_with("0 days: "));
    }
}
