//! Presence of the caller's friends.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use shared::{id::UserId, problem::Problem, protocol::presence::PresenceView};
use utoipa::ToSchema;

use super::{Shared, caller::Person};

/// Most people in one question.
const MAX_ASKED: usize = 100;

/// People and how they are.
#[derive(Serialize, ToSchema)]
pub(super) struct PresenceList {
    /// Those of the people asked for whose presence the caller may see.
    items: Vec<PresenceOf>,
}

/// How somebody is.
#[derive(Serialize, ToSchema)]
struct PresenceOf {
    /// Who.
    user: UserId,
    /// As the caller may see it.
    #[serde(flatten)]
    view: PresenceView,
}

impl PresenceList {
    pub(super) fn new(views: Vec<(UserId, PresenceView)>) -> Self {
        let items = views.into_iter();
        Self {
            items: items
                .map(|(user, view)| PresenceOf { user, view })
                .collect(),
        }
    }
}

/// How the caller's friends are
///
/// Who is no friend is left out, whether there is such a person or not.
#[utoipa::path(get, path = "/v1/presence", tag = "presence", security(("bearer" = [])),
    params(("user" = Vec<UserId>, Query, description = "1–100 people: `user=a&user=b` or `user=a,b`")),
    responses((status = 200, body = PresenceList), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn of_friends(
    person: Person,
    query: web::Query<Vec<(String, String)>>,
    rest: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let asked = asked(&query)?;
    let graph = rest.parts.friends.load(&person.user).await;
    let graph = graph.map_err(Problem::unavailable)?;
    let presence = &rest.parts.presence;
    let seen = presence.seen_by(&person.user, &graph, &asked).await;
    Ok(HttpResponse::Ok().json(PresenceList::new(seen)))
}

fn asked(query: &[(String, String)]) -> Result<Vec<UserId>, Problem> {
    let mut users = Vec::new();
    for (_, value) in query.iter().filter(|(key, _)| key == "user") {
        for id in value.split(',') {
            let user = UserId::parse(id).map_err(|error| {
                Problem::invalid(format!("user: {error}")).field("user", error.to_string())
            })?;
            if !users.contains(&user) {
                users.push(user);
            }
        }
    }
    if (1..=MAX_ASKED).contains(&users.len()) {
        Ok(users)
    } else {
        let allowed = format!("is there 1 to {MAX_ASKED} times");
        Err(Problem::invalid(format!("user {allowed}")).field("user", allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_asked_for_once_each() {
        let query = |values: &[&str]| {
            let pairs = values.iter().map(|v| ("user".to_owned(), (*v).to_owned()));
            asked(&pairs.collect::<Vec<_>>()).map(|users| users.len())
        };
        assert_eq!(query(&["a", "b,c", "a"]), Ok(3));
        let many: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
        assert!(query(&[&many[..100].join(",")]).is_ok());
        for bad in [&[][..], &[""], &["a,"], &["a b"], &[&many.join(",")]] {
            assert!(query(bad).is_err(), "{bad:?}");
        }
    }
}
