//! Statements of SQLite that go to its thread together: each way there and back costs several changes of thread, more
//! than most statements do.
//!
//! `sqlx` takes several statements in one text for SQLite alone. PostgreSQL, which has no such thread, is sent each at once.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Database, Encode, Type};

use super::bulk::Value;

/// Most statements that wait; few, so that the texts that SQLite keeps prepared are few.
pub(super) const STATEMENTS_MAX: usize = 16;

/// What a statement must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    /// Not fail.
    Run,
    /// Change a row besides: [`super::StoreError::NotFound`] where it does not.
    Find,
}

/// Statements that wait for the next one whose rows are wanted, or for the commit.
#[derive(Default)]
pub(crate) struct Together {
    pub(super) sql: String,
    pub(super) arguments: SqliteArguments,
    /// What each statement must do.
    pub(super) musts: Vec<Must>,
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
        self.musts.push(must);
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.musts.len() >= STATEMENTS_MAX
    }

    /// Whether it may be too late to see at the commit that a statement changed no row.
    pub(super) fn must_find(&self) -> bool {
        self.musts.contains(&Must::Find)
    }

    /// Whether each statement that had to change a row did, where they changed so many.
    pub(super) fn found(&self, changed: &[u64]) -> bool {
        self.musts.iter().zip(changed).all(|(must, changed)| *must == Must::Run || *changed > 0)
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
            "BEGIN; UPDATE t SET a = $2 WHERE b = $1; SELECT j ->> '$.a', $3, $12, '$' FROM t WHERE c = $3"
        );
        assert_eq!(together.arguments.len(), 3);
        assert!(together.must_find());
        assert!(together.found(&[0, 1, 0]) && !together.found(&[1, 0, 1]));
    }
}
