//! How the running daemon is reached: its address and its token, from flags or from its own configuration.

use crate::{
    runtime::rpc::client::Client,
    sys::token::Token,
    worker_config::{self, RpcServer},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    /// The daemon's configuration: it says where the worker's RPC listens, and where its token is
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where the worker's RPC listens, instead of what the configuration says; without both 127.0.0.1:17890
    #[arg(long, value_name = "HOST:PORT", global = true)]
    addr: Option<String>,
    /// A file with the token of that worker (mode 0600), needed from another host to change something
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Reach {
    /// The client for that daemon. Nothing is asked yet.
    pub(super) fn client(&self) -> Result<Client> {
        let server = match &self.config {
            Some(file) => rpc_server(file)?,
            None => RpcServer::default(),
        };
        let address = match &self.addr {
            Some(address) => checked(address)?,
            None => address_of(&server)?,
        };
        let token = match (&self.token_file, &server.token_file) {
            (Some(file), _) => Some(Token::read(file).context("--token-file")?),
            // On the worker's own host nobody asks for it, and whoever may not read it can still look.
            (None, Some(file)) if !is_here(&address) => {
                Some(Token::read(file).context("worker.rpc_server.token_file")?)
            }
            _ => None,
        };
        Ok(Client::new(address, token)?)
    }
}

fn rpc_server(file: &Path) -> Result<RpcServer> {
    let text = fs::read_to_string(file).with_context(|| format!("read the configuration {}", file.display()))?;
    match worker_config::parse(&text) {
        Ok(loaded) => Ok(loaded.config.worker.rpc_server),
        Err(problems) => {
            bail!("{}: {}; or give --addr", file.display(), problems.to_string().replace('\n', "; "))
        }
    }
}

/// Where a program on this host reaches what listens so.
fn address_of(server: &RpcServer) -> Result<String> {
    if server.port == 0 {
        bail!("worker.rpc_server.port = 0 lets the system choose: give --addr; the daemon's log tells the address");
    }
    let host = match server.host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() && ip.is_ipv4() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => server.host.clone(),
    };
    Ok(format!("{host}:{}", server.port))
}

/// An address that somebody typed.
fn checked(address: &str) -> Result<String> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port > 0 => Ok(address.to_owned()),
        _ => bail!("--addr {address:?} is no HOST:PORT, such as 127.0.0.1:17890 or [::1]:17890"),
    }
}

fn is_here(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> String {
        let server = RpcServer { host: host.into(), port, token_file: None };
        address_of(&server).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_worker_that_listens_everywhere_is_reached_here() {
        assert_eq!(address("0.0.0.0", 17890), "127.0.0.1:17890");
        assert_eq!(address("::", 1), "[::1]:1");
        assert_eq!(address("fe80::1", 1), "[fe80::1]:1");
        assert_eq!(address("worker-1.example", 1), "worker-1.example:1");
        assert!(address("0.0.0.0", 0).contains("give --addr"));
    }

    #[test]
    fn what_is_no_address_is_refused_before_anything_is_asked() {
        for bad in ["worker-1", ":17890", "http://worker-1:17890", "worker-1:0", "worker-1:x"] {
            let told = checked(bad).unwrap_err().to_string();
            assert!(told.contains("is no HOST:PORT"), "{bad}: {told}");
        }
        assert_eq!(checked("[::1]:17890").unwrap(), "[::1]:17890");
    }

    #[test]
    fn this_host_is_known_by_its_addresses() {
        assert!(["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"].into_iter().all(is_here));
        assert!(!["192.0.2.1:1", "worker-1:1", "[2001:db8::1]:1"].into_iter().any(is_here));
    }
}
