//! fetch: the published keys from a gateway, resumed where the last attempt stopped, believed by digest only.
//!
//! Bytes go to `NAME.partial`, which nobody reads but the next fetch. When the whole is there its digest is
//! compared; then it is synced and renamed. A gateway is not trusted with anything but its time.
//!
//! Parameters and verifying key are two files, and fetch may break off between them. Where other keys are replaced it
//! keeps to the order of `generate`: at no moment do parameters and a verifying key of different origin lie side by
//! side, unless they did before.

use super::{Manifest, ParamFile, ParamsError, ParamsKind, check_space, digest_of, lock, make_folder, status};
use crate::{
    runtime::{
        proofs::stamp::{self, Identity},
        words::with_causes,
    },
    sys::durable,
    units::SectorSize,
};
use reqwest::{Client, Response, StatusCode, header};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the network publishes its keys.
pub const DEFAULT_GATEWAY: &str = "https://proofs.filecoin.io/ipfs/";
/// Attempts in a row that bring no byte before fetch gives up.
const FRUITLESS_ATTEMPTS: u32 = 4;

/// What to bring, from where, to where.
#[derive(Clone, Debug)]
pub struct Request {
    pub folder: PathBuf,
    pub gateway: String,
    pub size: SectorSize,
    /// Also the keys of PoSt and sector updates.
    pub all: bool,
    /// Also where a local or unknown key has the name.
    pub replace: bool,
    /// The pause after a broken attempt.
    pub pause: Duration,
}

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    AlreadyThere,
    Fetched,
}

/// Told while bytes arrive.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub name: &'a str,
    pub done: u64,
    /// The whole length, where the gateway says it.
    pub total: Option<u64>,
}

