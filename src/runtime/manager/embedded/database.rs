//! The embedded manager's tables, and one unit of work on them.
//!
//! A `Work` is a transaction at one moment of the chain: it is begun with the time, reads rows as values,
//! writes them back, and is durable once committed (WAL with synchronous=FULL: each commit is synced).
//! Dropped without a commit, it leaves nothing. The queries avoid what only SQLite knows.

use super::{
    chain::{Beacon, Chain},
    deals::Deal,
    sector::{End, Persisted, PreCommit, Proof, Reservation, Sector},
};
use crate::{
    runtime::{
        manager::wire::{Randomness, SectorId, Ticket, WorkerInfo},
        proofs::FileIdentity,
    },
    units::{PieceCid, SealProof},
};
use sqlx::{
    ConnectOptions, Connection, Row, Sqlite, SqliteConnection, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use std::path::Path;

/// The version of the tables that this program writes.
const SCHEMA: i64 = 1;

const TABLES: [&str; 4] = [
    "CREATE TABLE schema_version (version BIGINT NOT NULL)",
    "CREATE TABLE chain (
        secret BLOB NOT NULL,
        anchor_epoch BIGINT NOT NULL,
        anchor_ms BIGINT NOT NULL,
        epoch_ms BIGINT NOT NULL,
        seen_ms BIGINT NOT NULL,
        next_number BIGINT NOT NULL
    )",
    "CREATE TABLE sectors (
        number BIGINT NOT NULL PRIMARY KEY,
        miner BIGINT NOT NULL,
        proof_type BIGINT NOT NULL,
        ticket BLOB,
        ticket_epoch BIGINT,
        comm_r BLOB,
        comm_d BLOB,
        pre_commit_sent BIGINT,
        reserved_in TEXT,
        reserved_bytes BIGINT,
        persisted_in TEXT,
        persist_refusal TEXT,
        proof BLOB,
        proof_sent BIGINT,
        finalized BIGINT NOT NULL DEFAULT 0,
        abort_reason TEXT,
        report TEXT
    )",
    "CREATE TABLE workers (
        name TEXT NOT NULL PRIMARY KEY,
        info TEXT NOT NULL,
        pinged_ms BIGINT NOT NULL
    )",
];

/// Made where it is missing, in older databases too: programs that do not know it give no deals, and lose none.
const DEALS_TABLE: &str = "CREATE TABLE IF NOT EXISTS deals (
        id BIGINT NOT NULL PRIMARY KEY,
        file TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        modified_ns BIGINT NOT NULL,
        inode BIGINT NOT NULL,
        piece_cid TEXT NOT NULL,
        piece_size BIGINT NOT NULL,
        sector BIGINT
    )";

/// Why the database has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("its tables have version {found}, this program knows {SCHEMA}: use the program that wrote them or newer")]
    NewerSchema { found: i64 },
    #[error("it holds the tables of another program")]
    Foreign,
    #[error("{what} cannot be read: {reason}; restore the file from a copy")]
    Damaged { what: String, reason: String },
}

type Result<T> = std::result::Result<T, DatabaseError>;

/// The open database.
pub struct Database(SqliteConnection);

impl Database {
    /// Opens the database in `file`; an empty one gets its tables, a secret and a chain that begins at `now_ms`.
    pub async fn open(file: &Path, now_ms: i64, epoch_ms: i64) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let mut database = Self(options.connect().await?);
        database.prepare(now_ms, epoch_ms).await?;
        Ok(database)
    }

    /// Brings tables and chain into the shape that the rest relies on, in one transaction.
    async fn prepare(&mut self, now_ms: i64, epoch_ms: i64) -> Result<()> {
        let mut transaction = self.0.begin().await?;
        match schema_of(&mut transaction).await? {
            Some(SCHEMA) => {}
            Some(found) => return Err(DatabaseError::NewerSchema { found }),
            None => create(&mut transaction, Chain::begin(now_ms, epoch_ms)).await?,
        }
        sqlx::query(DEALS_TABLE).execute(&mut *transaction).await?;
        transaction.commit().await?;
        let mut work = self.begin(now_ms).await?;
        work.set_chain(work.chain.with_epoch_ms(epoch_ms)).await?;
        work.commit().await
    }

    /// Begins a unit of work at `now_ms`.
    pub async fn begin(&mut self, now_ms: i64) -> Result<Work<'_>> {
        let mut transaction = self.0.begin().await?;
        let query = "SELECT secret, anchor_epoch, anchor_ms, epoch_ms, seen_ms FROM chain";
        let row = sqlx::query(query).fetch_one(&mut *transaction).await?;
        let secret = bytes32("the chain's secret", row.try_get("secret")?)?;
        let stored = Chain {
            anchor_epoch: row.try_get("anchor_epoch")?,
            anchor_ms: row.try_get("anchor_ms")?,
            epoch_ms: row.try_get("epoch_ms")?,
            seen_ms: row.try_get("seen_ms")?,
        };
        if stored.epoch_ms < 1 {
            return Err(damaged("the chain", format!("an epoch of {} ms", stored.epoch_ms)));
        }
        let mut work = Work { transaction, chain: stored, beacon: Beacon::new(secret) };
        let now = stored.at(now_ms);
        // Time alone need not be written: what must not go back is the head that answers were given for.
        if now.head() != stored.head() || now.anchor_ms != stored.anchor_ms {
            work.set_chain(now).await?;
        }
        work.chain = now;
        Ok(work)
    }
}

