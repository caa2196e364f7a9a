//! `[sector_manager]`: a manager over HTTP, or the embedded one, and never one when the other was meant.

use super::{elements, or, stores};
use crate::worker_config::{
    addr::{self, AddrError},
    diagnosis::{Log, Place},
    raw,
    read::{At, Entry},
    secret,
    suggest::nearest,
    tree::quoted,
    types::{EmbeddedManager, ManagerConfig, RemoteManager, RpcClient, SectorManager, ServedManager},
    values::{Secret, refuse_placeholder},
};
use std::collections::BTreeMap;

const EMBEDDED: &str = "embedded";

pub(super) fn sector_manager(raw: &raw::SectorManager, log: &mut Log) -> Option<SectorManager> {
    let headers = headers(&raw.headers, log);
    let (piece_token, piece_origins) = (piece_token(raw, log), piece_origins(raw, log));
    let Some(addr) = &raw.addr else {
        if !raw.has_addr {
            let place = Place { path: "sector_manager.rpc_client.addr".to_owned(), line: raw.place.line };
            log.problem(&place, "missing", format!("it is required; {}", addr::FORMS));
        }
        return None;
    };
    let rpc_client = if addr.value.0 == EMBEDDED {
        for header in &raw.headers {
            log.warning(&header.place, "a header for the embedded manager", "it has no effect: remove it");
        }
        RpcClient::Embedded(embedded(raw.embedded.as_ref()))
    } else {
        if let Some(embedded) = &raw.embedded {
            let found = format!(
                "settings of the embedded manager beside rpc_client.addr = {}",
                quoted(&secret::address(&addr.value.0))
            );
            log.warning(&embedded.place, found, "they have no effect; only rpc_client.addr = \"embedded\" selects it");
        }
        RpcClient::Remote(RemoteManager { addr: addr.value.0.clone(), url: url(addr, log)?, headers })
    };
    Some(SectorManager { rpc_client, piece_token, piece_origins })
}

/// What a served manager is told. Everything has a default but the stores, and those may come from the command line.
pub(super) fn manager(raw: &raw::Config, log: &mut Log) -> ManagerConfig {
    let served = &raw.sector_manager.served;
    let default = ServedManager::default();
    ManagerConfig {
        embedded: embedded(raw.sector_manager.embedded.as_ref()),
        served: ServedManager {
            listen: or(&served.listen, default.listen),
            token_file: served.token_file.as_ref().map(|at| at.value.clone()),
        },
        attached: stores::named(raw, log),
        scan_persist_stores: elements(&raw.worker.scan_persist_stores).unwrap_or_default(),
    }
}

fn embedded(raw: Option<&raw::Embedded>) -> EmbeddedManager {
    let default = EmbeddedManager::default();
    let Some(raw) = raw else { return default };
    EmbeddedManager {
        path: raw.path.as_ref().map_or(default.path, |at| at.value.clone()),
        miner: or(&raw.miner, default.miner),
        proof_type: raw.proof_type.as_ref().map_or(default.proof_type, |at| at.value.0),
        epoch: raw.epoch.as_ref().map_or(default.epoch, |at| at.value.0),
        pieces: raw.pieces.as_ref().map(|at| at.value.clone()),
    }
}

fn url(addr: &At<Secret>, log: &mut Log) -> Option<String> {
    let text = &addr.value.0;
    if refuse_placeholder(text).is_err() {
        let found = format!("found {}, which holds a placeholder of a document", quoted(&secret::address(text)));
        log.problem(&addr.place, found, format!("write your manager's address; {}", addr::FORMS));
        return None;
    }
    match addr::manager_url(text) {
        Ok(understood) => {
            if understood.was_websocket {
                let accepted = format!("the manager is called over HTTP: write \"{}\"", understood.url);
                log.warning(&addr.place, format!("old form: {}", quoted(text)), accepted);
            }
            Some(understood.url)
        }
        Err(error) => {
            let accepted = match &error {
                AddrError::UnknownForm(text) if nearest(text.trim(), [EMBEDDED]).is_some() => {
                    "did you mean \"embedded\"? only this exact word selects the embedded manager".to_owned()
                }
                AddrError::NoScheme(text) => {
                    format!("did you mean {}? {}", quoted(&format!("http://{text}")), addr::FORMS)
                }
                AddrError::Credentials | AddrError::Query | AddrError::Token => {
                    "send what the manager asks for with rpc_client.headers".to_owned()
                }
                AddrError::Port(_) => format!("a port is a number from 1 to 65535; {}", addr::FORMS),
                _ => addr::FORMS.to_owned(),
            };
            let found = match &error {
                AddrError::UnknownForm(_) => format!("found {}, which is not the address of a manager", quoted(text)),
                AddrError::NoScheme(_) => format!("found {}, which has no scheme", quoted(text)),
                AddrError::Credentials | AddrError::Query | AddrError::Token => error.to_string(),
                _ => format!("found {}: {error}", quoted(text)),
            };
            log.problem(&addr.place, found, accepted);
            None
        }
    }
}

fn headers(raw: &[Entry<Secret>], log: &mut Log) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for Entry { name, place, value } in raw {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            let found = format!("{} is not the name of an HTTP header", quoted(name));
            log.problem(place, found, "accepted: letters, digits and dashes, such as User-Agent");
        }
        let Some(Secret(value)) = value else { continue };
        if !value.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '\t') {
            log.problem(
                place,
                "a header value that HTTP cannot carry",
                "accepted: visible ASCII characters and spaces",
            );
        }
        if headers.keys().any(|other: &String| other.eq_ignore_ascii_case(name)) {
            log.problem(place, "the same header in two spellings", "keep one: HTTP does not tell them apart");
        }
        headers.insert(name.clone(), value.clone());
    }
    headers
}

/// The token is a secret: messages never repeat it.
fn piece_token(raw: &raw::SectorManager, log: &mut Log) -> Option<String> {
    let token = raw.piece_token.as_ref()?;
    if token.value.0.is_empty() || !token.value.0.bytes().all(|b| b.is_ascii_graphic()) {
        let accepted = "accepted: the token alone, without spaces; leave the key away if there is none";
        log.problem(&token.place, "a token that is empty or cannot be sent", accepted);
    }
    Some(token.value.0.clone())
}

/// An origin is a URL that ends with its host or its port.
fn piece_origins(raw: &raw::SectorManager, log: &mut Log) -> Vec<String> {
    let mut origins = Vec::new();
    for origin in raw.piece_origins.iter().flat_map(|list| &list.value) {
        let text = &origin.value.0;
        let is_one = |url: &str| url.starts_with("http") && url.eq_ignore_ascii_case(text.trim_end_matches('/'));
        match addr::manager_url(text) {
            Ok(understood) if is_one(&understood.url) && understood.url.matches('/').count() == 2 => {
                origins.push(understood.url);
            }
            _ => {
                let found = format!("found {}, which is not an origin", quoted(&secret::address(text)));
                let accepted =
                    "accepted: a scheme, a host and perhaps a port, such as \"https://market.example:41235\"";
                log.problem(&origin.place, found, accepted);
            }
        }
    }
    origins
}
