//! What each method does. One table; who may call it is asked here and nowhere else.

use super::{serve::Service, wire};
use crate::runtime::{
    control::Wish,
    listen::{access::Caller, jsonrpc::Error},
    sector::State,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// A thread answers between two steps, which take milliseconds; a disk that hangs may hold one up.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const NO_ENV: &str = "the environment of a running worker is not changed: write processors.STAGE.envs in its \
                      configuration and restart it";

/// Carries out a call.
pub(super) async fn call(service: &Service, caller: Caller, method: &str, params: &[Value]) -> Result<Value, Error> {
    match method {
        wire::LIST => {
            nothing(params)?;
            let list: Vec<_> = service.board.list(Instant::now()).into_iter().map(wire::WorkerInfo::from).collect();
            Ok(json!(list))
        }
        wire::VERSION => {
            nothing(params)?;
            Ok(json!(env!("CARGO_PKG_VERSION")))
        }
        wire::PAUSE => {
            may_change(service, caller, method)?;
            let index = param(params, 0, "the index of a thread")?;
            order(service, index, Wish::Pause).await
        }
        wire::RESUME => {
            may_change(service, caller, method)?;
            let index = param(params, 0, "the index of a thread")?;
            let state: Option<String> = param(params, 1, "a state, or null")?;
            let state = state.map(|name| name.parse::<State>()).transpose().map_err(Error::invalid_params)?;
            order(service, index, Wish::Resume(state)).await
        }
        wire::SET_ENV | wire::REMOVE_ENV => {
            may_change(service, caller, method)?;
            Err(Error::refused(NO_ENV))
        }
        other => Err(Error::method_not_found(other)),
    }
}

fn may_change(service: &Service, caller: Caller, method: &str) -> Result<(), Error> {
    service.access.may_change(caller).map_err(|why| {
        warn!(method, "refused: {why}");
        Error::no_access(why)
    })
}

fn nothing(params: &[Value]) -> Result<(), Error> {
    if params.is_empty() { Ok(()) } else { Err(Error::invalid_params("this method takes no params")) }
}

// A param that is left out at the end is null.
fn param<T: DeserializeOwned>(params: &[Value], at: usize, what: &str) -> Result<T, Error> {
    let value = params.get(at).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|_| Error::invalid_params(format!("params[{at}] is {what}")))
}

async fn order(service: &Service, index: usize, wish: Wish) -> Result<Value, Error> {
    let told = format!("{wish:?}");
    let Some(answer) = service.board.order(index, wish) else {
        let there = service.board.threads();
        return Err(Error::invalid_params(format!(
            "there is no thread {index}: this worker has {there}, counted from 0"
        )));
    };
    let answer = match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("the thread has ended: restart the worker".to_owned()),
        Err(_) => Err(format!(
            "the thread did not answer within {} s, its disk may hang; it will do it when it can",
            ANSWER_WITHIN.as_secs()
        )),
    };
    info!(thread = index, order = told, ?answer, "ordered by RPC");
    answer.map(Value::Bool).map_err(|why| Error::refused(format!("thread {index}: {why}")))
}
