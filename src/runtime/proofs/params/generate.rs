//! generate: keys of the small sizes, made here, in a child process and a folder of its own.
//!
//! ```text
//! parent: lock ─ sweep folders of killed runs ─ temporary folder ─ child ─ digests ─ publish
//! child:  FIL_PROOFS_PARAMETER_CACHE = that folder; ends when its stdin ends, that is when the parent dies
//! ```
//!
//! A child, because the library reads its settings once per process: only in a new process can it be made
//! to write elsewhere than into the folder that is trusted.
//!
//! Publishing renames several files, and a crash may lie between any two. c2 and `status` take a set for
//! whole only with its verifying key, so an old verifying key goes first and the new one comes last: at no
//! moment do parameters and a verifying key of different runs lie side by side. The `local` markers come
//! before the names they speak of, so that no key is ever there that does not say where it came from.

use super::{Manifest, ParamFile, ParamsError, ParamsKind, check_space, digest_of, lock, make_folder, status};
use crate::{
    runtime::proofs::{convert, stamp},
    sys::durable,
    units::{Bytes, SealProof, SectorSize},
};
use filecoin_proofs::{
    DefaultPieceHasher, PoRepConfig, SectorShape2KiB, SectorShape8MiB, SectorShape512MiB, parameters::public_params,
};
use filecoin_proofs_api::MerkleTreeTrait;
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use storage_proofs_core::{compound_proof::CompoundProof, parameter_cache::CacheEntryMetadata};
use storage_proofs_porep::stacked::{StackedCompound, StackedDrg};

/// What to make, and how to start the child that makes it.
#[derive(Clone, Debug)]
pub struct Request {
    pub folder: PathBuf,
    pub size: SectorSize,
    /// The program and its arguments; it calls `child` with the same sector size.
    pub child: Vec<std::ffi::OsString>,
}

/// What making the keys of one size takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub disk: Bytes,
    pub memory: Bytes,
    pub cpu: Duration,
}

impl Cost {
    /// Measured at 2 KiB (18.7 CPU-minutes on two cores of 2.x GHz without a GPU, 1,114,707,768 bytes). The
    /// larger ones follow from their parameters' published lengths; they were not run. None: not made here.
    pub fn of(size: SectorSize) -> Option<Self> {
        let cost = |disk_mib, memory_gib, minutes: u64| {
            Some(Self {
                disk: Bytes::mib(disk_mib),
                memory: Bytes::gib(memory_gib),
                cpu: Duration::from_secs(minutes * 60),
            })
        };
        match size {
            SectorSize::KiB2 => cost(1_100, 5, 20),
            SectorSize::MiB8 => cost(1_500, 7, 28),
            SectorSize::MiB512 => cost(2_200, 10, 42),
            SectorSize::GiB32 | SectorSize::GiB64 => None,
        }
    }

    /// The time on this many cores, at best.
    pub fn wall(self, cores: usize) -> Duration {
        self.cpu / cores.max(1) as u32
    }
}

/// Told about once a second while the child works.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub elapsed: Duration,
    /// Bytes the child has written; zero for most of the time, it writes at the end.
    pub written: u64,
}

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    AlreadyThere(ParamsKind),
    Generated,
}

