//! Guest books: what visitors write on somebody's page.
//!
//! The owner of a book says who reads it and who writes in it (see [`crate::privacy`]), hides
//! entries and deletes them; an author deletes their own. What somebody writes whom the owner
//! blocks is there for its author alone, who cannot tell.

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    id::{Timestamp, UserId},
    text::shows_something,
};
use ulid::Ulid;

use crate::{
    catalogue::prose,
    error::{StoreError, Violation},
    friends::profiles,
    idempotency::{Answered, IdempotencyKey, Named},
    notices::{News, Topic},
    paging::{Page, PageRequest},
    privacy::{Section, shows},
    sql::{self, values},
    store::{Store, lock_users},
    users::Profile,
};

/// The longest entry, in characters.
const MAX_TEXT: usize = 500;
/// How many entries one person writes in one book in a day.
const MAX_A_DAY: i64 = 10;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// What somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestBookEntry {
    /// Its name.
    pub id: String,
    /// Who wrote it.
    pub author: Profile,
    /// What.
    pub text: String,
    /// When.
    pub at: Timestamp,
    /// Whether the owner of the book hides it; only the owner is told so.
    pub hidden: bool,
}

/// What is to be written.
#[derive(Serialize)]
struct Request<'a> {
    owner: &'a UserId,
    text: &'a str,
}

/// What is kept of an answer. The words come with the request again: nothing keeps what was deleted.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    at: i64,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    author: String,
    text: String,
    created_at: i64,
    hidden: bool,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

const ENTRY: &str = "SELECT b.id, b.author, b.text, b.created_at, b.hidden FROM guest_book b";

impl Store {
    /// Writes in the guest book of `owner`.
    pub async fn write_in_guest_book(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        owner: &UserId,
        text: &str,
    ) -> Result<Answered<GuestBookEntry>, StoreError> {
        let text = prose("text", text, MAX_TEXT)?;
        if !shows_something(&text) {
            return Err(Violation::new("text", "required", "there is nothing to read").into());
        }
        let caller = format!("user:{me}");
        let request = Request { owner, text: &text };
        let named = Named::new(&caller, key, "guest-book", &request)?;
        let tx = self.database().begin().await?;
        if let Some(kept) = named.claim::<Kept>(self, &tx).await? {
            return Ok(Answered {
                answer: written(&tx, me, kept.answer, text).await?,
                replayed: true,
            });
        }
        // Locked: what one person writes is counted one after the other.
        let users = lock_users(&tx, &[me, owner]).await?;
        let find = |id: &UserId| users.iter().find(|user| user.id == id.as_str());
        let author = find(me).ok_or(StoreError::Unauthenticated("the account is withdrawn"))?;
        find(owner).ok_or(StoreError::NotFound)?;
        if !shows(&tx, me, owner, Section::GuestBookEntries).await? {
            return Err(StoreError::Forbidden("you may not write in this book"));
        }
        let now = self.now().as_millis();
        // What counts no more.
        sql::execute(
            &tx,
            "DELETE FROM guest_book WHERE author = ? AND owner = ? AND removed_at <= ?",
            values![me.as_str(), owner.as_str(), now - DAY],
        )
        .await?;
        let wrote = "SELECT COUNT(*) AS count FROM guest_book \
                     WHERE author = ? AND owner = ? AND created_at > ?";
        let values = values![me.as_str(), owner.as_str(), now - DAY];
        if count(&tx, wrote, values).await? >= MAX_A_DAY {
            let message = "you have written ten times today";
            return Err(StoreError::Conflict {
                message,
                violations: vec![Violation::new("text", "too_many", message)],
            });
        }
        let id = Ulid::new().to_string();
        sql::execute(
            &tx,
            "INSERT INTO guest_book (id, owner, author, text, created_at) VALUES (?, ?, ?, ?, ?)",
            values![id.as_str(), owner.as_str(), me.as_str(), text.as_str(), now],
        )
        .await?;
        let kept = Kept {
            id: id.clone(),
            at: now,
        };
        named.keep(&tx, &kept).await?;
        let entry = written(&tx, me, kept, text).await?;
        let blocks = "SELECT COUNT(*) AS count FROM blocks WHERE owner = ? AND other = ?";
        let blocked = count(&tx, blocks, values![owner.as_str(), me.as_str()]).await? > 0;
        if me != owner && !blocked {
            let from = json!({"id": author.id, "name": author.name});
            let wrote = News {
                user: owner.clone(),
                topic: Topic::GuestBookEntry,
                // Without the words: they are in the book until somebody deletes them.
                data: json!({"entry": id, "from": from}),
            };
            self.tell(&tx, vec![wrote]).await?;
        }
        self.commit(tx).await?;
        Ok(Answered::first(entry))
    }

