//! Statements spelled by hand, for what the query builder has no words for: conditional updates
//! that answer what they made, sums, windows of time. Both databases know every one of them; only
//! the marks of bound values differ, and those are put in here.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, Value};

/// The values of a statement, in order: `values![id, 7_i64]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(::sea_orm::Value::from($value)),*] };
}
pub(crate) use values;

/// Runs a statement in whose text `?` stands for each of the values. Answers how many rows it
/// touched.
pub(crate) async fn execute(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<u64, DbErr> {
    let statement = statement(db.get_database_backend(), text, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

/// The first row.
pub(crate) async fn one<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<Option<T>, DbErr> {
    let statement = statement(db.get_database_backend(), text, values);
    let row = db.query_one_raw(statement).await?;
    row.map(|row| T::from_query_result(&row, "")).transpose()
}

/// Every row.
pub(crate) async fn all<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<Vec<T>, DbErr> {
    let statement = statement(db.get_database_backend(), text, values);
    let rows = db.query_all_raw(statement).await?;
    rows.iter()
        .map(|row| T::from_query_result(row, ""))
        .collect()
}

/// `(?, ?, ?)`, for a list of so many.
pub(crate) fn list(length: usize) -> String {
    format!("({})", vec!["?"; length].join(", "))
}

fn statement(backend: DbBackend, text: &str, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(backend, marked(backend, text), values)
}

/// PostgreSQL counts its marks.
fn marked(backend: DbBackend, text: &str) -> String {
    if backend != DbBackend::Postgres {
        return text.to_owned();
    }
    let mut marked = String::with_capacity(text.len() + 16);
    for (number, piece) in text.split('?').enumerate() {
        if number > 0 {
            marked.push('$');
            marked.push_str(&number.to_string());
        }
        marked.push_str(piece);
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_spelled_as_the_database_wants_them() {
        let text = format!("a = ? AND b IN {}", list(2));
        assert_eq!(marked(DbBackend::Sqlite, &text), "a = ? AND b IN (?, ?)");
        assert_eq!(
            marked(DbBackend::Postgres, &text),
            "a = $1 AND b IN ($2, $3)"
        );
    }
}
