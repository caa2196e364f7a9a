//! Boxes in boxes: how big each is and where it lies, in whole pixels.
//!
//! Sizes grow from the inside out: blocks are arranged into a `Flow` (side by side, below one another), and a
//! flow becomes the content of a block with a few lines of text above it. A block's place is relative to the
//! block around it.

/// The width of a character of the monospace font, in tenths of a pixel; its true width is 0.6 of 12 pixels.
const CHARACTER_TENTHS: u32 = 74;
/// From one line of text to the next.
pub const LINE: u32 = 16;
/// Between a box and what is in it, and between neighbours.
pub const GAP: u32 = 6;
/// No arrangement has more columns: beyond, all are about as bad.
const COLUMNS_MAX: u32 = 64;

/// What a box shows, and so how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Machine,
    Package,
    Die,
    Group,
    /// L4 and L5.
    Cache,
    L3,
    Core,
    /// A CPU that may be used.
    Cpu,
    /// A CPU that the cgroup forbids.
    Forbidden,
    Node,
    /// A node without CPUs.
    MemoryOnly,
    Gpu,
    Disk,
    Nic,
    /// Around devices whose node is not known.
    Unplaced,
    Note,
}

/// A box with text above what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub look: Look,
    /// What a pointer on the box shows: nothing is cut here.
    pub title: String,
    pub lines: Vec<String>,
    /// The place in the block around it.
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
    pub inner: Vec<Block>,
}

/// Blocks that have their places, and the size of them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub blocks: Vec<Block>,
    pub width: u32,
    pub height: u32,
}

impl Look {
    /// A line may make its box this many characters wide; longer ones are cut to the content's width. There are
    /// many devices and caches beside each other, and CPU lists can be long; the others are few.
    fn characters_free(self) -> u32 {
        match self {
            Self::Gpu | Self::Disk | Self::Nic => 30,
            Self::L3 | Self::Cache | Self::Die | Self::Group => 36,
            _ => 72,
        }
    }

    /// Whether the box is a bar, as wide as the box around it.
    fn is_bar(self) -> bool {
        matches!(self, Self::Node | Self::MemoryOnly | Self::Note)
    }
}

impl Block {
    /// Makes the box this big, and the bars in it as wide.
    fn stretch(&mut self, width: u32, height: u32) {
        let wider = width - self.width;
        for bar in self.inner.iter_mut().filter(|inner| inner.look.is_bar()) {
            bar.stretch(bar.width + wider, bar.height);
        }
        (self.width, self.height) = (width, height);
    }
}

/// How wide a text is drawn. Only some characters are known to be one cell wide; any other may need two, or
/// is drawn as the mark for characters that cannot be shown.
pub fn text_width(text: &str) -> u32 {
    let is_narrow = |c: char| matches!(c, ' '..='~' | '·' | '…');
    let cells: u32 = text.chars().map(|c| if is_narrow(c) { 1 } else { 2 }).sum();
    (cells * CHARACTER_TENTHS).div_ceil(10)
}

/// The text, cut to a width with a mark that it was.
pub fn fit(text: &str, width: u32) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(text_width("…"));
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if text_width(&cut) > room {
            cut.pop();
            break;
        }
    }
    cut.push('…');
    cut
}

/// A box of a fixed size with one line in its middle.
pub fn tile(look: Look, text: String, title: String, width: u32, height: u32) -> Block {
    Block { look, title, lines: vec![text], x: 0, y: 0, width, height, inner: Vec::new() }
}

/// A box around a flow, with lines of text above it.
pub fn frame(look: Look, title: String, lines: Vec<String>, content: Flow) -> Block {
    let free = (look.characters_free() * CHARACTER_TENTHS).div_ceil(10);
    let lines: Vec<_> = lines.iter().map(|line| fit(line, content.width.max(free))).collect();
    let text = lines.iter().map(|line| text_width(line)).max().unwrap_or(0);
    let above = if lines.is_empty() { 0 } else { lines.len() as u32 * LINE + 2 };
    let under = if content.blocks.is_empty() { 0 } else { content.height + GAP };
    let mut inner = content.blocks;
    for block in &mut inner {
        block.x += GAP;
        block.y += above + GAP;
    }
    Block {
        look,
        title,
        lines,
        x: 0,
        y: 0,
        width: content.width.max(text) + 2 * GAP,
        height: above + under + GAP,
        inner,
    }
}

/// One below the other, all as wide as the widest and at least `width`.
pub fn column(mut blocks: Vec<Block>, width: u32) -> Flow {
    let width = blocks.iter().map(|block| block.width).max().map_or(0, |widest| widest.max(width));
    let mut y = 0;
    for block in &mut blocks {
        block.y = y;
        block.stretch(width, block.height);
        y += block.height + GAP;
    }
    Flow { blocks, width, height: y.saturating_sub(GAP) }
}

/// Flows one below the other; empty ones take no room.
pub fn stack(flows: Vec<Flow>) -> Flow {
    let mut whole = Flow::default();
    for mut flow in flows.into_iter().filter(|flow| !flow.blocks.is_empty()) {
        let y = if whole.blocks.is_empty() { 0 } else { whole.height + GAP };
        flow.blocks.iter_mut().for_each(|block| block.y += y);
        whole.width = whole.width.max(flow.width);
        whole.height = y + flow.height;
        whole.blocks.extend(flow.blocks);
    }
    whole
}

