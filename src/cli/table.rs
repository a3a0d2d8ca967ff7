//! Answers in rows: a table for people, a JSON object a row for programs.

use serde_json::Value;

use super::Failure;
use super::output::Output;

/// Rows under named columns. A column is `log_end_offset` in JSON and `LOG-END-OFFSET` in the table.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// No rows yet.
    pub(super) fn new(columns: &[&str]) -> Table {
        Table { columns: columns.iter().map(|column| (*column).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row: a value for each column, null where there is none.
    pub(super) fn row(&mut self, values: impl IntoIterator<Item = Value>) {
        let row: Vec<Value> = values.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Writes it, as JSON or as a table.
    pub(super) fn write(&self, output: &mut Output, json: bool) -> Result<(), Failure> {
        if json { self.write_json(output) } else { self.write_text(output) }
    }

    /// The same, but nothing where there is no row: of something that failed.
    pub(super) fn write_rows(&self, output: &mut Output, json: bool) -> Result<(), Failure> {
        if self.rows.is_empty() { Ok(()) } else { self.write(output, json) }
    }

    fn write_json(&self, output: &mut Output) -> Result<(), Failure> {
        for row in &self.rows {
            for (index, (column, value)) in self.columns.iter().zip(row).enumerate() {
                let open = if index == 0 { '{' } else { ',' };
                write!(output, "{open}\"{column}\":{value}")?;
            }
            output.bytes(b"}\n")?;
        }
        Ok(())
    }

    fn write_text(&self, output: &mut Output) -> Result<(), Failure> {
        let heads: Vec<String> = self.columns.iter().map(|column| column.to_uppercase().replace('_', "-")).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
        let width = |at: usize| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.chain([heads[at].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        // Numbers stand right, so that they can be compared at a glance.
        let right: Vec<bool> = (0..heads.len())
            .map(|at| {
                let mut cells = self.rows.iter().map(|row| &row[at]).filter(|cell| !cell.is_null()).peekable();
                cells.peek().is_some() && cells.all(Value::is_number)
            })
            .collect();
        for row in std::iter::once(&heads).chain(&rows) {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let gap = if at == 0 { "" } else { "  " };
                let width = widths[at];
                let cell = if right[at] { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.extend([gap, &cell]);
            }
            writeln!(output, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A value in a table's cell.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::tests::Shared;

    fn written(json: bool) -> String {
        let mut table = Table::new(&["topic", "high_watermark", "replicas", "configs"]);
        table.row([json!("flights"), json!(336_776), json!([1, 2]), json!({"a": 1, "b": "x"})]);
        table.row([json!("é"), Value::Null, json!([]), Value::Null]);
        let shared = Shared::default();
        let mut output = Output::to(shared.clone());
        table.write(&mut output, json).unwrap();
        output.flush().unwrap();
        String::from_utf8(shared.taken()).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_its_numbers_stand_right() {
        insta::assert_snapshot!(written(false), @r"
        TOPIC    HIGH-WATERMARK  REPLICAS  CONFIGS
        flights          336776  1,2       a=1,b=x
        é                     -            -
        ");
    }

    #[test]
    fn a_row_is_an_object_in_the_order_of_the_columns() {
        insta::assert_snapshot!(written(true), @r#"
        {"topic":"flights","high_watermark":336776,"replicas":[1,2],"configs":{"a":1,"b":"x"}}
        {"topic":"é","high_watermark":null,"replicas":[],"configs":null}
        "#);
    }
}
