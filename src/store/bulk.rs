//! Many rows in few statements: as parameters one by one on SQLite, which would read each row's JSON again for each of
//! its columns, and as one array a column on PostgreSQL.

use std::sync::{Arc, OnceLock};

use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

/// How many rows a statement of SQLite takes: what is left over by the larger ones goes to the smaller. A statement costs
/// two changes of thread.
const SIZES: [usize; 16] = [256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// A row, as SQLite's parameters.
pub(super) trait Row {
    /// Adds its columns in order.
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError>;
}

/// A column of a row.
pub(crate) enum Value<'v> {
    Number(Option<i64>),
    Text(Option<&'v str>),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text)
    }
}

/// Columns of rows. A text that is the one of the row before is not copied again.
pub(super) struct Values {
    arguments: SqliteArguments,
    /// The last text of each column.
    texts: Vec<Arc<str>>,
    column: usize,
}

impl Values {
    /// Adds the next column.
    pub(super) fn add<'v>(&mut self, value: impl Into<Value<'v>>) -> Result<(), BoxDynError> {
        let column = self.column;
        self.column = (column + 1) % self.texts.len();
        match value.into() {
            Value::Number(number) => self.arguments.add(number),
            Value::Text(None) => self.arguments.add(None::<i64>),
            Value::Text(Some(text)) => {
                let Some(last) = self.texts.get_mut(column) else { return Ok(()) };
                if **last != *text {
                    *last = Arc::from(text);
                }
                self.arguments.add(last.clone())
            }
        }
    }
}

/// A statement of SQLite around `VALUES` of several rows.
pub(super) struct Bulk {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; SIZES.len()],
}

impl Bulk {
    /// `before`, then rows of so many columns, then `after`.
    pub(super) const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { before, columns, after, texts: [const { OnceLock::new() }; SIZES.len()] }
    }

    /// The statements that take all `rows`, each with its own.
    pub(super) fn parts<'r, R>(
        &'static self,
        rows: &'r [R],
    ) -> impl Iterator<Item = (&'static str, &'r [R])> + use<'r, R> {
        let mut rest = rows;
        std::iter::from_fn(move || {
            let (text, size) = self.texts.iter().zip(SIZES).find(|(_, size)| *size <= rest.len())?;
            let (part, left) = rest.split_at_checked(size)?;
            rest = left;
            Some((text.get_or_init(|| self.text(size)).as_str(), part))
        })
    }

    /// The parameters of `rows`.
    pub(super) fn arguments<R: Row>(&self, rows: &[R]) -> Result<SqliteArguments, sqlx::Error> {
        let texts = vec![Arc::from(""); self.columns];
        let mut values = Values { arguments: SqliteArguments::default(), texts, column: 0 };
        values.arguments.reserve(rows.len() * self.columns, 0);
        rows.iter().try_for_each(|row| row.add(&mut values)).map_err(sqlx::Error::Encode)?;
        Ok(values.arguments)
    }

    fn text(&self, rows: usize) -> String {
        // Without numbers: a name of a parameter is looked for in the list of all.
        let row = format!("({})", vec!["?"; self.columns].join(","));
        [self.before, &vec![row.as_str(); rows].join(","), self.after].concat()
    }
}

/// One column of `rows`, as PostgreSQL's array.
pub(super) fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection as _;

    static PAIRS: Bulk = Bulk::new("INSERT INTO t VALUES ", 2, " RETURNING a");

    #[test]
    fn all_rows_are_taken_once_and_in_order_by_the_fewest_statements() {
        for count in [0, 1, 15, 16, 17, 255, 256, 257, 1000] {
            let rows: Vec<usize> = (0..count).collect();
            let mut taken: Vec<&usize> = Vec::new();
            for (text, part) in PAIRS.parts(&rows) {
                assert_eq!(text.matches("(?,?)").count(), part.len());
                taken.extend(part);
            }
            assert_eq!(taken, rows.iter().collect::<Vec<_>>());
            let (mut most, mut left) = (0, count);
            for size in SIZES {
                (most, left) = (most + left / size, left % size);
            }
            assert_eq!(PAIRS.parts(&rows).count(), most);
        }
        let one = PAIRS.parts(&[()]).next().unwrap().0;
        assert_eq!(one, "INSERT INTO t VALUES (?,?) RETURNING a");
    }

    #[tokio::test]
    async fn columns_come_as_they_are_whatever_stood_in_the_row_before() {
        static ALL: Bulk = Bulk::new("SELECT * FROM (VALUES ", 4, ")");
        type Row4 = (Option<String>, Option<i64>, Option<String>, Option<String>);
        struct Own<'r>(&'r Row4);
        impl Row for Own<'_> {
            fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
                to.add(self.0.0.as_deref())?;
                to.add(self.0.1)?;
                to.add(self.0.2.as_deref().unwrap_or_default())?;
                to.add(self.0.3.as_deref())
            }
        }
        let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let text = |text: &str| Some(text.to_owned());
        let rows: [Row4; 5] = [
            (None, Some(1), text(""), text("a")),
            (text("a"), None, text("a"), text("a")),
            (text("a"), Some(-7), text("b"), None),
            (text(""), Some(i64::MAX), text("b"), text("b")),
            (text("a"), Some(i64::MIN), text("灰"), text("a")),
        ];
        let mut found = Vec::new();
        for (sql, part) in ALL.parts(&rows.iter().map(Own).collect::<Vec<_>>()) {
            let query = sqlx::query_as_with::<_, Row4, _>(sql, ALL.arguments(part).unwrap());
            found.extend(query.fetch_all(&mut connection).await.unwrap());
        }
        assert_eq!(found, rows);
    }
}