/// Side by side in rows and columns, in the shape nearest to a screen's.
pub fn grid(blocks: Vec<Block>, spacing: u32) -> Flow {
    let count = blocks.len() as u32;
    let best = (1..=count.min(COLUMNS_MAX)).min_by_key(|columns| cost(&blocks, *columns, spacing));
    best.map_or_else(Flow::default, |columns| placed(blocks, columns, spacing))
}

/// In rows of at most `width`, as many as fit into each.
pub fn rows(blocks: Vec<Block>, width: u32) -> Flow {
    let widest = blocks.iter().map(|block| block.width).max().unwrap_or(0);
    let columns = ((width + GAP) / (widest + GAP)).clamp(1, (blocks.len() as u32).max(1));
    placed(blocks, columns, GAP)
}

/// How badly an arrangement fills a screen of 16 to 10: the screen's size, more where the last row has holes.
fn cost(blocks: &[Block], columns: u32, spacing: u32) -> u64 {
    let (widths, heights) = cells(blocks, columns);
    let (width, height) = (span(&widths, spacing), span(&heights, spacing));
    let screen = (u64::from(width) * 10).max(u64::from(height) * 16);
    if (blocks.len() as u32).is_multiple_of(columns) { screen } else { screen + screen / 4 }
}

/// Every block in its cell, stretched to it: neighbours of one kind look alike.
fn placed(mut blocks: Vec<Block>, columns: u32, spacing: u32) -> Flow {
    let (widths, heights) = cells(&blocks, columns);
    let (lefts, tops) = (starts(&widths, spacing), starts(&heights, spacing));
    for (i, block) in blocks.iter_mut().enumerate() {
        let (row, column) = (i / columns as usize, i % columns as usize);
        (block.x, block.y) = (lefts[column], tops[row]);
        block.stretch(widths[column], heights[row]);
    }
    Flow { blocks, width: span(&widths, spacing), height: span(&heights, spacing) }
}

/// The widths of the columns and the heights of the rows.
fn cells(blocks: &[Block], columns: u32) -> (Vec<u32>, Vec<u32>) {
    let columns = columns as usize;
    let mut widths = vec![0; columns.min(blocks.len())];
    let mut heights = vec![0; blocks.len().div_ceil(columns)];
    for (i, block) in blocks.iter().enumerate() {
        widths[i % columns] = block.width.max(widths[i % columns]);
        heights[i / columns] = block.height.max(heights[i / columns]);
    }
    (widths, heights)
}

/// Where each of these begins when they lie in a line.
fn starts(sizes: &[u32], spacing: u32) -> Vec<u32> {
    sizes
        .iter()
        .scan(0, |next, size| {
            let start = *next;
            *next += size + spacing;
            Some(start)
        })
        .collect()
}

/// How long the line is.
fn span(sizes: &[u32], spacing: u32) -> u32 {
    sizes.iter().sum::<u32>() + spacing * (sizes.len() as u32).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(size: u32) -> Block {
        tile(Look::Cpu, String::new(), String::new(), size, size)
    }

    fn places(flow: &Flow) -> Vec<(u32, u32)> {
        flow.blocks.iter().map(|block| (block.x, block.y)).collect()
    }

    #[test]
    fn a_grid_is_wider_than_high_and_has_no_holes_where_it_can() {
        let flow = grid(vec![square(10); 6], 2);
        assert_eq!(places(&flow), [(0, 0), (12, 0), (24, 0), (0, 12), (12, 12), (24, 12)]);
        assert_eq!((flow.width, flow.height), (34, 22));
        assert_eq!(grid(vec![square(10); 8], 2).height, 22);
        assert_eq!(grid(Vec::new(), 2), Flow::default());
    }

    #[test]
    fn rows_keep_to_the_width_but_one_block_always_fits() {
        assert_eq!(places(&rows(vec![square(10); 3], 26)), [(0, 0), (16, 0), (0, 16)]);
        assert_eq!(places(&rows(vec![square(10); 2], 3)), [(0, 0), (0, 16)]);
        assert_eq!(rows(Vec::new(), 100), Flow { blocks: Vec::new(), width: 0, height: 0 });
    }

    #[test]
    fn blocks_of_a_column_are_equally_wide() {
        let flow = column(vec![square(10), square(30)], 20);
        assert_eq!((flow.blocks[0].width, flow.width, flow.height), (30, 30, 40 + GAP));
    }

    #[test]
    fn a_frame_holds_its_text_and_its_content() {
        let block = frame(Look::L3, String::new(), vec!["L3".to_owned()], grid(vec![square(10)], 2));
        assert_eq!((block.inner[0].x, block.inner[0].y), (GAP, LINE + 2 + GAP));
        assert_eq!(block.height, block.inner[0].y + 10 + GAP);
        assert_eq!(block.width, text_width("L3") + 2 * GAP);
    }

    #[test]
    fn a_long_line_is_cut_and_marked() {
        let block = frame(Look::L3, String::new(), vec!["x".repeat(100)], Flow::default());
        assert!(block.lines[0].ends_with('…') && block.lines[0].chars().count() < 40, "{:?}", block.lines);
        assert!(text_width(&block.lines[0]) <= block.width - 2 * GAP);
        assert_eq!(fit("abc", 0), "…");
        assert_eq!(fit("abc", 100), "abc");
    }
}
