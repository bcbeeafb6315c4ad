//! Many rows in few statements: as parameters one by one on SQLite, which would read each row's JSON again for each of
//! its columns, and as one array a column on PostgreSQL.

use std::sync::OnceLock;

use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

/// How many rows a statement of SQLite takes: what is left over by the larger ones goes to the smaller. A statement costs
/// two changes of thread.
const SIZES: [usize; 3] = [256, 16, 1];

/// A row, as SQLite's parameters.
pub(super) trait Row {
    /// Adds its columns in order.
    fn add(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError>;
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
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * self.columns, 0);
        rows.iter().try_for_each(|row| row.add(&mut arguments)).map_err(sqlx::Error::Encode)?;
        Ok(arguments)
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
            assert_eq!(PAIRS.parts(&rows).count(), count / 256 + count % 256 / 16 + count % 16);
        }
        let one = PAIRS.parts(&[()]).next().unwrap().0;
        assert_eq!(one, "INSERT INTO t VALUES (?,?) RETURNING a");
    }
}
