//! The tunnels to one node: counted, and cut when the node is gone.

use std::{collections::HashMap, sync::Arc};

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// The tunnels to one node. Bound: those that were let in.
#[derive(Debug, Default)]
pub struct Tunnels {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// None where the tunnel is not yet a task: its upgrade is under way.
    tasks: HashMap<u64, Option<AbortHandle>>,
}

/// A tunnel's place among them; free again when this is dropped.
#[derive(Debug)]
pub struct TunnelPlace {
    tunnels: Arc<Tunnels>,
    number: u64,
}

impl Tunnels {
    /// Takes a place, from the decision on: many who come at once see each other.
    pub fn enter(self: &Arc<Self>) -> TunnelPlace {
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        open.tasks.insert(number, None);
        gauge!("fireside_lb_tunnels").increment(1.0);
        TunnelPlace {
            tunnels: self.clone(),
            number,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.lock().tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all that are open; says how many.
    pub fn cut(&self) -> usize {
        // Dropped outside the lock, which a tunnel that ends takes.
        let tasks: Vec<AbortHandle> = {
            let mut open = self.open.lock();
            open.tasks.values_mut().filter_map(Option::take).collect()
        };
        for task in &tasks {
            task.abort();
        }
        counter!("fireside_lb_tunnels_cut_total").increment(tasks.len() as u64);
        tasks.len()
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
        if let Some(place) = self.open.lock().tasks.get_mut(&number) {
            *place = Some(task);
        }
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.tunnels.open.lock().tasks.remove(&self.number);
        gauge!("fireside_lb_tunnels").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_come_back_and_a_cut_ends_the_tasks() {
        let tunnels = Arc::new(Tunnels::default());
        let (one, two) = (tunnels.enter(), tunnels.enter());
        assert_eq!(tunnels.len(), 2);
        drop(one);
        assert_eq!(tunnels.len(), 1);
        let number = two.number();
        let task = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(two);
        });
        tunnels.attach(number, task.abort_handle());
        assert_eq!(tunnels.cut(), 1);
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(tunnels.is_empty());
        assert_eq!(tunnels.cut(), 0);
    }
}
