//! Who lives on the server under load: accounts, friendships, rooms, made over REST as anybody
//! would make them.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet};

use super::Server;
use crate::{
    accounts::{Account, Rest},
    swarm::Fault,
};

/// The most members a room is made with; others are brought in as many at a time.
const AT_ONCE: usize = 499;
/// Requests under way at once.
const PARALLEL: usize = 64;

/// Who is friends with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Friends {
    /// Nobody, and the store knows none of them: rooms do without accounts.
    Strangers,
    /// Accounts, each friends with so many others, an even number.
    Each(usize),
}

/// People on a server.
#[derive(Debug)]
pub struct World {
    runtime: Runtime,
    rest: Rest,
    service: String,
    users: Vec<String>,
}

impl World {
    /// Settles `people` on the server.
    pub fn settle(
        server: &Server,
        people: usize,
        friends: Friends,
        mut progress: impl FnMut(&str, usize, usize),
    ) -> Result<Self, Fault> {
        let mut world = Self::of(server, Vec::new())?;
        world.users = match friends {
            Friends::Strangers => (0..people).map(|n| format!("load-{n}")).collect(),
            Friends::Each(each) => {
                let accounts = world.register(people, &mut progress)?;
                world.befriend(&accounts, each, &mut progress)?;
                accounts.iter().map(|a| a.id.to_string()).collect()
            }
        };
        Ok(world)
    }

    /// People who were settled there before.
    pub fn of(server: &Server, users: Vec<String>) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self {
            runtime: runtime.map_err(|error| Fault::Target(error.to_string()))?,
            rest: Rest::new(&format!("http://{}", server.address())).map_err(fault)?,
            service: server.access().service().to_owned(),
            users,
        })
    }

    /// Their ids.
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// Makes a room for these people; returns its id and where its log stands.
    pub fn room(&self, kind: &str, name: &str, members: &[String]) -> Result<(String, u64), Fault> {
        self.runtime.block_on(async {
            let (first, others) = members.split_at(members.len().min(AT_ONCE));
            let body = json!({"kind": kind, "name": name, "members": first});
            let room = self.service("/v1/server/rooms", body).await?;
            let id = room["room"]["id"].as_str().unwrap_or_default().to_owned();
            let mut head = room["room"]["head"].as_u64().unwrap_or_default();
            for users in others.chunks(AT_ONCE) {
                let path = format!("/v1/server/rooms/{id}/members");
                let answer = self.service(&path, json!({"users": users})).await?;
                // Each who comes in is an entry of the room's log.
                let added = answer["added"].as_u64().unwrap_or_default();
                if added != users.len() as u64 {
                    return Err(Fault::Target(format!("not everybody came in: {answer}")));
                }
                head += added;
            }
            Ok((id, head))
        })
    }

    async fn service(&self, path: &str, body: Value) -> Result<Value, Fault> {
        let answer = self
            .rest
            .ok(Method::POST, path, Some(&body), Some(&self.service));
        answer.await.map_err(fault)
    }

    fn register(
        &self,
        people: usize,
        progress: &mut impl FnMut(&str, usize, usize),
    ) -> Result<Vec<Account>, Fault> {
        let one = |n: usize| {
            let rest = self.rest.clone();
            async move {
                let name = format!("load{n}");
                let email = format!("{name}@example.org");
                Ok((n, rest.register(&name, &email).await.map_err(fault)?))
            }
        };
        let mut accounts = self.all(people, one, |done| progress("accounts", done, people))?;
        accounts.sort_by_key(|(n, _)| *n);
        Ok(accounts.into_iter().map(|(_, account)| account).collect())
    }

    /// Everybody is friends with the `each / 2` people on either side.
    fn befriend(
        &self,
        accounts: &[Account],
        each: usize,
        progress: &mut impl FnMut(&str, usize, usize),
    ) -> Result<(), Fault> {
        let reach = each / 2;
        let pairs = accounts.len() * reach;
        let one = |n: usize| {
            let rest = self.rest.clone();
            let (who, step) = (n / reach, n % reach + 1);
            let a = accounts[who].clone();
            let b = accounts[(who + step) % accounts.len()].clone();
            async move { rest.befriend(&a, &b).await.map_err(fault) }
        };
        self.all(pairs, one, |done| progress("friendships", done, pairs))?;
        Ok(())
    }

    /// Runs `count` requests, some at a time.
    fn all<T: Send + 'static, F: Future<Output = Result<T, Fault>> + Send + 'static>(
        &self,
        count: usize,
        one: impl Fn(usize) -> F,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<T>, Fault> {
        self.runtime.block_on(async {
            let mut under_way = JoinSet::new();
            let mut results = Vec::with_capacity(count);
            let mut begun = 0;
            while results.len() < count {
                while begun < count && under_way.len() < PARALLEL {
                    under_way.spawn(one(begun));
                    begun += 1;
                }
                let Some(ended) = under_way.join_next().await else {
                    break;
                };
                results.push(ended.map_err(|error| Fault::Target(error.to_string()))??);
                progress(results.len());
            }
            Ok(results)
        })
    }
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Target(error.to_string())
}
