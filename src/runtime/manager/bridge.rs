//! Makes a `SectorManager`, which never blocks, of an asynchronous `Manager`.
//!
//! Each submitted call is a task of the daemon's tokio runtime; `poll` looks whether it has ended. A call
//! that panics, and one cut off by the end of the runtime, answers with an error instead of hanging. Calls
//! that have not ended when the bridge is dropped are abandoned: every call is safe to repeat.

use super::{Answer, Call, CallTicket, Manager, ManagerError, SectorManager};
use crate::runtime::{metrics, words::panic_text};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle},
};

type Reply = Result<Answer, ManagerError>;

/// A `Manager` behind submit and poll.
pub struct Bridge<M> {
    manager: Arc<M>,
    runtime: Handle,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    given: u64,
    open: HashMap<CallTicket, (&'static str, JoinHandle<Reply>)>,
}

impl<M: Manager> Bridge<M> {
    /// Carries out calls to `manager` on `runtime`.
    pub fn new(manager: Arc<M>, runtime: Handle) -> Self {
        Self { manager, runtime, calls: Mutex::default() }
    }
}

impl<M: Manager> SectorManager for Bridge<M> {
    fn submit(&self, call: Call) -> CallTicket {
        let method = call.method();
        let manager = self.manager.clone();
        let task = self.runtime.spawn(async move {
            let asked = Instant::now();
            let answer = manager.call(call).await;
            metrics::manager_called(method, &answer, asked.elapsed());
            answer
        });
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.given += 1;
        let ticket = CallTicket(calls.given);
        calls.open.insert(ticket, (method, task));
        ticket
    }

    fn poll(&self, ticket: CallTicket) -> Option<Reply> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((method, task)) = calls.open.get_mut(&ticket) else {
            drop(calls);
            panic!("call ticket {} was never given or has been answered", ticket.0);
        };
        // A noop waker: whoever polls comes back by itself.
        let ended = match Pin::new(task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return None,
            Poll::Ready(Ok(reply)) => reply,
            Poll::Ready(Err(cut_off)) => Err(ManagerError::Unreachable { method, reason: why(cut_off) }),
        };
        calls.open.remove(&ticket);
        Some(ended)
    }
}

impl<M> Drop for Bridge<M> {
    fn drop(&mut self) {
        let calls = self.calls.get_mut().unwrap_or_else(PoisonError::into_inner);
        calls.open.values().for_each(|(_, task)| task.abort());
    }
}

fn why(cut_off: JoinError) -> String {
    match cut_off.try_into_panic() {
        Ok(panic) => format!("the call panicked: {}", panic_text(panic.as_ref())),
        Err(_) => "the call was cut off because the daemon is stopping".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::manager::wire::SectorId;
    use std::time::Duration;
    use tokio::sync::Notify;

    const SECTOR: SectorId = SectorId { miner: 1000, number: 1 };

    /// Answers polls when told to, panics on AssignTicket, refuses the rest.
    #[derive(Default)]
    struct Slow {
        go: Notify,
        dropped: Arc<Notify>,
    }

    struct OnDrop(Arc<Notify>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    impl Manager for Slow {
        async fn call(&self, call: Call) -> Reply {
            let method = call.method();
            match call {
                Call::PollProofState(_) => {
                    let _guard = OnDrop(self.dropped.clone());
                    self.go.notified().await;
                    Ok(Answer::Done)
                }
                Call::AssignTicket(_) => panic!("no tickets {}", "today"),
                _ => Err(ManagerError::Refused { method, code: 1, message: "no".into() }),
            }
        }
    }

    async fn wait(bridge: &Bridge<Slow>, ticket: CallTicket) -> Reply {
        loop {
            if let Some(reply) = bridge.poll(ticket) {
                return reply;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_comes_once_it_is_there_and_only_to_its_ticket() {
        let manager = Arc::new(Slow::default());
        let bridge = Bridge::new(manager.clone(), Handle::current());
        let slow = bridge.submit(Call::PollProofState(SECTOR));
        let fast = bridge.submit(Call::ReportFinalized(SECTOR));
        assert_ne!(slow, fast);
        assert!(matches!(wait(&bridge, fast).await, Err(ManagerError::Refused { .. })));
        assert_eq!(bridge.poll(slow), None);
        manager.go.notify_one();
        assert_eq!(wait(&bridge, slow).await, Ok(Answer::Done));
    }

    #[tokio::test]
    async fn a_panic_in_a_call_is_an_error_with_its_words() {
        let bridge = Bridge::new(Arc::new(Slow::default()), Handle::current());
        let ticket = bridge.submit(Call::AssignTicket(SECTOR));
        let error = wait(&bridge, ticket).await.unwrap_err();
        assert_eq!(error.to_string(), "Venus.AssignTicket: the call panicked: no tickets today");
        let after = bridge.submit(Call::ReportFinalized(SECTOR));
        assert!(wait(&bridge, after).await.is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "call ticket 1 was never given or has been answered")]
    async fn an_answer_is_not_given_twice() {
        let bridge = Bridge::new(Arc::new(Slow::default()), Handle::current());
        let ticket = bridge.submit(Call::ReportFinalized(SECTOR));
        let _ = wait(&bridge, ticket).await;
        bridge.poll(ticket);
    }

    #[tokio::test]
    async fn dropping_the_bridge_ends_its_calls_and_lets_go_of_the_manager() {
        let manager = Arc::new(Slow::default());
        let bridge = Bridge::new(manager.clone(), Handle::current());
        let ticket = bridge.submit(Call::PollProofState(SECTOR));
        tokio::task::yield_now().await;
        assert_eq!(bridge.poll(ticket), None);
        drop(bridge);
        manager.dropped.notified().await;
        while Arc::strong_count(&manager) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_call_on_a_stopped_runtime_is_an_error() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let bridge = Bridge::new(Arc::new(Slow::default()), runtime.handle().clone());
        let before = bridge.submit(Call::PollProofState(SECTOR));
        runtime.shutdown_timeout(Duration::from_secs(10));
        let after = bridge.submit(Call::ReportFinalized(SECTOR));
        for ticket in [before, after] {
            let error = bridge.poll(ticket).expect("a stopped runtime answers at once").unwrap_err();
            assert!(error.to_string().ends_with("the daemon is stopping"), "{error}");
        }
    }
}
