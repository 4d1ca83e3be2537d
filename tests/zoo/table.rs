//! The visits for people: one line an exhibit, then whatever is wrong.

use std::fmt;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::visit::Visit;

/// All visits as text.
pub struct Text<'v> {
    pub visits: &'v [Visit<'v>],
    /// Whether the shrunk world of every bug is shown, whatever the verdict.
    pub worlds: bool,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["area", "bug", "caught by", "worlds", "faults", "shrunk to", "verdict"]);
        for column in table.column_iter_mut().skip(3).take(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for visit in self.visits {
            let of_catch = |cell: &dyn Fn(&crate::visit::Catch) -> String| {
                Cell::new(visit.catch.as_ref().map_or_else(|| "-".to_owned(), cell))
            };
            let verdict = match visit.complaints.first() {
                None if visit.exhibit.needs_two_faults => "found, only by two together".to_owned(),
                None => "found".to_owned(),
                Some(complaint) => complaint.to_string(),
            };
            table.add_row([
                Cell::new(visit.exhibit.area.as_str()),
                Cell::new(visit.exhibit.name),
                of_catch(&|catch| catch.rule.name().to_owned()),
                of_catch(&|catch| catch.worlds.to_string()),
                of_catch(&|catch| catch.faults_found.to_string()),
                of_catch(&|catch| catch.plan.faults.len().to_string()),
                Cell::new(verdict),
            ]);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        for visit in self.visits.iter().filter(|visit| self.worlds || !visit.is_good()) {
            writeln!(f, "\n{}: {}", visit.exhibit.name, visit.exhibit.about)?;
            for complaint in &visit.complaints {
                writeln!(f, "  {complaint} (expected: {})", visit.exhibit.rule)?;
                if let Some(outcome) = complaint.outcome() {
                    writeln!(f, "{outcome}")?;
                }
            }
            if let Some(catch) = &visit.catch {
                writeln!(f, "the bug's world:\n{}", catch.outcome)?;
            }
        }
        let good = self.visits.iter().filter(|visit| visit.is_good()).count();
        writeln!(f, "\n{good} of {} bugs caught by the right rule, with a twin that passes", self.visits.len())
    }
}