    /// What stands in the guest book of `owner` for `viewer`, the newest first.
    pub async fn guest_book(
        &self,
        viewer: &UserId,
        owner: &UserId,
        page: &PageRequest,
    ) -> Result<Page<GuestBookEntry>, StoreError> {
        self.require_shown(viewer, owner, Section::GuestBook)
            .await?;
        let db = self.database().reader();
        let mut values = values![owner.as_str()];
        let mut before = "";
        if !page.after().is_empty() {
            before = " AND b.id < ?";
            values.push(page.after().into());
        }
        values.extend(values![
            viewer.as_str(),
            false,
            viewer.as_str(),
            viewer.as_str(),
            page.fetch() as i64
        ]);
        // Neither what the owner's blocks hide from all, nor what the viewer's hide from them.
        let text = format!(
            "{ENTRY} WHERE b.owner = ? AND b.removed_at IS NULL{before} AND (b.author = ? OR ((b.hidden = ? OR b.owner = ?) \
             AND NOT EXISTS (SELECT 1 FROM blocks k WHERE k.other = b.author AND k.owner IN (b.owner, ?)))) \
             ORDER BY b.id DESC LIMIT ?"
        );
        let rows: Vec<Row> = sql::all(db, &text, values).await?;
        let page = page.cut(rows, |row| row.id.clone());
        let ids = page.items.iter().map(|row| row.author.as_str());
        let authors = profiles(db, viewer, ids).await?;
        let own = viewer == owner;
        Ok(page.filter_map(|row| {
            let author = authors.get(&row.author)?.clone();
            Some(entry(row, author, own))
        }))
    }

    /// Deletes an entry in the guest book of `owner`: the owner any, others their own. One that is
    /// not there is fine. What is left of it, without its words, counts for as long as entries do that may be
    /// written in a day.
    pub async fn delete_guest_book_entry(
        &self,
        me: &UserId,
        owner: &UserId,
        id: &str,
    ) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let deleted = sql::execute(
            &tx,
            "UPDATE guest_book SET text = '', removed_at = ? \
             WHERE id = ? AND owner = ? AND (owner = ? OR author = ?) AND removed_at IS NULL",
            values![
                self.now().as_millis(),
                id,
                owner.as_str(),
                me.as_str(),
                me.as_str()
            ],
        );
        if deleted.await? == 0 {
            let there = "SELECT COUNT(*) AS count FROM guest_book \
                         WHERE id = ? AND owner = ? AND removed_at IS NULL";
            if count(&tx, there, values![id, owner.as_str()]).await? > 0 {
                return Err(StoreError::Forbidden("somebody else wrote this"));
            }
            return Ok(());
        }
        self.database().commit(tx).await?;
        Ok(())
    }

    /// Hides an entry in the guest book of `owner` from visitors, or shows it again. Only the owner
    /// may; its author sees it as before.
    pub async fn hide_guest_book_entry(
        &self,
        me: &UserId,
        owner: &UserId,
        id: &str,
        hidden: bool,
    ) -> Result<(), StoreError> {
        if me != owner {
            return Err(StoreError::Forbidden("this book is somebody else's"));
        }
        let tx = self.database().begin().await?;
        let changed = sql::execute(
            &tx,
            "UPDATE guest_book SET hidden = ? WHERE id = ? AND owner = ? AND removed_at IS NULL",
            values![hidden, id, owner.as_str()],
        );
        if changed.await? == 0 {
            return Err(StoreError::NotFound);
        }
        self.database().commit(tx).await?;
        Ok(())
    }
}

/// What `me` wrote, as it was when they did, also if it was deleted since.
async fn written(
    tx: &DatabaseTransaction,
    me: &UserId,
    kept: Kept,
    text: String,
) -> Result<GuestBookEntry, StoreError> {
    let mut authors = profiles(tx, me, [me.as_str()].into_iter()).await?;
    Ok(GuestBookEntry {
        id: kept.id,
        author: authors.remove(me.as_str()).ok_or(StoreError::NotFound)?,
        text,
        at: Timestamp::from_millis(kept.at),
        hidden: false,
    })
}

fn entry(row: Row, author: Profile, to_owner: bool) -> GuestBookEntry {
    GuestBookEntry {
        id: row.id,
        author,
        text: row.text,
        at: Timestamp::from_millis(row.created_at),
        hidden: row.hidden && to_owner,
    }
}

async fn count(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<sea_orm::Value>,
) -> Result<i64, StoreError> {
    let row: Option<Count> = sql::one(db, text, values).await?;
    Ok(row.map_or(0, |row| row.count))
}