/// Makes the keys that sealing needs, unless they are there.
pub fn generate(
    request: &Request,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, ParamsError> {
    let cost = Cost::of(request.size).ok_or(ParamsError::TooLarge { size: request.size })?;
    let keys = KeyFiles::of(manifest, request.size);
    make_folder(&request.folder)?;
    let params = request.folder.join(&keys.params.name);
    let _only_one = lock(&params)?;
    let found = status::look(&request.folder, manifest, request.size, false, |_, _| ())?.kind;
    if found != ParamsKind::Missing {
        return Ok(Outcome::AlreadyThere(found));
    }
    durable::remove_leftovers(&params)?;
    check_space(&request.folder, cost.disk.0)?;
    let temp = durable::temp_folder_for(&params)?;
    run_child(request, temp.path(), progress)?;
    publish(temp.path(), &request.folder, &keys)?;
    Ok(Outcome::Generated)
}

/// The files of one set.
struct KeyFiles {
    params: ParamFile,
    verifying_key: ParamFile,
}

impl KeyFiles {
    fn of(manifest: &Manifest, size: SectorSize) -> Self {
        let (vks, params) = manifest.files(size, false).into_iter().partition::<Vec<_>, _>(|f| f.is_verifying_key());
        let one = |files: Vec<ParamFile>| files.into_iter().next().expect("every size has one of each published");
        Self { params: one(params), verifying_key: one(vks) }
    }

    /// The metadata the library keeps beside parameters; not published, so not in the list.
    fn meta(&self) -> String {
        format!("{}.meta", self.params.name.trim_end_matches(".params"))
    }
}

fn run_child(request: &Request, temp: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), ParamsError> {
    let (program, args) = request.child.split_first().expect("a request names its program");
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .env("FIL_PROOFS_PARAMETER_CACHE", temp)
        // Locally generated keys can never be in the published list.
        .env("FIL_PROOFS_VERIFY_PRODUCTION_PARAMS", "false")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| ParamsError::io("starting", Path::new(program), e))?;
    let ended = wait(&mut child, || progress(Progress { elapsed: started.elapsed(), written: bytes_in(temp) }))
        .map_err(|e| ParamsError::io("waiting for", Path::new(program), e))?;
    if ended.success() {
        return Ok(());
    }
    let hint = "its messages are above; being killed mostly means too little memory";
    Err(ParamsError::Child { size: request.size, ended: format!("ended with {ended}"), hint })
}

fn wait(child: &mut Child, mut tick: impl FnMut()) -> io::Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tick();
        thread::sleep(Duration::from_millis(500));
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// Gives the finished files of `temp` their names in `folder`.
fn publish(temp: &Path, folder: &Path, keys: &KeyFiles) -> Result<(), ParamsError> {
    let params = digested(temp, &keys.params)?;
    let verifying_key = digested(temp, &keys.verifying_key)?;
    let vk_path = folder.join(&keys.verifying_key.name);
    if durable::remove_if_there(&vk_path)? {
        durable::sync_folder(folder)?;
    }
    place(temp, folder, &keys.params, params)?;
    let size = keys.params.sector_size.0;
    let meta = serde_json::to_vec(&CacheEntryMetadata { sector_size: size }).expect("a number always serialises");
    durable::write_atomic(&folder.join(keys.meta()), &meta)?;
    place(temp, folder, &keys.verifying_key, verifying_key)
}

fn digested(temp: &Path, file: &ParamFile) -> Result<String, ParamsError> {
    let path = temp.join(&file.name);
    digest_of(&path).map_err(|e| ParamsError::io("reading", &path, e))
}

fn place(temp: &Path, folder: &Path, file: &ParamFile, digest: String) -> Result<(), ParamsError> {
    let path = folder.join(&file.name);
    status::mark_local(&path, &digest)?;
    durable::publish(&temp.join(&file.name), &path)?;
    if let Some(identity) = stamp::Identity::of(&path) {
        stamp::write(&path, status::CHECKED, identity, digest)?;
    }
    Ok(())
}

/// The child's side: makes the keys in the library's folder, which the parent has set to a temporary one.
/// Ends the process when stdin ends, so that a killed parent leaves nobody working for an hour.
pub fn child(size: SectorSize) -> anyhow::Result<()> {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    let config = convert::registered(SealProof::v1_1(size)).as_v1_config();
    // Not `with_shape!`: it would compile the circuits of ten sizes.
    match size {
        SectorSize::KiB2 => make_keys::<SectorShape2KiB>(&config),
        SectorSize::MiB8 => make_keys::<SectorShape8MiB>(&config),
        SectorSize::MiB512 => make_keys::<SectorShape512MiB>(&config),
        SectorSize::GiB32 | SectorSize::GiB64 => Err(ParamsError::TooLarge { size }.into()),
    }
}