/// Brings every key of the request. What was brought before a failure stays.
pub async fn fetch(
    request: &Request,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<(String, Outcome)>, ParamsError> {
    make_folder(&request.folder)?;
    let client = Client::builder()
        .user_agent(concat!("damocles-worker/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(20))
        .read_timeout(Duration::from_secs(60))
        .build()
        .map_err(|e| {
            gateway_error(&request.gateway, "its client", with_causes(&e), "check the TLS setup of this host")
        })?;
    let mut outcomes = Vec::new();
    for set in sets(manifest.files(request.size, request.all)) {
        outcomes.extend(fetch_set(request, &client, &set, progress).await?);
    }
    Ok(outcomes)
}

/// The keys by circuit: parameters and verifying key of one name belong together.
fn sets(files: Vec<ParamFile>) -> Vec<Vec<ParamFile>> {
    let mut sets: Vec<Vec<ParamFile>> = Vec::new();
    for file in files {
        match sets.iter_mut().find(|set| set[0].stem() == file.stem()) {
            Some(set) => set.push(file),
            None => sets.push(vec![file]),
        }
    }
    sets
}

/// Brings the keys of one circuit. Whoever works on one of them works on all, so there is one lock.
async fn fetch_set(
    request: &Request,
    client: &Client,
    set: &[ParamFile],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<(String, Outcome)>, ParamsError> {
    let lock_of = set.iter().find(|file| !file.is_verifying_key()).unwrap_or(&set[0]);
    let _only_one = lock(&request.folder.join(&lock_of.name))?;
    let mut found = Vec::new();
    for file in set {
        found.push((file, status::look_at(&request.folder, file, &mut |_, _| ())?.kind));
    }
    let foreign = |kind| matches!(kind, ParamsKind::Local | ParamsKind::Unknown);
    // Before anything is brought: one of two keys would be worse than none.
    if let Some((file, kind)) = found.iter().find(|(_, kind)| foreign(*kind) && !request.replace) {
        return Err(ParamsError::InTheWay { path: request.folder.join(&file.name), kind: *kind });
    }
    // The small key first, unless it would lie beside parameters that it does not belong to.
    if found.iter().any(|(file, kind)| !file.is_verifying_key() && foreign(*kind)) {
        found.sort_by_key(|(file, _)| file.is_verifying_key());
    }
    let mut outcomes = Vec::new();
    for &(file, kind) in &found {
        let outcome = if kind == ParamsKind::Fetched {
            Outcome::AlreadyThere
        } else {
            let digest = bring(request, client, file, progress).await?;
            if !file.is_verifying_key() {
                withdraw(request, &found)?;
            }
            publish(request, file, digest)?;
            Outcome::Fetched
        };
        outcomes.push((file.name.clone(), outcome));
    }
    Ok(outcomes)
}

/// Removes a verifying key that belongs to the parameters that are about to be replaced: until the published one
/// comes the set counts as missing, and no proof is judged by the key of another.
fn withdraw(request: &Request, found: &[(&ParamFile, ParamsKind)]) -> Result<(), ParamsError> {
    for (file, kind) in found {
        let old = file.is_verifying_key() && matches!(kind, ParamsKind::Local | ParamsKind::Unknown);
        if old && durable::remove_if_there(&request.folder.join(&file.name))? {
            durable::sync_folder(&request.folder)?;
        }
    }
    Ok(())
}

/// Downloads a key to its partial name and returns its digest, which is the published one.
async fn bring(
    request: &Request,
    client: &Client,
    file: &ParamFile,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<String, ParamsError> {
    let url = url_of(&request.gateway, &file.cid);
    let partial = partial_of(request, file);
    download(request, client, file, &url, &partial, progress).await?;
    let found = digest_of(&partial).map_err(|e| ParamsError::io("reading", &partial, e))?;
    if found != file.digest {
        durable::remove_if_there(&partial)?;
        let (name, published) = (file.name.clone(), file.digest.clone());
        return Err(ParamsError::WrongDigest { name, url, found, published });
    }
    Ok(found)
}

fn publish(request: &Request, file: &ParamFile, digest: String) -> Result<(), ParamsError> {
    let path = request.folder.join(&file.name);
    durable::publish(&partial_of(request, file), &path)?;
    durable::remove_if_there(&stamp::beside(&path, status::LOCAL))?;
    if let Some(identity) = Identity::of(&path) {
        stamp::write(&path, status::CHECKED, identity, digest)?;
    }
    Ok(())
}

fn partial_of(request: &Request, file: &ParamFile) -> PathBuf {
    stamp::beside(&request.folder.join(&file.name), "partial")
}

/// Appends to `partial` until the gateway has said that this is all.
async fn download(
    request: &Request,
    client: &Client,
    file: &ParamFile,
    url: &str,
    partial: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), ParamsError> {
    let mut fruitless = 0;
    loop {
        let before = fs::metadata(partial).map_or(0, |meta| meta.len());
        let broken = match attempt(request, client, file, url, partial, before, progress).await? {
            Attempt::Whole => return Ok(()),
            Attempt::Broken(reason) => reason,
        };
        let after = fs::metadata(partial).map_or(0, |meta| meta.len());
        fruitless = if after > before { 0 } else { fruitless + 1 };
        if fruitless == FRUITLESS_ATTEMPTS {
            let hint = "what came so far is kept: run it again, or try another --gateway";
            return Err(gateway_error(url, &file.name, broken, hint));
        }
        tracing::info!(name = file.name, bytes = after, reason = broken, "the download broke off; going on");
        tokio::time::sleep(request.pause).await;
    }
}

enum Attempt {
    Whole,
    /// Worth another one, and why.
    Broken(String),
}

async fn attempt(
    request: &Request,
    client: &Client,
    file: &ParamFile,
    url: &str,
    partial: &Path,
    have: u64,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Attempt, ParamsError> {
    let mut ask = client.get(url);
    if have > 0 {
        ask = ask.header(header::RANGE, format!("bytes={have}-"));
    }
    let mut response = match ask.send().await {
        Ok(response) => response,
        Err(error) => return Ok(Attempt::Broken(with_causes(&error))),
    };
    let start = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => have,
        // Nothing lies beyond what we have: either it is whole, or the digest will tell.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Attempt::Whole),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Ok(Attempt::Broken(format!("the gateway answered {status}")));
        }
        status => {
            let hint = "check the --gateway address; content ids are appended to it";
            return Err(gateway_error(url, &file.name, format!("the gateway answered {status}"), hint));
        }
    };
    let rest = response.content_length();
    check_space(&request.folder, rest.unwrap_or(0))?;
    let mut target = open_at(partial, start)?;
    let (mut done, total) = (start, rest.map(|rest| start + rest));
    loop {
        progress(Progress { name: &file.name, done, total });
        match response.chunk().await {
            Ok(Some(bytes)) => {
                target.write_all(&bytes).map_err(|e| ParamsError::io("writing", partial, e))?;
                done += bytes.len() as u64;
            }
            Ok(None) => return Ok(Attempt::Whole),
            Err(error) => return Ok(Attempt::Broken(with_causes(&error))),
        }
    }
}

/// Where the bytes of a 206 begin: `bytes 100-199/200`.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim_start().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// Opens `partial` to append, keeping its first `keep` bytes.
fn open_at(partial: &Path, keep: u64) -> Result<File, ParamsError> {
    let open = || -> std::io::Result<File> {
        let file = File::options().create(true).append(true).open(partial)?;
        file.set_len(keep)?;
        Ok(file)
    };
    open().map_err(|e| ParamsError::io("opening", partial, e))
}

fn url_of(gateway: &str, cid: &str) -> String {
    format!("{}/{cid}", gateway.trim_end_matches('/'))
}

fn gateway_error(url: &str, name: &str, reason: String, hint: &'static str) -> ParamsError {
    ParamsError::Gateway { name: name.into(), url: url.into(), reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_written_with_or_without_its_last_slash() {
        assert_eq!(url_of(DEFAULT_GATEWAY, "Qm1"), "https://proofs.filecoin.io/ipfs/Qm1");
        assert_eq!(url_of("http://h:1/ipfs", "Qm1"), "http://h:1/ipfs/Qm1");
    }
}