/// The version of the tables; `None` when there are none yet.
async fn schema_of(transaction: &mut Transaction<'_, Sqlite>) -> Result<Option<i64>> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'").fetch_all(&mut **transaction).await?;
    if names.is_empty() {
        return Ok(None);
    }
    if !names.iter().any(|name| name == "schema_version") {
        return Err(DatabaseError::Foreign);
    }
    Ok(Some(sqlx::query_scalar("SELECT version FROM schema_version").fetch_one(&mut **transaction).await?))
}

async fn create(transaction: &mut Transaction<'_, Sqlite>, chain: Chain) -> Result<()> {
    for table in TABLES {
        sqlx::query(table).execute(&mut **transaction).await?;
    }
    sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(SCHEMA).execute(&mut **transaction).await?;
    let row = "INSERT INTO chain (secret, anchor_epoch, anchor_ms, epoch_ms, seen_ms, next_number)
        VALUES ($1, $2, $3, $4, $5, 1)";
    sqlx::query(row)
        .bind(rand::random::<[u8; 32]>().to_vec())
        .bind(chain.anchor_epoch)
        .bind(chain.anchor_ms)
        .bind(chain.epoch_ms)
        .bind(chain.seen_ms)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// A transaction at one moment of the chain.
pub struct Work<'a> {
    transaction: Transaction<'a, Sqlite>,
    /// The chain at the time the work began.
    pub chain: Chain,
    pub beacon: Beacon,
}