type Compound<Tree> = StackedCompound<Tree, DefaultPieceHasher>;
type Drg<'a, Tree> = StackedDrg<'a, Tree, DefaultPieceHasher>;

fn make_keys<Tree: MerkleTreeTrait + 'static>(config: &PoRepConfig) -> anyhow::Result<()> {
    let public = public_params::<Tree>(config)?;
    let rng = &mut rand::rngs::OsRng;
    <Compound<Tree> as CompoundProof<Drg<'_, Tree>, _>>::groth_params(Some(rng), &public)?;
    <Compound<Tree> as CompoundProof<Drg<'_, Tree>, _>>::verifying_key(Some(rng), &public)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `script` in place of the child that would work for minutes.
    fn request(folder: &Path, script: &str) -> Request {
        let child = ["sh", "-c", script].map(Into::into).to_vec();
        Request { folder: folder.to_owned(), size: SectorSize::KiB2, child }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn writes_both() -> String {
        let keys = KeyFiles::of(&Manifest::published(), SectorSize::KiB2);
        let cache = "$FIL_PROOFS_PARAMETER_CACHE";
        format!("printf p > {cache}/{}; printf v > {cache}/{}", keys.params.name, keys.verifying_key.name)
    }

    #[test]
    fn what_the_child_made_is_published_and_marked_local() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::published();
        let request = request(folder.path(), &writes_both());
        assert_eq!(generate(&request, &manifest, &mut |_| ()).unwrap(), Outcome::Generated);
        let report = status::look(folder.path(), &manifest, SectorSize::KiB2, false, |_, _| panic!("stamped")).unwrap();
        assert_eq!(report.kind, ParamsKind::Local);
        let meta = folder.path().join(KeyFiles::of(&manifest, SectorSize::KiB2).meta());
        assert_eq!(fs::read_to_string(meta).unwrap(), r#"{"sector_size":2048}"#);
        assert!(names(folder.path()).iter().all(|name| !name.contains(".tmp-")));
        let again = generate(&request, &manifest, &mut |_| ()).unwrap();
        assert_eq!(again, Outcome::AlreadyThere(ParamsKind::Local));
    }

    #[test]
    fn a_child_that_fails_leaves_no_name_that_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::published();
        for script in [format!("{}; exit 1", writes_both()), format!("{}; kill -9 $$", writes_both()), "true".into()] {
            generate(&request(folder.path(), &script), &manifest, &mut |_| ()).unwrap_err();
            assert!(names(folder.path()).iter().all(|name| name.ends_with(".lock")), "{:?}", names(folder.path()));
        }
    }

    #[test]
    fn folders_of_killed_runs_are_swept_and_an_orphaned_verifying_key_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::published();
        let keys = KeyFiles::of(&manifest, SectorSize::KiB2);
        let left = folder.path().join(format!(".{}.tmp-killed", keys.params.name));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(&keys.params.name), b"half").unwrap();
        fs::write(folder.path().join(&keys.verifying_key.name), b"of another run").unwrap();
        generate(&request(folder.path(), &writes_both()), &manifest, &mut |_| ()).unwrap();
        assert!(!left.exists());
        assert_eq!(fs::read(folder.path().join(&keys.verifying_key.name)).unwrap(), b"v");
    }

    #[test]
    fn the_sizes_of_the_main_network_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for size in [SectorSize::GiB32, SectorSize::GiB64] {
            let request = Request { size, ..request(folder.path(), "true") };
            let error = generate(&request, &Manifest::published(), &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains(&format!("run params fetch --sector-size {size}")), "{error}");
        }
        assert!(names(folder.path()).is_empty());
    }
}
