//! How people are, as somebody may see them: for sessions that start, for requests, for new friends.

use std::time::Duration;

use shared::{
    id::{Timestamp, UserId},
    protocol::{
        presence::{PresenceView, Status},
        reply::Friend,
    },
};

use super::{
    Known, Relation, Standing, merged, project,
    service::{Inner, Presence},
};
use crate::friends::Graph;

/// How long a session that starts waits for the store to know of it.
const NOTICED_IN: Duration = Duration::from_millis(500);

impl Presence {
    /// Returns when the store knows that the user is here, or soon after.
    pub async fn noticed(&self, user: &UserId) {
        self.0.be_noticed(user).await;
    }

    /// What a session begins with, in one round trip: the user's own presence, with invisible as what it is, and the friends by name as the user may
    /// see them. When the store does not answer they are `unknown`, and told of when it does. What changes
    /// from here on is told.
    pub async fn snapshot(&self, user: &UserId, graph: &Graph) -> (PresenceView, Vec<Friend>) {
        self.0.be_noticed(user).await;
        let mut people: Vec<UserId> = graph.friends.ids().cloned().collect();
        people.push(user.clone());
        let standings = self.0.standings(&people).await;
        let own = standings.as_ref().and_then(|all| all.last());
        let own = self.0.own(user, own);
        people.pop();
        let views: Vec<PresenceView> = (people.iter().enumerate())
            .map(|(n, friend)| {
                let known = match &standings {
                    Some(standings) => standings[n].known(),
                    None => Known::Unknown,
                };
                project(Relation::of_friends(user, graph, friend), &known)
            })
            .collect();
        self.0.owe_the_truth(user, &views);
        let friends = graph.friends.iter().zip(views);
        let mut friends: Vec<Friend> = friends
            .map(|((id, name), presence)| Friend {
                id: id.clone(),
                name: name.to_string(),
                presence,
            })
            .collect();
        friends.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        (own, friends)
    }

    /// Those of `users` who are the viewer's friends (or the viewer), as the viewer may see them.
    pub async fn seen_by(
        &self,
        viewer: &UserId,
        graph: &Graph,
        users: &[UserId],
    ) -> Vec<(UserId, PresenceView)> {
        let visible = |user: &&UserId| *user == viewer || graph.friends.contains(user);
        let users: Vec<UserId> = users.iter().filter(visible).cloned().collect();
        let views = self.views(viewer, graph, &users).await;
        users.into_iter().zip(views).collect()
    }

    /// Users as a friend would see them, for the game's backend.
    pub async fn bulk(&self, users: &[UserId]) -> Vec<(UserId, PresenceView)> {
        let known = self.0.known(users).await;
        let views = known.iter().map(|known| project(Relation::Open, known));
        users.iter().cloned().zip(views).collect()
    }

    /// Shows the viewer's sessions here how these are: they became friends.
    pub async fn reveal(&self, viewer: &UserId, users: &[UserId]) {
        if !self.0.teller.relays.is_online(viewer) {
            return;
        }
        let graph = self.0.teller.friends.graph(viewer).unwrap_or_default();
        let views = self.views(viewer, &graph, users).await;
        self.0.owe_the_truth(viewer, &views);
        for (user, view) in users.iter().zip(views) {
            self.0.show(viewer, user, view);
        }
    }

    /// Shows `viewers`, where else they are, how the user here is, if that changed after `since`:
    /// they became friends, and while only their nodes knew it they were not told.
    pub async fn show_elsewhere(
        &self,
        user: &UserId,
        viewers: &[UserId],
        since: Option<Timestamp>,
    ) {
        let told = self.0.teller.tell_elsewhere(user, viewers, since).await;
        if let Err(error) = told {
            self.0.doubt(&error);
        }
    }

    /// Shows the viewer's sessions here that `user` went offline, unless that is what they see
    /// already: of a block, nothing else tells.
    pub async fn conceal(&self, viewer: &UserId, user: &UserId) {
        if !self.0.teller.relays.is_online(viewer) {
            return;
        }
        let known = self.0.known(std::slice::from_ref(user)).await;
        let visible = known.first().map(|known| project(Relation::Open, known));
        if visible.is_some_and(|view| view.status != Status::Offline) {
            let offline = PresenceView {
                status: Status::Offline,
                activity: None,
                last_seen: None,
            };
            self.0.show(viewer, user, offline);
        }
    }

    async fn views(&self, viewer: &UserId, graph: &Graph, users: &[UserId]) -> Vec<PresenceView> {
        let known = self.0.known(users).await;
        let views = users.iter().zip(&known).map(|(user, known)| {
            let relation = Relation::of_friends(viewer, graph, user);
            project(relation, known)
        });
        views.collect()
    }
}

impl Inner {
    pub(super) async fn known(&self, users: &[UserId]) -> Vec<Known> {
        match self.standings(users).await {
            Some(standings) => standings.iter().map(Standing::known).collect(),
            None => vec![Known::Unknown; users.len()],
        }
    }

    /// How users stand, in their order; `None` when the store does not say.
    async fn standings(&self, users: &[UserId]) -> Option<Vec<Standing>> {
        let standings = self.teller.read(users).await;
        standings
            .inspect_err(|error| {
                tracing::debug!(%error, "presence is unknown");
                self.doubt(error);
            })
            .ok()
    }

    /// The user's own presence, with what the store has of it, if that is known.
    fn own(&self, user: &UserId, standing: Option<&Standing>) -> PresenceView {
        let held = self.roster(user).lock().held(user);
        let known = match (standing, held) {
            // What is held here may be on its way to the store.
            (Some(standing), held) => {
                let elsewhere = match *self.lease.lock() {
                    Some(lease) => standing.elsewhere(self.teller.bridge.node(), lease),
                    None => standing.merged(),
                };
                Known::Is {
                    state: merged(held.iter().chain(&elsewhere)),
                    last_seen: standing.last_seen,
                }
            }
            (None, Some(held)) => Known::Is {
                state: Some(held),
                last_seen: None,
            },
            (None, None) => Known::Unknown,
        };
        project(Relation::Own, &known)
    }

    /// Waits until the store knows that the user is here: other nodes tell of their changes only
    /// those of whom it does. If that takes too long, what is missed meanwhile is shown afterwards.
    async fn be_noticed(&self, user: &UserId) {
        if self.teller.bridge.alone() {
            return;
        }
        let noticed = async {
            loop {
                let mut taken = std::pin::pin!(self.taken.notified());
                taken.as_mut().enable();
                if self.roster(user).lock().is_noticed(user) {
                    return;
                }
                taken.await;
            }
        };
        if tokio::time::timeout(NOTICED_IN, noticed).await.is_err() {
            self.roster(user)
                .lock()
                .falls_behind(user, Timestamp::now());
        }
    }

    /// Whoever was shown `unknown` is shown what is true when that is known.
    pub(super) fn owe_the_truth(&self, viewer: &UserId, views: &[PresenceView]) {
        if views.iter().any(|view| view.status == Status::Unknown) {
            self.catch_up(viewer, None);
        }
    }
}
