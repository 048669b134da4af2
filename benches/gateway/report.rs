//! Tables in Markdown: on the screen, in `target/bench/BENCH-tables.md`, and with `UPDATE=1` between the markers of BENCH.md.

use std::fs;
use std::path::Path;

/// A table with its name, which its markers in BENCH.md have too.
pub struct Table {
    name: String,
    lines: Vec<String>,
}

impl Table {
    pub fn new(name: &str, columns: &[&str]) -> Self {
        let mut table = Self { name: name.to_owned(), lines: Vec::new() };
        table.row(columns);
        let rule: String = columns.iter().skip(1).map(|_| "---:|").collect();
        table.lines.push(format!("|---|{rule}"));
        table
    }

    /// One sentence in place of a table.
    pub fn sentence(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), lines: vec![text] }
    }

    pub fn row(&mut self, cells: &[impl AsRef<str>]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }

    /// With its markers.
    fn text(&self) -> String {
        format!("{}\n{}\n{END}", self.start(), self.lines.join("\n"))
    }

    fn start(&self) -> String {
        format!("<!-- table: {} -->", self.name)
    }
}

const END: &str = "<!-- end of table -->";

/// Shows a table at once: a run is long.
pub fn show(table: &Table) {
    println!("\n{}\n", table.text());
}

/// Writes all tables of a run into one file.
pub fn write(file: &Path, tables: &[Table]) {
    let texts: Vec<String> = tables.iter().map(Table::text).collect();
    fs::write(file, texts.join("\n\n") + "\n").unwrap();
}

/// Puts the tables where their markers are; other tables stay.
pub fn update(document: &Path, tables: &[Table]) {
    let mut text = fs::read_to_string(document).unwrap();
    for table in tables {
        let start = table.start();
        let place = text.split_once(&start).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some(format!("{before}{}{after}", table.text()))
        });
        text = place.unwrap_or_else(|| panic!("{} has no {start}", document.display()));
    }
    fs::write(document, text).unwrap();
}
