//! Tables as the walk-through shows them. No cell is ever wrapped: ids and times are there to be copied.

use comfy_table::presets::ASCII_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, LineStyle, Table};

use crate::text;

/// A table with its headers centred between `+---+` lines. Every cell is made safe for a terminal.
pub(crate) fn table<R>(headers: &[&str], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(ASCII_FULL_CONDENSED.header_separator(LineStyle::new('+', '-', '+', '+')));
    let centred =
        |header: &&str| Cell::new_owned(text::safe(header).to_uppercase()).set_alignment(CellAlignment::Center);
    table.set_header(headers.iter().map(centred));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| Cell::new_owned(text::safe(&cell))));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_centred_and_cells_are_not_wrapped() {
        let rows = [["624888fda8001d773e34de43", "ready"].map(str::to_owned)];
        let expected = "\
+--------------------------+-------+
|          JOB ID          | STATE |
+--------------------------+-------+
| 624888fda8001d773e34de43 | ready |
+--------------------------+-------+";
        assert_eq!(table(&["job id", "state"], rows), expected);
    }

    #[test]
    fn a_cell_with_a_line_end_stays_one_line() {
        let rows = [["a\nb".to_owned()]];
        assert!(table(&["x"], rows).contains("| a\\nb |"));
    }
}
