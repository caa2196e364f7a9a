//! A daemon in a folder of its own, its children, and what its manager's database says.

use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");
pub const STAGES: [&str; 6] = ["add_pieces", "tree_d", "pc1", "pc2", "transfer", "c2"];

pub struct Rig {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

/// A row of the embedded manager's table.
#[derive(Clone, Debug)]
pub struct Sector {
    pub number: i64,
    pub miner: i64,
    pub ticket: Vec<u8>,
    pub comm_r: Vec<u8>,
    pub comm_d: Vec<u8>,
    pub pre_commit_sent: i64,
    pub persisted_in: Option<String>,
    pub proof: Vec<u8>,
    pub finalized: bool,
    pub abort_reason: Option<String>,
}

impl Rig {
    /// `threads` sealing threads; a table of each stage with these further keys, `[processors.limitation]` before them.
    pub fn new(threads: usize, table: impl Fn(&str) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let threads: String =
            (0..threads).map(|nth| format!("[[sealing_thread]]\nlocation = \"./sealing/{nth}\"\n")).collect();
        let tables: String = STAGES.iter().map(|stage| format!("[[processors.{stage}]]\n{}\n", table(stage))).collect();
        let config = format!(
            r#"
[worker]
rpc_server = {{ host = "127.0.0.1", port = 0 }}
[sector_manager]
rpc_client.addr = "embedded"
[sector_manager.embedded]
path = "./manager"
proof_type = "StackedDrg2KiBV1_1"
epoch = "10ms"
[sealing]
seal_interval = "100ms"
recover_interval = "200ms"
rpc_polling_interval = "100ms"
max_retries = 1000
[[attached]]
name = "persist"
location = "./persist"
{threads}
[processors.limitation.concurrent]
c2 = 1
{tables}"#
        );
        fs::write(dir.path().join("worker.toml"), config).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir, daemon: None }
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn start(&mut self, args: &[String]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let out = fs::OpenOptions::new().create(true).append(true).open(self.path("reports")).unwrap();
        let mut command = Command::new(WORKER);
        command.args(["daemon", "-c", "worker.toml", "--json"]).args(args).current_dir(self.dir.path());
        command.env("TMPDIR", self.path("tmp")).stdin(Stdio::null()).stdout(out).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
    }

    /// The running daemon's number.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it was started").id()
    }

    /// The daemon's exit code, where it has ended.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let ended = self.daemon.as_mut()?.try_wait().unwrap()?;
        self.daemon = None;
        Some(ended.code())
    }

    /// Waits for the daemon's end.
    pub fn wait(&mut self) -> Option<i32> {
        self.daemon.take().expect("it was started").wait().unwrap().code()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The daemon's children at this moment.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let text = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let of_thread = |path: PathBuf| fs::read_to_string(path.join("children")).unwrap_or_default();
        text.flat_map(|thread| {
            of_thread(thread.path()).split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
    }

    /// What the manager knows of every sector.
    pub fn sectors(&self) -> Vec<Sector> {
        self.try_sectors().unwrap_or_default()
    }

    fn try_sectors(&self) -> sqlx::Result<Vec<Sector>> {
        self.query("SELECT * FROM sectors ORDER BY number").map(|rows| rows.iter().map(sector).collect())
    }

    /// The secret that all of the chain's randomness follows from.
    pub fn secret(&self) -> Vec<u8> {
        self.query("SELECT secret FROM chain").unwrap()[0].get("secret")
    }

    fn query(&self, query: &'static str) -> sqlx::Result<Vec<sqlx::sqlite::SqliteRow>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(self.path("manager/manager.db"));
        runtime.block_on(async {
            let mut database = SqliteConnection::connect_with(&options).await?;
            sqlx::query(query).fetch_all(&mut database).await
        })
    }

    /// Nothing of any daemon is left running or lying about, and no sector has lost its files.
    pub fn is_clean(&self) {
        assert_eq!(fs::read_dir(self.path("tmp")).unwrap().count(), 0, "temporary files are left");
        for sector in self.sectors().iter().filter(|sector| sector.finalized) {
            assert_eq!(sector.persisted_in.as_deref(), Some("persist"), "{sector:?}");
            let name = format!("s-t0{}-{}", sector.miner, sector.number);
            for file in [format!("sealed/{name}"), format!("cache/{name}/p_aux"), format!("cache/{name}/t_aux")] {
                assert!(self.path("persist").join(&file).is_file(), "{file} is gone");
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6000);
            let _ = writeln!(std::io::stderr(), "the end of the daemons' log:\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}

fn sector(row: &sqlx::sqlite::SqliteRow) -> Sector {
    let bytes = |name: &str| row.get::<Option<Vec<u8>>, _>(name).unwrap_or_default();
    Sector {
        number: row.get("number"),
        miner: row.get("miner"),
        ticket: bytes("ticket"),
        comm_r: bytes("comm_r"),
        comm_d: bytes("comm_d"),
        pre_commit_sent: row.get::<Option<i64>, _>("pre_commit_sent").unwrap_or_default(),
        persisted_in: row.get("persisted_in"),
        proof: bytes("proof"),
        finalized: row.get::<i64, _>("finalized") != 0,
        abort_reason: row.get("abort_reason"),
    }
}
