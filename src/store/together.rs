//! Statements of SQLite that go to its thread together: each way there and back costs several changes of thread, more
//! than most statements do.
//!
//! `sqlx` takes several statements in one text for SQLite alone. PostgreSQL, which has no such thread, is sent each at once.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Database, Encode, Type};

use super::bulk::Value;
use super::error::StoreError;

/// Most statements that wait; few, so that the texts that SQLite keeps prepared are few.
pub(super) const STATEMENTS_MAX: usize = 16;
/// Fails where the statement before it changed no row, so that what follows, a commit too, is not run. What it reads is known
/// when it runs only: SQLite works out what is constant before it runs anything.
const FOUND: &str = "SELECT json(CASE changes() WHEN 0 THEN '' ELSE '0' END)";

/// What a statement must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    /// Not fail.
    Run,
    /// Change a row besides: [`StoreError::NotFound`] where it does not.
    Find,
    /// Not fail, or something is not as it was taken to be: [`StoreError::Moved`].
    Hold,
}

/// Statements that wait for the next one whose rows are wanted, or for the commit.
#[derive(Default)]
pub(crate) struct Together {
    pub(super) sql: String,
    pub(super) arguments: SqliteArguments,
    /// What each statement must do.
    musts: Vec<Must>,
    /// Whether the first of them begins a transaction.
    pub(super) begins: bool,
}

impl Together {
    /// Adds a statement, whose parameters are `$1` and so on.
    pub(super) fn add(&mut self, sql: &str, values: &[Value<'_>], must: Must) -> Result<(), sqlx::Error> {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
        renumber(sql, self.arguments.len(), &mut self.sql);
        add(&mut self.arguments, values).map_err(sqlx::Error::Encode)?;
        self.musts.push(if must == Must::Hold { must } else { Must::Run });
        if must == Must::Find {
            self.sql.push_str("; ");
            self.sql.push_str(FOUND);
            self.musts.push(Must::Find);
        }
        Ok(())
    }

    /// Adds a statement whose parameters have no numbers. It must be the first: those of SQLite count from the first on.
    pub(super) fn begin_with(&mut self, sql: &str, arguments: SqliteArguments) {
        self.sql.push_str(sql);
        self.arguments = arguments;
        self.musts.push(Must::Run);
    }

    /// How many statements wait.
    pub(super) fn len(&self) -> usize {
        self.musts.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.musts.len() >= STATEMENTS_MAX
    }

    /// What it says that a statement failed behind so many others, if that was meant to tell something.
    pub(super) fn told(&self, done: usize) -> Option<StoreError> {
        match self.musts.get(done)? {
            Must::Run => None,
            Must::Find => Some(StoreError::NotFound),
            Must::Hold => Some(StoreError::Moved),
        }
    }
}

/// Adds parameters in order.
pub(super) fn add<'v, A, D>(to: &mut A, values: &[Value<'v>]) -> Result<(), BoxDynError>
where
    A: Arguments<Database = D>,
    D: Database,
    Option<i64>: Encode<'v, D> + Type<D>,
    Option<&'v str>: Encode<'v, D> + Type<D>,
{
    values.iter().try_for_each(|value| match value {
        Value::Number(number) => to.add(*number),
        Value::Text(text) => to.add(*text),
    })
}

/// Writes `sql` with its parameters numbered behind `before` others. `$.` of a path in JSON is none.
fn renumber(sql: &str, before: usize, to: &mut String) {
    let mut rest = sql;
    while let Some((head, tail)) = rest.split_once('$') {
        to.push_str(head);
        to.push('$');
        let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = tail.split_at_checked(digits).unwrap_or(("", tail));
        match number.parse::<usize>() {
            Ok(number) => to.push_str(&(number + before).to_string()),
            Err(_) => to.push_str(number),
        }
        rest = after;
    }
    to.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_behind_those_before() {
        let mut together = Together::default();
        together.add("BEGIN", &[], Must::Run).unwrap();
        together.add("UPDATE t SET a = $2 WHERE b = $1", &[1.into(), "x".into()], Must::Find).unwrap();
        together.add("SELECT j ->> '$.a', $1, $10, '$' FROM t WHERE c = $1", &[2.into()], Must::Run).unwrap();
        assert_eq!(
            together.sql,
            format!(
                "BEGIN; UPDATE t SET a = $2 WHERE b = $1; {FOUND}; SELECT j ->> '$.a', $3, $12, '$' FROM t WHERE c = $3"
            )
        );
        assert_eq!((together.arguments.len(), together.len()), (3, 4));
        together.add("SELECT 1", &[], Must::Hold).unwrap();
        let told = [0, 1, 2, 3, 4, 5].map(|done| together.told(done));
        assert_eq!(told, [None, None, Some(StoreError::NotFound), None, Some(StoreError::Moved), None]);
    }
}
