//! The tunnels to one node: counted, and cut when the node is gone.

use std::{collections::HashMap, sync::Arc};

use metrics::{Gauge, counter, gauge};
use parking_lot::Mutex;
use shared::id::UserId;
use tokio::task::AbortHandle;

/// The tunnels to one node. Bound: those that were let in.
#[derive(Debug)]
pub struct Tunnels {
    open: Mutex<Open>,
    /// Held, because finding it costs as much as a part of an upgrade.
    count: Gauge,
}

impl Default for Tunnels {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            count: gauge!("fireside_lb_tunnels"),
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    tunnels: HashMap<u64, Tunnel>,
}

#[derive(Debug)]
struct Tunnel {
    user: UserId,
    /// None where the tunnel is not yet a task: its upgrade is under way.
    task: Option<AbortHandle>,
    /// The node was asked to let it go.
    asked: bool,
}

/// A tunnel's place among them; free again when this is dropped.
#[derive(Debug)]
pub struct TunnelPlace {
    tunnels: Arc<Tunnels>,
    number: u64,
}

impl Tunnels {
    /// Takes a place, from the decision on: many who come at once see each other.
    pub fn enter(self: &Arc<Self>, user: &UserId) -> TunnelPlace {
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        let tunnel = Tunnel {
            user: user.clone(),
            task: None,
            asked: false,
        };
        open.tunnels.insert(number, tunnel);
        self.count.increment(1.0);
        TunnelPlace {
            tunnels: self.clone(),
            number,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.lock().tunnels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many the node was not asked yet to let go.
    pub fn unasked(&self) -> usize {
        let open = self.open.lock();
        let tunnels = open.tunnels.values();
        tunnels.filter(|tunnel| tunnel.may_be_asked()).count()
    }

    /// Up to so many that the node is to be asked to let go now, those that are `wanted`, each once: whose they
    /// are.
    pub fn choose(&self, most: usize, wanted: impl Fn(&UserId) -> bool) -> Vec<UserId> {
        let mut open = self.open.lock();
        let mut users = Vec::new();
        for tunnel in open.tunnels.values_mut() {
            if users.len() == most {
                break;
            }
            if tunnel.may_be_asked() && wanted(&tunnel.user) {
                tunnel.asked = true;
                users.push(tunnel.user.clone());
            }
        }
        users
    }

    /// Ends all that are open; says how many.
    pub fn cut(&self) -> usize {
        // Dropped outside the lock, which a tunnel that ends takes.
        let tasks: Vec<AbortHandle> = {
            let mut open = self.open.lock();
            let tunnels = open.tunnels.values_mut();
            tunnels.filter_map(|tunnel| tunnel.task.take()).collect()
        };
        for task in &tasks {
            task.abort();
        }
        counter!("fireside_lb_tunnels_cut_total").increment(tasks.len() as u64);
        tasks.len()
    }
}

impl Tunnel {
    /// One whose upgrade is under way has only just been given a place.
    fn may_be_asked(&self) -> bool {
        !self.asked && self.task.is_some()
    }
}

impl TunnelPlace {
    /// Number in [`Self::attach`].
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The tunnels it is one of.
    pub fn tunnels(&self) -> Arc<Tunnels> {
        self.tunnels.clone()
    }
}

impl Tunnels {
    /// From now on the tunnel of this number is the task, which holds its place.
    pub fn attach(&self, number: u64, task: AbortHandle) {
        if let Some(tunnel) = self.open.lock().tunnels.get_mut(&number) {
            tunnel.task = Some(task);
        }
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.tunnels.open.lock().tunnels.remove(&self.number);
        self.tunnels.count.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_come_back_and_a_cut_ends_the_tasks() {
        let tunnels = Arc::new(Tunnels::default());
        let user = |name| UserId::parse(name).unwrap();
        let (one, two) = (tunnels.enter(&user("a")), tunnels.enter(&user("b")));
        assert_eq!(tunnels.len(), 2);
        drop(one);
        assert_eq!(tunnels.len(), 1);
        let number = two.number();
        let task = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(two);
        });
        assert!(tunnels.choose(9, |_| true).is_empty(), "it is no task yet");
        tunnels.attach(number, task.abort_handle());
        assert!(tunnels.choose(9, |who| *who == user("a")).is_empty());
        assert!(tunnels.choose(0, |_| true).is_empty());
        assert_eq!(tunnels.unasked(), 1);
        assert_eq!(tunnels.choose(9, |_| true), [user("b")]);
        assert!(tunnels.choose(9, |_| true).is_empty(), "it was asked");
        assert_eq!(tunnels.unasked(), 0);
        assert_eq!(tunnels.cut(), 1);
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(tunnels.is_empty());
        assert_eq!(tunnels.cut(), 0);
    }
}