impl Work<'_> {
    /// Makes everything durable.
    pub async fn commit(self) -> Result<()> {
        Ok(self.transaction.commit().await?)
    }

    async fn set_chain(&mut self, chain: Chain) -> Result<()> {
        sqlx::query("UPDATE chain SET anchor_epoch = $1, anchor_ms = $2, epoch_ms = $3, seen_ms = $4")
            .bind(chain.anchor_epoch)
            .bind(chain.anchor_ms)
            .bind(chain.epoch_ms)
            .bind(chain.seen_ms)
            .execute(&mut *self.transaction)
            .await?;
        self.chain = chain;
        Ok(())
    }

    /// Makes a sector with a number that was never given before.
    pub async fn new_sector(&mut self, miner: u64, proof_type: SealProof) -> Result<Sector> {
        let number: i64 = sqlx::query_scalar("SELECT next_number FROM chain").fetch_one(&mut *self.transaction).await?;
        sqlx::query("UPDATE chain SET next_number = $1").bind(number + 1).execute(&mut *self.transaction).await?;
        let id = SectorId { miner, number: as_u64("the next sector number", number)? };
        sqlx::query("INSERT INTO sectors (number, miner, proof_type) VALUES ($1, $2, $3)")
            .bind(number)
            .bind(as_i64("the miner", miner)?)
            .bind(proof_type.number())
            .execute(&mut *self.transaction)
            .await?;
        Ok(Sector::new(id, proof_type))
    }

    /// The sector, if it is known.
    pub async fn sector(&mut self, id: SectorId) -> Result<Option<Sector>> {
        let (Ok(miner), Ok(number)) = (i64::try_from(id.miner), i64::try_from(id.number)) else {
            return Ok(None);
        };
        let row = sqlx::query("SELECT * FROM sectors WHERE number = $1 AND miner = $2")
            .bind(number)
            .bind(miner)
            .fetch_optional(&mut *self.transaction)
            .await?;
        row.map(|row| read_sector(&row)).transpose()
    }

    /// All sectors, by number.
    pub async fn sectors(&mut self) -> Result<Vec<Sector>> {
        let rows = sqlx::query("SELECT * FROM sectors ORDER BY number").fetch_all(&mut *self.transaction).await?;
        rows.iter().map(read_sector).collect()
    }

    /// Writes all of a sector but its identity.
    pub async fn save(&mut self, sector: &Sector) -> Result<()> {
        let pre_commit = sector.pre_commit.as_ref();
        let reserved_bytes = sector.reservation.as_ref().map(|it| as_i64("a reservation", it.bytes)).transpose()?;
        let (persisted_in, persist_refusal) = match &sector.persisted {
            Some(Persisted::In(store)) => (Some(store), None),
            Some(Persisted::Refused(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let (finalized, abort_reason) = match &sector.end {
            Some(End::Finalized) => (1, None),
            Some(End::Aborted(reason)) => (0, Some(reason)),
            None => (0, None),
        };
        let report = sector.report.as_ref().map(|it| as_json("a worker's report", it)).transpose()?;
        let update = "UPDATE sectors SET ticket = $1, ticket_epoch = $2, comm_r = $3, comm_d = $4,
            pre_commit_sent = $5, reserved_in = $6, reserved_bytes = $7, persisted_in = $8, persist_refusal = $9,
            proof = $10, proof_sent = $11, finalized = $12, abort_reason = $13, report = $14 WHERE number = $15";
        sqlx::query(update)
            .bind(sector.ticket.map(|it| it.ticket.0.to_vec()))
            .bind(sector.ticket.map(|it| it.epoch))
            .bind(pre_commit.map(|it| it.comm_r.to_vec()))
            .bind(pre_commit.map(|it| it.comm_d.to_vec()))
            .bind(pre_commit.map(|it| it.sent))
            .bind(sector.reservation.as_ref().map(|it| &it.store))
            .bind(reserved_bytes)
            .bind(persisted_in)
            .bind(persist_refusal)
            .bind(sector.proof.as_ref().map(|it| &it.bytes))
            .bind(sector.proof.as_ref().map(|it| it.sent))
            .bind(finalized)
            .bind(abort_reason)
            .bind(report)
            .bind(as_i64("a sector number", sector.id.number)?)
            .execute(&mut *self.transaction)
            .await?;
        if matches!(sector.end, Some(End::Aborted(_))) {
            self.give_deals_back(sector.id.number).await?;
        }
        Ok(())
    }

    /// All deals, by number.
    pub async fn deals(&mut self) -> Result<Vec<Deal>> {
        let rows = sqlx::query("SELECT * FROM deals ORDER BY id").fetch_all(&mut *self.transaction).await?;
        rows.iter().map(read_deal).collect()
    }

    /// Offers the piece that a file is. The number is `deal.id`'s to choose: one that no deal has.
    pub async fn add_deal(&mut self, deal: &Deal) -> Result<()> {
        let insert = "INSERT INTO deals (id, file, bytes, modified_ns, inode, piece_cid, piece_size)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(insert)
            .bind(as_i64("a deal", deal.id)?)
            .bind(&deal.file)
            .bind(as_i64("a file's length", deal.identity.bytes)?)
            .bind(deal.identity.modified_ns)
            // Any 64 bits: kept as they are, only compared.
            .bind(deal.identity.inode as i64)
            .bind(deal.cid.to_string())
            .bind(as_i64("a piece's size", deal.size)?)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Gives a deal to a sector.
    pub async fn take_deal(&mut self, deal: u64, sector: u64) -> Result<()> {
        sqlx::query("UPDATE deals SET sector = $1 WHERE id = $2")
            .bind(as_i64("a sector number", sector)?)
            .bind(as_i64("a deal", deal)?)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    async fn give_deals_back(&mut self, sector: u64) -> Result<()> {
        sqlx::query("UPDATE deals SET sector = NULL WHERE sector = $1")
            .bind(as_i64("a sector number", sector)?)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// What sectors other than `number` have reserved and not filled yet.
    pub async fn open_reservations(&mut self, number: u64) -> Result<Vec<Reservation>> {
        let query = "SELECT reserved_in, reserved_bytes FROM sectors WHERE number <> $1 AND reserved_in IS NOT NULL
            AND persisted_in IS NULL AND finalized = 0 AND abort_reason IS NULL";
        let number = as_i64("a sector number", number)?;
        let rows = sqlx::query(query).bind(number).fetch_all(&mut *self.transaction).await?;
        rows.iter()
            .map(|row| {
                let bytes = as_u64("a reservation", row.try_get("reserved_bytes")?)?;
                Ok(Reservation { store: row.try_get("reserved_in")?, bytes })
            })
            .collect()
    }

    /// Keeps a worker's latest ping.
    pub async fn ping(&mut self, worker: &WorkerInfo) -> Result<()> {
        let upsert = "INSERT INTO workers (name, info, pinged_ms) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET info = excluded.info, pinged_ms = excluded.pinged_ms";
        sqlx::query(upsert)
            .bind(&worker.name)
            .bind(as_json("a worker's ping", worker)?)
            .bind(self.chain.seen_ms)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// The workers that have pinged, by name, each with the unix milliseconds of its latest ping.
    pub async fn workers(&mut self) -> Result<Vec<(WorkerInfo, i64)>> {
        let query = "SELECT name, info, pinged_ms FROM workers ORDER BY name";
        let rows = sqlx::query(query).fetch_all(&mut *self.transaction).await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get("name")?;
                let info =
                    serde_json::from_str(row.try_get("info")?).map_err(|e| damaged(format!("worker {name}"), e))?;
                Ok((info, row.try_get("pinged_ms")?))
            })
            .collect()
    }
}

fn read_sector(row: &SqliteRow) -> Result<Sector> {
    let number: i64 = row.try_get("number")?;
    let part = |part: &str| format!("{part} of sector {number}");
    let blob32 = |column: &str| -> Result<Option<[u8; 32]>> {
        row.try_get::<Option<Vec<u8>>, _>(column)?.map(|blob| bytes32(&part(column), blob)).transpose()
    };
    let epoch = |column: &str| -> Result<Option<i64>> { Ok(row.try_get(column)?) };
    let text = |column: &str| -> Result<Option<String>> { Ok(row.try_get(column)?) };

    let proof_type = SealProof::from_number(row.try_get("proof_type")?)
        .ok_or_else(|| damaged(part("the proof type"), "it is not registered"))?;
    let id = SectorId { miner: as_u64("a miner", row.try_get("miner")?)?, number: as_u64("a sector number", number)? };
    let ticket = blob32("ticket")?.zip(epoch("ticket_epoch")?);
    let pre_commit = blob32("comm_r")?.zip(blob32("comm_d")?).zip(epoch("pre_commit_sent")?);
    let reserved = text("reserved_in")?.zip(epoch("reserved_bytes")?);
    let proof = row.try_get::<Option<Vec<u8>>, _>("proof")?.zip(epoch("proof_sent")?);
    let aborted = text("abort_reason")?.map(End::Aborted);
    let finalized = row.try_get::<i64, _>("finalized")? != 0;
    let report = text("report")?.map(|json| serde_json::from_str(&json).map_err(|e| damaged(part("the report"), e)));
    Ok(Sector {
        id,
        proof_type,
        ticket: ticket.map(|(ticket, epoch)| Ticket { ticket: Randomness(ticket), epoch }),
        pre_commit: pre_commit.map(|((comm_r, comm_d), sent)| PreCommit { comm_r, comm_d, sent }),
        reservation: reserved
            .map(|(store, bytes)| Ok::<_, DatabaseError>(Reservation { store, bytes: as_u64("a reservation", bytes)? }))
            .transpose()?,
        persisted: text("persisted_in")?.map(Persisted::In).or(text("persist_refusal")?.map(Persisted::Refused)),
        proof: proof.map(|(bytes, sent)| Proof { bytes, sent }),
        end: if finalized { Some(End::Finalized) } else { aborted },
        report: report.transpose()?,
    })
}

fn read_deal(row: &SqliteRow) -> Result<Deal> {
    let id: i64 = row.try_get("id")?;
    let part = |part: &str| format!("{part} of deal {id}");
    let number = |column: &str| -> Result<u64> { as_u64(&part(column), row.try_get(column)?) };
    let cid: String = row.try_get("piece_cid")?;
    Ok(Deal {
        id: as_u64("a deal", id)?,
        file: row.try_get("file")?,
        identity: FileIdentity {
            bytes: number("bytes")?,
            modified_ns: row.try_get("modified_ns")?,
            inode: row.try_get::<i64, _>("inode")? as u64,
        },
        cid: cid.parse::<PieceCid>().map_err(|error| damaged(part("the piece"), error))?,
        size: number("piece_size")?,
        sector: row.try_get::<Option<i64>, _>("sector")?.map(|n| as_u64(&part("the sector"), n)).transpose()?,
    })
}

fn damaged(what: impl Into<String>, reason: impl ToString) -> DatabaseError {
    DatabaseError::Damaged { what: what.into(), reason: reason.to_string() }
}

fn bytes32(what: &str, blob: Vec<u8>) -> Result<[u8; 32]> {
    let found = blob.len();
    blob.try_into().map_err(|_| damaged(what, format!("it has {found} bytes, not 32")))
}

fn as_u64(what: &str, stored: i64) -> Result<u64> {
    u64::try_from(stored).map_err(|_| damaged(what, format!("{stored} is negative")))
}

/// SQL has no unsigned numbers. What does not fit is refused at the edges, so this is for what slipped through.
fn as_i64(what: &str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| damaged(what, format!("{value} does not fit the database")))
}

fn as_json<T: serde::Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| damaged(what, e))
}
